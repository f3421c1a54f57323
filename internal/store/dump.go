package store

import (
	"context"
	"fmt"
)

// dump writes the state of a store, as it is at one moment, to an archive. The cluster may go on meanwhile. It returns
// the revision of that moment, and reports from time to time how many keys there were so far.
func dump(ctx context.Context, client Client, archive *Writer, report func(keys int)) (int64, error) {
	keys := 0
	revision, err := scan(ctx, client, func(p pair) error {
		if keys++; keys%reportEvery == 0 {
			report(keys)
		}
		return archive.addPair(p)
	})
	if err != nil {
		return revision, fmt.Errorf("dumping the store: %w", err)
	}
	return revision, nil
}

// reportEvery is after how many keys there is a new line of progress.
const reportEvery = 1000

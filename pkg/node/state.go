package node

import (
	"encoding/json"
	"errors"
	"fmt"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/host"
)

// ErrUnreadable is the error for a file of Argosy's own state that exists and cannot be read: empty, zeros or cut off,
// as after a loss of power with files that were written without a sync. Its content is unknown, not empty: a caller
// writes the file anew only where the machine itself proves the content, and else fails.
var ErrUnreadable = errclass.With(errclass.Permanent, errors.New("its content is damaged, as after a loss of power"))

// ReadState reads a file of Argosy's own state, which is JSON. A missing one gives fs.ErrNotExist, and a damaged one
// ErrUnreadable.
func ReadState(h *host.Host, name string, into any) error {
	data, err := h.ReadFile(name)
	if err != nil {
		return fmt.Errorf("reading %q: %w", name, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("reading %q: %w (%w)", name, ErrUnreadable, err)
	}
	return nil
}

package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sethvargo/go-retry"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"argosy.dev/argosy/pkg/errclass"
)

// writers is how many keys are written at once. etcd puts all that wait into one disk write; kine with SQLite writes
// one by one and gains nothing.
const writers = 32

// mostNames is how many keys an error names.
const mostNames = 3

// content is the content of a store: each key with the digest of its value.
type content map[string][sha256.Size]byte

// load puts an archive into a store that holds nothing, or part of this very archive from a load that was interrupted:
// a key that is there with its value is fine, anything else is refused before the first write. At the end it reads the
// store again and compares it with the archive. It reports from time to time how many of the keys are there.
func load(ctx context.Context, client Client, archive *Archive, report func(keys, of int)) error {
	held, err := read(ctx, client)
	if err != nil {
		return fmt.Errorf("reading the store before loading it: %w", err)
	}
	if err := held.checkEmpty(archive); err != nil {
		return err
	}
	if err := write(ctx, client, archive, held, report); err != nil {
		return fmt.Errorf("loading archive %q: %w", archive.name(), err)
	}
	return prove(ctx, client, archive)
}

func read(ctx context.Context, client Client) (content, error) {
	held := content{}
	_, err := scan(ctx, client, func(p pair) error {
		held[string(p.key)] = sha256.Sum256(p.value)
		return nil
	})
	return held, err
}

// foreign compares the content of a store with an archive: how many of its keys are not of the archive with the
// archive's values, and which of them are with others.
func (c content) foreign(archive *Archive) (int, []string, error) {
	if len(c) == 0 {
		return 0, nil, nil
	}
	known, differing := 0, []string{}
	err := archive.pairs(func(p pair) error {
		switch sum, there := c[string(p.key)]; {
		case !there:
		case sum == sha256.Sum256(p.value):
			known++
		default:
			differing = append(differing, string(p.key))
		}
		return nil
	})
	return len(c) - known, differing, err
}

// checkEmpty refuses a store with anything but keys of the archive.
func (c content) checkEmpty(archive *Archive) error {
	foreign, differing, err := c.foreign(archive)
	if err != nil || foreign == 0 {
		return err
	}
	text := fmt.Sprintf("the store is not empty: %d of %d keys are not from archive %q", foreign, len(c),
		archive.name())
	if len(differing) > 0 {
		text += fmt.Sprintf(" (other values have %s)", strings.Join(differing[:min(len(differing), mostNames)], ", "))
	}
	return errclass.With(errclass.Configuration, errors.New(text+"; an archive is loaded into an empty store only: "+
		"empty this one, or name another"))
}

// write creates the keys that are missing.
func write(ctx context.Context, client Client, archive *Archive, held content, report func(keys, of int)) error {
	var written atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	err := archive.pairs(func(p pair) error {
		if _, there := held[string(p.key)]; !there {
			group.Go(func() error { return create(ctx, client, p) })
		}
		if keys := written.Add(1); keys%reportEvery == 0 {
			report(int(keys), archive.Manifest.Keys)
		}
		return ctx.Err()
	})
	return errors.Join(group.Wait(), cause(ctx, err))
}

// cause drops an end of the context that one of the writers caused: that writer's error is the reason.
func cause(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}

// How often and for how long one key is tried while the store does not answer.
const (
	firstPause = 200 * time.Millisecond
	patience   = 2 * time.Minute
)

// create writes one key unless it is there, in the one form of a transaction that kine takes for a creation. It may be
// repeated after an answer that got lost.
func create(ctx context.Context, client Client, p pair) error {
	backoff := retry.WithMaxDuration(patience, retry.WithCappedDuration(5*time.Second,
		retry.WithJitterPercent(20, retry.NewExponential(firstPause))))
	err := retry.Do(ctx, backoff, func(ctx context.Context) error {
		err := createOnce(ctx, client, p)
		if errclass.IsTransient(err) {
			return retry.RetryableError(err)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("writing key %q: %w", p.key, err)
	}
	return nil
}

func createOnce(ctx context.Context, client Client, p pair) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	key := string(p.key)
	answer, err := client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).Then(clientv3.OpPut(key,
		string(p.value))).Commit()
	if err != nil {
		return classified(err)
	}
	if answer.Succeeded {
		return nil
	}
	held, err := get(ctx, client, key)
	if err != nil {
		return err
	}
	if len(held.Kvs) != 1 || !bytes.Equal(held.Kvs[0].Value, p.value) {
		return errclass.With(errclass.Permanent, errors.New("another client writes to the store at the same "+
			"time; stop it and submit again"))
	}
	return nil
}

// prove compares the whole store with the archive.
func prove(ctx context.Context, client Client, archive *Archive) error {
	held, err := read(ctx, client)
	if err != nil {
		return fmt.Errorf("reading the store after loading it: %w", err)
	}
	foreign, _, err := held.foreign(archive)
	if err != nil {
		return err
	}
	if foreign > 0 || len(held) != archive.Manifest.Keys {
		return errclass.Errorf(errclass.Permanent, "comparing the store with archive %q after loading it: it has %d "+
			"of %d keys, and %d that differ; no other client may write to it meanwhile",
			archive.name(), len(held)-foreign, archive.Manifest.Keys, foreign)
	}
	return nil
}

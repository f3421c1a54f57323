package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/images"
)

// feedOperation gives standard input and output to the operation that waits for archives, and ends when that is done
// with them.
func feedOperation(ctx context.Context, e *node.Engine, args []string, in io.Reader, out io.Writer) error {
	id, err := idFlag("feed", args, nil)
	if err != nil {
		return err
	}
	from, isFile := in.(*os.File)
	to, isToo := out.(*os.File)
	if !isFile || !isToo {
		return errors.New("feeding an operation: standard input and output have to be open files")
	}
	if err := images.HandOver(ctx, e, id, from, to); err != nil {
		return fmt.Errorf("feeding operation %q: %w", id, err)
	}
	return nil
}

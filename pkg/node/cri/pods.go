package cri

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Pods returns the IDs of all pods of the runtime, whether they run or not.
func (c *Client) Pods(ctx context.Context) ([]string, error) {
	answer, err := c.call(ctx, tellsWithin, "ListPodSandbox", nil)
	if err != nil {
		return nil, fmt.Errorf("listing the pods of %q: %w", c.socket, err)
	}
	var ids []string
	err = eachField(answer, func(f field) error {
		if f.number != 1 {
			return nil
		}
		return eachField(f.bytes, func(f field) error {
			if f.number == 1 {
				ids = append(ids, f.text())
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading the pods of %q: %w", c.socket, err)
	}
	return ids, nil
}

// RemovePod ends a pod's containers at once and removes the pod, with its network.
func (c *Client) RemovePod(ctx context.Context, id string) error {
	request := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), id)
	_, stopping := c.call(ctx, removesWithin, "StopPodSandbox", request)
	// One that could not be stopped, as for want of its network plugin, may still be removed.
	if _, err := c.call(ctx, removesWithin, "RemovePodSandbox", request); err != nil {
		return fmt.Errorf("removing pod %.12s of %q: %w", id, c.socket, errors.Join(err, stopping))
	}
	return nil
}

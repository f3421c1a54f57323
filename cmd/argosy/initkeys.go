package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/ssh"
)

// scanKey returns the host key that a host shows.
type scanKey func(ctx context.Context, address string, port int) (ssh.HostKey, error)

const (
	// scanTimeout bounds the scan of one host, and scanParallel how many are scanned at once.
	scanTimeout  = 10 * time.Second
	scanParallel = 16
)

func scanSSH(ctx context.Context, address string, port int) (ssh.HostKey, error) {
	return ssh.ScanHostKey(ctx, address, port, scanTimeout)
}

// place is where a host is dialled directly: a machine, or the first bastion before one.
type place struct {
	address string
	port    int
}

// scanned is the host key of a place, and the names of the machines there or behind it.
type scanned struct {
	place
	machines []string
	key      ssh.HostKey
}

// placeOf returns where the way to a machine begins.
func placeOf(machine initMachine) place {
	if len(machine.SSH.Bastions) > 0 {
		return place{machine.SSH.Bastions[0].Address, machine.SSH.Bastions[0].Port}
	}
	return place{machine.Address, machine.SSH.Port}
}

// scanAll scans the host keys of machines, and of first bastions in place of those behind them. The error names each
// that does not answer.
func scanAll(ctx context.Context, machines []initMachine, scan scanKey) ([]scanned, error) {
	var found []scanned
	for _, machine := range machines {
		at := placeOf(machine)
		i := slices.IndexFunc(found, func(s scanned) bool { return s.place == at })
		if i < 0 {
			i, found = len(found), append(found, scanned{place: at})
		}
		found[i].machines = append(found[i].machines, machine.Name)
	}
	failed := make([]string, len(found))
	var group errgroup.Group
	group.SetLimit(scanParallel)
	for i := range found {
		group.Go(func() error {
			key, err := scan(ctx, found[i].address, found[i].port)
			if found[i].key = key; err != nil {
				failed[i] = fmt.Sprintf("%s: %v", strings.Join(found[i].machines, ", "), err)
			}
			return nil
		})
	}
	_ = group.Wait()
	if failed = slices.DeleteFunc(failed, func(text string) bool { return text == "" }); len(failed) > 0 {
		return nil, fmt.Errorf("%d of %d host keys can't be scanned; nothing was written:\n%s", len(failed), len(found),
			strings.Join(failed, "\n"))
	}
	return found, nil
}

// confirm shows the keys, and returns an error unless each was accepted: by its fingerprint on the command line, or by
// a person, who is asked where no fingerprint is given.
func (r *initRequest) confirm(dialog dialog, keys []scanned) error {
	table := operation.NewTable("HOST", "ADDRESS", "KEY", "FINGERPRINT")
	var unknown []string
	for _, one := range keys {
		table.Add([]string{one.key.Fingerprint}, strings.Join(one.machines, ", "), one.address, one.key.Type())
		if !slices.Contains(r.accepted, one.key.Fingerprint) {
			unknown = append(unknown, one.key.Fingerprint)
		}
	}
	if _, err := fmt.Fprint(dialog.out, table); err != nil {
		return err
	}
	if len(r.accepted) > 0 {
		return r.checkAccepted(keys, unknown)
	}
	if !dialog.terminal {
		return program.UsageErrorf("there is no terminal to confirm host keys at; nothing was written: compare them, " +
			"and give each fingerprint with --accept-host-key")
	}
	answer, err := dialog.ask("Compare them on the consoles of the machines: ssh-keygen -lf " +
		"/etc/ssh/ssh_host_ed25519_key.pub\nAre these their host keys? Type yes: ")
	if err != nil {
		return err
	}
	if answer != "yes" {
		return errors.New("the host keys were not confirmed; nothing was written")
	}
	return nil
}

// checkAccepted refuses a key that was not accepted, and an accepted one that no host has.
func (r *initRequest) checkAccepted(keys []scanned, unknown []string) error {
	if len(unknown) > 0 {
		return fmt.Errorf("%d of %d host keys are not among --accept-host-key; nothing was written: %s", len(unknown),
			len(keys), strings.Join(unknown, ", "))
	}
	for _, fingerprint := range r.accepted {
		if !slices.ContainsFunc(keys, func(s scanned) bool { return s.key.Fingerprint == fingerprint }) {
			return program.UsageErrorf("flag --accept-host-key %q: no host has this key; nothing was written",
				fingerprint)
		}
	}
	return nil
}

// pin writes the keys to the machines, or to their first bastions.
func pin(machines []initMachine, keys []scanned) {
	for _, machine := range machines {
		at := placeOf(machine)
		for _, one := range keys {
			switch {
			case one.place != at:
			case len(machine.SSH.Bastions) > 0:
				machine.SSH.Bastions[0].HostKeys = []string{one.key.Line}
			default:
				machine.SSH.HostKeys = []string{one.key.Line}
			}
		}
	}
}

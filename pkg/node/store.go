package node

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/spec"
)

// maxOperations is the number of operations that a machine keeps.
const maxOperations = 10

// Store is Argosy's own folder on a machine: operations with their status and log, the record of the node, and the
// lock. All files are written by rename, with mode 0600.
type Store struct {
	host *host.Host
}

// NewStore returns the store of a machine.
func NewStore(h *host.Host) *Store { return &Store{host: h} }

var idPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckID returns an error for an id that must not become the name of a folder and a unit.
func CheckID(id string) error {
	if !idPattern.MatchString(id) {
		return errclass.Errorf(errclass.Configuration, "reading the operation's id %q: it must be 1 to 63 lower case "+
			"letters, digits and dashes", id)
	}
	return nil
}

func (s *Store) name(id, file string) string { return filepath.Join(spec.OperationsDir, id, file) }

// logFile returns the path of the operation's log.
func (s *Store) logFile(id string) string { return s.host.Path(s.name(id, "log")) }

// Dir returns the path of the operation's folder on the machine.
func (s *Store) Dir(id string) string { return filepath.Join(spec.OperationsDir, id) }

// Prepare makes the operation's folder. It and those above it are readable by root alone.
func (s *Store) Prepare(id string) error {
	if err := CheckID(id); err != nil {
		return err
	}
	for _, dir := range []string{spec.Root, spec.OperationsDir, s.Dir(id)} {
		if err := s.host.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := os.Chmod(s.host.Path(dir), 0o700); err != nil {
			return fmt.Errorf("making folder %q: %w", dir, err)
		}
	}
	return nil
}

// WriteOperation stores the operation, with its secrets.
func (s *Store) WriteOperation(op *spec.Operation) error {
	return s.write(s.name(op.ID, "spec.json"), op)
}

// Operation returns the stored operation.
func (s *Store) Operation(id string) (*spec.Operation, error) {
	var op spec.Operation
	return &op, ReadState(s.host, s.name(id, "spec.json"), &op)
}

// plainFiles are the files of an operation that hold no secret, or whose secrets RemoveSecrets removes by themselves.
var plainFiles = []string{"spec.json", "status.json", "log", cancelFile, admittedFile}

// RemoveSecrets removes the secrets from the stored operation, and the files that phases wrote with them in its folder.
func (s *Store) RemoveSecrets(id string) error {
	entries, err := os.ReadDir(s.host.Path(s.Dir(id)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, entry := range entries {
		if !slices.Contains(plainFiles, entry.Name()) {
			errs = append(errs, s.host.Remove(s.name(id, entry.Name())))
		}
	}
	return errors.Join(append(errs, s.removeSecretsFromSpec(id))...)
}

func (s *Store) removeSecretsFromSpec(id string) error {
	op, err := s.Operation(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		// A damaged file may still hold a secret.
		return s.host.Remove(s.name(id, "spec.json"))
	}
	if op.Secrets.Empty() {
		return nil
	}
	op.Secrets = spec.Secrets{}
	return s.WriteOperation(op)
}

// WriteStatus stores the status with the next sequence number, which it sets. A final status is synced before it is
// reported; one of a running operation may be lost with the power, as the operation is.
func (s *Store) WriteStatus(status *spec.Status) error {
	// A damaged status counts as none: the new one differs from it in any case.
	if stored, err := s.Status(status.ID); err == nil {
		status.Sequence = max(status.Sequence, stored.Sequence)
	}
	status.Sequence++
	name := s.name(status.ID, "status.json")
	if status.State.Final() {
		return errors.Join(s.write(name, status), s.host.SyncFolders())
	}
	data, err := encode(name, status)
	if err != nil {
		return err
	}
	if _, err := s.host.WriteProgress(name, data, 0o600); err != nil {
		return fmt.Errorf("storing in %q: %w", spec.Root, err)
	}
	return nil
}

// Status reads an operation's status; fs.ErrNotExist when it has none. A status that power loss cut off counts as none.
func (s *Store) Status(id string) (*spec.Status, error) {
	name := s.name(id, "status.json")
	data, err := s.host.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: reading %q: %w", fs.ErrNotExist, name, err)
	}
	return decodeStatus(name, data)
}

// decodeStatus reads a status file's content; fs.ErrNotExist when it holds none.
func decodeStatus(name string, data []byte) (*spec.Status, error) {
	var status spec.Status
	if err := json.Unmarshal(data, &status); err != nil {
		return nil, fmt.Errorf("%w: reading %q: %w", fs.ErrNotExist, name, err)
	}
	return &status, nil
}

// Files in an operation's folder whose existence is a message to the process that runs it.
const (
	// cancelFile makes it stop at its next safe point.
	cancelFile = "cancel"
	// admittedFile lets it ask the cluster's API server.
	admittedFile = "admitted"
)

func (s *Store) requestStop(id string) error { return s.write(s.name(id, cancelFile), struct{}{}) }

func (s *Store) stopRequested(id string) bool { return s.host.Exists(s.name(id, cancelFile)) }

func (s *Store) admit(id string) error { return s.write(s.name(id, admittedFile), struct{}{}) }

func (s *Store) admitted(id string) bool { return s.host.Exists(s.name(id, admittedFile)) }

// clearMessages removes the files that an earlier run of the operation was sent.
func (s *Store) clearMessages(id string) error {
	return s.host.Remove(s.name(id, cancelFile), s.name(id, admittedFile))
}

// WriteRecord stores the record of the node.
func (s *Store) WriteRecord(record *spec.Record) error { return s.write(spec.RecordFile, record) }

// Record returns the record of the node; nil when Argosy never joined the machine. For a damaged record it returns
// ErrUnreadable: the machine may be any cluster's node.
func (s *Store) Record() (*spec.Record, error) {
	var record spec.Record
	err := ReadState(s.host, spec.RecordFile, &record)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case record == spec.Record{}:
		return nil, fmt.Errorf("reading %q: %w: it names no node", spec.RecordFile, ErrUnreadable)
	}
	return &record, nil
}

// ids returns the operations that have a folder.
func (s *Store) ids() []string {
	var ids []string
	entries, _ := os.ReadDir(s.host.Path(spec.OperationsDir))
	for _, entry := range entries {
		if CheckID(entry.Name()) == nil {
			ids = append(ids, entry.Name())
		}
	}
	return ids
}

// Operations returns the statuses on the machine, newest first, at most maxOperations.
func (s *Store) Operations() []spec.Status {
	entries, _ := os.ReadDir(s.host.Path(spec.OperationsDir))
	var sorted []*spec.Status // a sort of such large values is 16 KiB of the program
	for _, entry := range entries {
		if status, err := s.Status(entry.Name()); err == nil {
			sorted = append(sorted, status)
		}
	}
	slices.SortFunc(sorted, func(a, b *spec.Status) int {
		return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(a.ID, b.ID))
	})
	var newest []spec.Status
	for _, status := range sorted[:min(len(sorted), maxOperations)] {
		newest = append(newest, *status)
	}
	return newest
}

// prune removes the oldest operations, but never keep.
func (s *Store) prune(keep string) {
	known := s.Operations()
	if len(known) < maxOperations {
		return
	}
	entries, _ := os.ReadDir(s.host.Path(spec.OperationsDir))
	for _, entry := range entries {
		id := entry.Name()
		old := !slices.ContainsFunc(known, func(status spec.Status) bool { return status.ID == id })
		if old && id != keep && CheckID(id) == nil {
			_ = s.host.RemoveAll(s.Dir(id))
		}
	}
}

func (s *Store) write(name string, value any) error {
	data, err := encode(name, value)
	if err != nil {
		return err
	}
	if _, err := s.host.WriteFile(name, data, 0o600); err != nil {
		return fmt.Errorf("storing in %q: %w", spec.Root, err)
	}
	return nil
}

func encode(name string, value any) ([]byte, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encoding %q: %w", name, err)
	}
	return append(data, '\n'), nil
}

// bundlesBootFile has the ID of the boot during which the archives beside it arrived.
const bundlesBootFile = spec.BundlesDir + "/.boot"

// removeStaleBundles removes partial archives from before the last boot: one that was not synced when the power failed
// may have its full length and zeros in it, and its sender would append to them.
func (s *Store) removeStaleBundles() error {
	boot := s.host.ReadLine("/proc/sys/kernel/random/boot_id")
	if boot != "" && s.host.ReadLine(bundlesBootFile) == boot {
		return nil
	}
	if err := errors.Join(s.removeBundles(), s.host.MkdirAll(spec.BundlesDir, 0o700)); err != nil {
		return err
	}
	_, err := s.host.WriteProgress(bundlesBootFile, []byte(boot+"\n"), 0o600)
	return err
}

// removeBundles removes archives of bundles, whole and partial. An operation that succeeded needs none, and an attempt
// that was killed may have left one.
func (s *Store) removeBundles() error {
	archives, err := filepath.Glob(filepath.Join(s.host.Path(spec.BundlesDir), "*"))
	if err != nil {
		return fmt.Errorf("listing %q: %w", spec.BundlesDir, err)
	}
	for _, archive := range archives {
		if err := s.host.Remove(filepath.Join(spec.BundlesDir, filepath.Base(archive))); err != nil {
			return err
		}
	}
	return nil
}

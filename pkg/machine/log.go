package machine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/ssh"
)

// Log is a part of the log of an operation on a machine.
type Log struct {
	// ID of the operation; empty where there is none.
	ID string
	// Status as it was before the log was read; the zero Status where it is not written yet.
	Status spec.Status
	// Text from the byte on that was asked for, and Next the byte after it.
	Text []byte
	Next int64
}

// Complete reports whether the operation had ended before the log was read, and all of it was.
func (l Log) Complete() bool {
	return len(l.Text) < maxLog && l.Status.State.Final()
}

// maxLog bounds one part of a log, in bytes. A longer one is read in several.
const maxLog = 1 << 20

// logScript prints the id of an operation, its status in one line, and its log. The newest operation is the one whose
// folder changed last, as it does with each status.
const logScript = `cd "$1" 2>/dev/null || exit 0
id=$2
[ -n "$id" ] || id=$(ls -t | head -n 1)
case $id in "" | */* | .*) exit 0 ;; esac
[ -d "$id" ] || exit 0
printf '%s\n' "$id"
tr -d '\n' <"$id/status.json" 2>/dev/null
printf '\n'
tail -c "+$3" "$id/log" 2>/dev/null | head -c "$4"`

// ReadLog reads the log of an operation from a byte on; an empty id is the newest operation. It reads files that are
// there, and needs no argosy-node on the machine.
func ReadLog(ctx context.Context, connection Connection, id string, from int64) (Log, error) {
	return readLog(ctx, connection, spec.OperationsDir, id, from)
}

func readLog(ctx context.Context, connection Connection, folder, id string, from int64) (Log, error) {
	result, err := connection.Run(ctx, ssh.Command{Argv: []string{
		"/bin/sh", "-c", logScript, "log", folder, id, strconv.FormatInt(from+1, 10), strconv.Itoa(maxLog),
	}})
	if err != nil {
		return Log{}, fmt.Errorf("reading the log of the operation: %w", err)
	}
	name, rest, _ := bytes.Cut(result.Stdout, []byte("\n"))
	status, text, _ := bytes.Cut(rest, []byte("\n"))
	log := Log{ID: string(name), Text: text, Next: from + int64(len(text))}
	if len(status) > 0 {
		if err := json.Unmarshal(status, &log.Status); err != nil {
			return log, fmt.Errorf("decoding the status of operation %q: %w", log.ID, err)
		}
	}
	return log, nil
}

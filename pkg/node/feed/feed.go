// Package feed transfers archives from the plugin to an operation that waits for them: the protocol of one connection,
// and the socket at which an operation receives such a connection. It knows neither the archives' format nor how the
// connection is made.
//
// The operation asks for one archive after another, by a line of JSON with its key. The sender answers with frames:
// four bytes that give the length, big endian, and as many bytes of the archive. Length 0 ends the archive, and
// lengthFailed is followed by a frame with the reason why it can't be had. So an archive that was cut off is never
// taken for a whole one, and one archive that fails does not end the connection.
package feed

import (
	"encoding/binary"
	"encoding/json"

	"argosy.dev/argosy/pkg/errclass"
)

const (
	headerSize   = 4
	lengthEnd    = 0
	lengthFailed = 1<<32 - 1
	// maxReason bounds the text of a failure.
	maxReason = 64 << 10
)

// request asks for one archive.
type request struct {
	Key string `json:"key"`
}

// Failure is why a sender could not send an archive, or not to its end.
type Failure struct {
	Class   errclass.Class `json:"class"`
	Message string         `json:"message"`
}

func (f *Failure) Error() string { return f.Message }

// failureFrames returns the bytes that end an archive after an error.
func failureFrames(cause error) []byte {
	message := cause.Error()
	reason, err := json.Marshal(Failure{
		Class:   errclass.ClassOf(cause),
		Message: message[:min(len(message), maxReason/8)],
	})
	if err != nil {
		reason = []byte("{}")
	}
	frames := binary.BigEndian.AppendUint32(nil, lengthFailed)
	frames = binary.BigEndian.AppendUint32(frames, uint32(len(reason)))
	return append(frames, reason...)
}

// decodeFailure decodes the bytes of failureFrames.
func decodeFailure(reason []byte) error {
	var failure Failure
	if err := json.Unmarshal(reason, &failure); err != nil || failure.Message == "" {
		return errclass.Errorf(errclass.Transient, "receiving the archive: the sender reported %q", reason)
	}
	return errclass.With(failure.Class, &failure)
}

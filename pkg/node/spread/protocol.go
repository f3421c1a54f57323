// Package spread receives files in pieces, from other machines of the same run and from the plugin, and serves verified
// pieces to those machines for the length of an operation. The plugin decides who gets which piece from whom; a machine
// asks it over the connection by which archives come (package feed), with the requests and answers of this package.
//
// Pieces have their SHA-256 as name. Machines know each other by certificates of an authority that the plugin made for
// the run. It knows neither the content of files nor how the plugin decides.
package spread

import (
	"encoding/json"
	"fmt"
	"strings"
)

// FeedKey is in an operation's status while it receives a file in pieces.
const FeedKey = "pieces"

// keyPrefix begins the key of a Request. No archive's key begins with it.
const keyPrefix = "pieces:"

// BundleKey returns the key of a bundle with this digest.
func BundleKey(sha256 string) string { return "bundle:" + sha256 }

// Request is a request of a machine to the plugin, about one file.
type Request struct {
	// File is the file's key.
	File string `json:"file"`
	// Piece asks for the bytes of a piece, by its index; nil asks for an Answer.
	Piece *int `json:"piece,omitempty"`
	// New is set until the machine has its credentials.
	New bool `json:"new,omitempty"`
	// Port at which the machine serves pieces; 0 when it serves none.
	Port int `json:"port,omitempty"`
	// Have are pieces that the machine verified since its last request, or all of them after Answer.Unknown.
	Have []int `json:"have,omitempty"`
	// Failed are pieces that another machine did not give.
	Failed []Failed `json:"failed,omitempty"`
	// Free is the number of pieces that the machine can fetch now, beside those under way.
	Free int `json:"free,omitempty"`
	// Busy is set while pieces are under way.
	Busy bool `json:"busy,omitempty"`
}

// Failed is a piece that a machine did not get from another one.
type Failed struct {
	Piece int    `json:"piece"`
	Peer  string `json:"peer"`
	// Corrupt is set when the bytes did not have the piece's digest.
	Corrupt bool `json:"corrupt,omitempty"`
}

// Answer tells a machine where to get pieces.
type Answer struct {
	// Unknown asks the machine to report all of its pieces: this plugin does not know it, as after it began anew.
	Unknown bool `json:"unknown,omitempty"`
	// Size of the file and of its pieces, in bytes. The last piece is shorter.
	Size      int64 `json:"size"`
	PieceSize int64 `json:"pieceSize"`
	// Credentials answer Request.New.
	Credentials *Credentials `json:"credentials,omitempty"`
	// Fetch are pieces to get from other machines.
	Fetch []Fetch `json:"fetch,omitempty"`
	// Send is the index of a piece that the plugin sends when it is asked for; nil for none.
	Send *int `json:"send,omitempty"`
}

// Fetch is a piece and the machine that has it.
type Fetch struct {
	Piece int `json:"piece"`
	// SHA256 of the piece, hex.
	SHA256 string `json:"sha256"`
	// Peer is the machine's name, and Address its host and port.
	Peer    string `json:"peer"`
	Address string `json:"address"`
}

// Credentials are a machine's own in one run. They are kept in memory alone.
type Credentials struct {
	// CA and Certificate are DER, and Key is the seed of an Ed25519 key: the code for others is large.
	CA          []byte `json:"ca"`
	Certificate []byte `json:"certificate"`
	Key         []byte `json:"key"`
	// Host and Port are where to serve. An address that is not the machine's own stands for all of its addresses.
	Host string `json:"host,omitempty"`
	Port int    `json:"port"`
}

// String keeps credentials out of logs and messages.
func (Credentials) String() string { return "[redacted]" }

// GoString keeps credentials out of %#v.
func (Credentials) GoString() string { return "[redacted]" }

// key returns the key by which the request is sent.
func (r Request) key() (string, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encoding a request for pieces of %q: %w", r.File, err)
	}
	return keyPrefix + string(text), nil
}

// ParseKey decodes the key of a request; isRequest is false for the key of an archive.
func ParseKey(key string) (request Request, isRequest bool, err error) {
	text, isRequest := strings.CutPrefix(key, keyPrefix)
	if !isRequest {
		return Request{}, false, nil
	}
	if err := json.Unmarshal([]byte(text), &request); err != nil {
		return Request{}, true, fmt.Errorf("decoding a request for pieces: %w", err)
	}
	return request, true, nil
}

// Pieces returns how many pieces a file has.
func Pieces(size, pieceSize int64) int { return int((size + pieceSize - 1) / pieceSize) }

// PieceLength returns the length of a piece, in bytes.
func PieceLength(size, pieceSize int64, piece int) int64 {
	return min(pieceSize, size-int64(piece)*pieceSize)
}

// Bounds of files, which a machine checks.
const (
	// MaxPiece is the largest piece, in bytes: each one under way is in memory.
	MaxPiece = 4 << 20
	// MaxPieces is the largest number of pieces of a file: their indexes fit a request.
	MaxPieces = 1 << 13
	// MaxSize is the size of the largest file that travels in pieces.
	MaxSize = MaxPiece * MaxPieces
)

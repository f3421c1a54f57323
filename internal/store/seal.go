package store

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/crypto/nacl/box"

	"argosy.dev/argosy/pkg/errclass"
)

// SealedPrefix begins the line of a pod's log that carries the cluster's keys, sealed for the process that waits.
const SealedPrefix = "sealed keys: "

// Reader opens the files that were sealed for it; no other process can. An archive is opened in a pod, and the Secret
// with its keys is created by another process. A pod that may create Secrets would be one more account with rights, and
// reading its files by pods/exec needs a right over every pod of the namespace. Sealed, the keys can go through the
// pod's log: the one key that opens them lives in the memory of the process that asked, for as long as it waits.
type Reader struct{ public, private *[32]byte }

// NewReader returns a reader with a key of its own.
func NewReader() (*Reader, error) {
	public, private, err := box.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key to seal with: %w", err)
	}
	return &Reader{public, private}, nil
}

// Address returns the address for Seal; it is not secret.
func (r *Reader) Address() string { return base64.StdEncoding.EncodeToString(r.public[:]) }

var errSealed = errors.New("it was not sealed for this reader")

// Unseal returns the files that were sealed.
func (r *Reader) Unseal(sealed string) (map[string][]byte, error) {
	cipher, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return nil, errclass.Errorf(errclass.Permanent, "opening sealed files: %w", err)
	}
	text, whole := box.OpenAnonymous(nil, cipher, r.public, r.private)
	if !whole {
		return nil, errclass.Errorf(errclass.Permanent, "opening sealed files: %w", errSealed)
	}
	var files map[string][]byte
	if err := json.Unmarshal(text, &files); err != nil {
		return nil, errclass.Errorf(errclass.Permanent, "opening sealed files: %w", err)
	}
	return files, nil
}

// Seal makes one line of text of files, for the reader at an address.
func Seal(address string, files map[string][]byte) (string, error) {
	key, err := base64.StdEncoding.DecodeString(address)
	if err != nil || len(key) != 32 {
		return "", errclass.Errorf(errclass.Configuration, "reading the address %q to seal for: it is not one of a "+
			"reader", address)
	}
	text, err := json.Marshal(files)
	if err != nil {
		return "", fmt.Errorf("sealing files: %w", err)
	}
	cipher, err := box.SealAnonymous(nil, text, (*[32]byte)(key), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("sealing files: %w", err)
	}
	return base64.StdEncoding.EncodeToString(cipher), nil
}

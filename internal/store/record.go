package store

import (
	"encoding/binary"
	"errors"
)

// appendRecord adds a key and its value, each as its length in bytes (an unsigned varint) and its bytes.
func appendRecord(to []byte, p pair) []byte {
	to = append(binary.AppendUvarint(to, uint64(len(p.key))), p.key...)
	return append(binary.AppendUvarint(to, uint64(len(p.value))), p.value...)
}

var errRecord = errors.New("a record is cut off")

// nextRecord takes the first record off from. The record shares from's memory.
func nextRecord(from []byte) (p pair, rest []byte, err error) {
	if p.key, from, err = nextField(from); err != nil {
		return pair{}, nil, err
	}
	if p.value, from, err = nextField(from); err != nil {
		return pair{}, nil, err
	}
	return p, from, nil
}

func nextField(from []byte) (field, rest []byte, err error) {
	length, size := binary.Uvarint(from)
	if size <= 0 || length > uint64(len(from)-size) {
		return nil, nil, errRecord
	}
	end := size + int(length)
	return from[size:end:end], from[end:], nil
}

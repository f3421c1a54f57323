package spread

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Bounds of one fetch from another machine.
const (
	connectTimeout = 3 * time.Second
	fetchTimeout   = 30 * time.Second
)

// errCorrupt is the error of bytes that do not have the digest that was asked for.
var errCorrupt = errors.New("its bytes have another digest")

// peers fetches pieces from other machines, each over a connection of its own: a handshake is short beside a piece.
type peers struct{ tls *tls.Config }

// newPeers makes a client that trusts the run's machines alone.
func newPeers(credentials *Credentials) (*peers, error) {
	identity, authority, err := credentials.parse()
	if err != nil {
		return nil, err
	}
	return &peers{&tls.Config{
		Certificates: []tls.Certificate{identity}, RootCAs: authority, MinVersion: tls.VersionTLS13,
	}}, nil
}

// fetch returns a piece of this length, whose digest is verified. The machine's certificate has to be of the run and of
// its name.
func (p *peers) fetch(ctx context.Context, from Fetch, length int64) ([]byte, error) {
	dialer := net.Dialer{Timeout: connectTimeout}
	plain, err := dialer.DialContext(ctx, "tcp", from.Address)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	defer context.AfterFunc(ctx, func() { _ = plain.Close() })()
	_ = plain.SetDeadline(time.Now().Add(fetchTimeout))
	config := p.tls.Clone()
	config.ServerName = from.Peer
	return ask(tls.Client(plain, config), from.SHA256, length)
}

// ask asks for a piece and verifies it.
func ask(connection io.ReadWriter, digest string, length int64) ([]byte, error) {
	if _, err := io.WriteString(connection, digest+"\n"); err != nil {
		return nil, fmt.Errorf("asking for the piece: %w", err)
	}
	var header [9]byte
	if _, err := io.ReadFull(connection, header[:1]); err != nil {
		return nil, fmt.Errorf("asking for the piece: %w", err)
	}
	switch header[0] {
	case hasPiece:
	case isBusy:
		return nil, errors.New("it sends other pieces")
	default:
		return nil, errors.New("it does not have the piece")
	}
	if _, err := io.ReadFull(connection, header[1:]); err != nil {
		return nil, fmt.Errorf("reading the piece: %w", err)
	}
	if sent := binary.BigEndian.Uint64(header[1:]); sent != uint64(length) {
		return nil, fmt.Errorf("%w: the piece has %d bytes instead of %d", errCorrupt, sent, length)
	}
	piece := make([]byte, length)
	if _, err := io.ReadFull(connection, piece); err != nil {
		return nil, fmt.Errorf("reading the piece: %w", err)
	}
	if digestOf(piece) != digest {
		return nil, errCorrupt
	}
	return piece, nil
}

// digestOf returns the SHA-256 of a piece, hex.
func digestOf(piece []byte) string {
	digest := sha256.Sum256(piece)
	return hex.EncodeToString(digest[:])
}

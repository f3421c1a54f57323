package cri

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	// tellsWithin bounds a call without effects: a runtime answers in milliseconds.
	tellsWithin = 5 * time.Second
	// removesWithin bounds the removal of a pod, for which network plugins run.
	removesWithin = time.Minute
	// maxAnswer bounds an answer; a verbose status is some ten kilobytes.
	maxAnswer = 16 << 20
	// unimplemented is gRPC's code for an unknown call.
	unimplemented = 12
)

// Client speaks to the runtime behind a Unix socket.
type Client struct {
	socket string
	http   *http.Client
}

// New returns a client of a socket, a path. It dials at the first call.
func New(socket string) *Client {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		Protocols:          &protocols,
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}}
}

// Close ends the connection.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// runtimeError is a call that the runtime answered with an error.
type runtimeError struct {
	// Code is gRPC's.
	Code int
	// Message is the runtime's.
	Message string
}

func (e *runtimeError) Error() string {
	return fmt.Sprintf("it answers %q (gRPC code %d)", e.Message, e.Code)
}

// IsUnimplemented reports whether the runtime does not have the call.
func IsUnimplemented(err error) bool {
	var call *runtimeError
	return errors.As(err, &call) && call.Code == unimplemented
}

// call sends one message and returns the one that answers it.
func (c *Client) call(ctx context.Context, within time.Duration, method string, message []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost"+service+method,
		bytes.NewReader(frame(message)))
	if err != nil {
		return nil, fmt.Errorf("making a request: %w", err)
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("TE", "trailers")
	response, err := c.http.Do(request)
	if err != nil {
		// The URL in net/http's message is not a real one.
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if err := callError(response); err != nil {
		return nil, err
	}
	return unframe(body)
}

// callError returns the error of a call. An answer without a message has it in its header, the others after the
// message.
func callError(response *http.Response) error {
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s, which is not gRPC", response.Status)
	}
	header := response.Trailer
	if header.Get("Grpc-Status") == "" {
		header = response.Header
	}
	code, err := strconv.Atoi(header.Get("Grpc-Status"))
	if err != nil {
		return errors.New("its answer is not gRPC")
	}
	if code == 0 {
		return nil
	}
	text := header.Get("Grpc-Message")
	if plain, err := url.PathUnescape(text); err == nil {
		text = plain
	}
	return &runtimeError{Code: code, Message: text}
}

// headerSize is that of a message's header: one byte for compression, four for the length.
const headerSize = 5

func frame(message []byte) []byte {
	framed := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	return append(framed, message...)
}

func unframe(body []byte) ([]byte, error) {
	if len(body) < headerSize || body[0] != 0 ||
		uint64(binary.BigEndian.Uint32(body[1:])) != uint64(len(body)-headerSize) {
		return nil, errors.New("its answer is not one whole gRPC message")
	}
	return body[headerSize:], nil
}

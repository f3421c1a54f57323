package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"argosy.dev/argosy/pkg/errclass"
)

// pipeSize is the buffer of a pipe with archives: fewer switches between its two ends make it faster.
const pipeSize = 1 << 20

// Widen enlarges the buffer of a pipe. If the kernel refuses, or file is no pipe, nothing changes.
func Widen(file *os.File) {
	raw, err := file.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
}

// HungUp reports whether the writer of a pipe or socket has closed it, without reading from it.
func HungUp(file *os.File) bool {
	raw, err := file.SyscallConn()
	if err != nil {
		return true
	}
	var events int16
	err = raw.Control(func(fd uintptr) {
		asked := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		if _, err := unix.Poll(asked, 0); err == nil {
			events = asked[0].Revents
		}
	})
	return err != nil || events&(unix.POLLHUP|unix.POLLRDHUP|unix.POLLERR) != 0
}

// Listener receives an operation's connections. The newest one counts: a sender connects again because the one before
// is lost, which the machine may notice much later.
type Listener struct {
	socket  *net.UnixListener
	arrived chan *Session
	serving sync.WaitGroup

	mu      sync.Mutex
	current *Session
	closed  bool
}

// Listen listens at path, which only the owner may use. It removes the socket of an operation that died.
func Listen(path string) (*Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listening for connections with archives: %w", err)
	}
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listening for connections with archives: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = socket.Close()
		return nil, fmt.Errorf("listening for connections with archives: %w", err)
	}
	l := &Listener{socket: socket, arrived: make(chan *Session, 1)}
	l.serving.Go(l.serve)
	return l, nil
}

func (l *Listener) serve() {
	for {
		connection, err := l.socket.AcceptUnix()
		if err != nil {
			return
		}
		session, err := takeOver(connection)
		if err != nil {
			_ = connection.Close()
			continue
		}
		l.offer(session)
	}
}

// offer makes session the one that counts.
func (l *Listener) offer(session *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current != nil {
		l.current.Close()
	}
	l.current = session
	if l.closed {
		session.Close()
	}
	select {
	case <-l.arrived:
	default:
	}
	l.arrived <- session
}

// Next waits for a connection.
func (l *Listener) Next(ctx context.Context) (*Session, error) {
	select {
	case session := <-l.arrived:
		return session, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Close ends all connections.
func (l *Listener) Close() {
	_ = l.socket.Close() // removes the socket's file too
	l.mu.Lock()
	l.closed = true
	if l.current != nil {
		l.current.Close()
	}
	l.mu.Unlock()
	l.serving.Wait()
}

// handOverWithin bounds the wait for the files of a process that connects.
const handOverWithin = 5 * time.Second

// takeOver receives the files that are the two directions of a connection. The Unix connection itself stays, and its
// end tells the process that handed them over that it may end too.
func takeOver(connection *net.UnixConn) (*Session, error) {
	var text [1]byte
	rights := make([]byte, unix.CmsgSpace(2*4))
	_ = connection.SetReadDeadline(time.Now().Add(handOverWithin))
	_, n, _, _, err := connection.ReadMsgUnix(text[:], rights)
	if err != nil {
		return nil, fmt.Errorf("receiving a connection: %w", err)
	}
	var files []int
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	for _, message := range messages {
		some, failed := unix.ParseUnixRights(&message)
		files, err = append(files, some...), errors.Join(err, failed)
	}
	if err != nil || len(files) != 2 {
		for _, fd := range files {
			_ = unix.Close(fd)
		}
		return nil, fmt.Errorf("receiving a connection: it passes %d files: %w", len(files), err)
	}
	in, out := ownFile(files[0], "stdin"), ownFile(files[1], "stdout")
	Widen(in)
	return newSession(in, out, func() { _ = connection.Close() }), nil
}

// ownFile makes a file whose reads end when it is closed, which takes a descriptor that never blocks.
func ownFile(fd int, name string) *os.File {
	_ = unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), name)
}

// HandOver passes in and out to the operation that listens at path, and waits until it is done with them.
// fs.ErrNotExist and ECONNREFUSED mean that no operation listens.
func HandOver(ctx context.Context, path string, in, out *os.File) error {
	var dialer net.Dialer
	dialled, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("passing the connection to the operation: %w", err)
	}
	defer dialled.Close()
	stop := context.AfterFunc(ctx, func() { _ = dialled.Close() })
	defer stop()
	connection, ok := dialled.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("passing the connection to the operation: %T carries no files", dialled)
	}
	if _, _, err := connection.WriteMsgUnix([]byte{0}, unix.UnixRights(int(in.Fd()), int(out.Fd())), nil); err != nil {
		return errclass.Errorf(errclass.Transient, "passing the connection to the operation: %w", err)
	}
	_, err = io.Copy(io.Discard, connection)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return errclass.Errorf(errclass.Transient, "waiting for the operation to close the connection: %w", err)
	}
	return nil
}

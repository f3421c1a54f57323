//go:build full

package spread

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/feed"
	node "argosy.dev/argosy/pkg/node/spread"
)

// taskVariable has the task of a process that the bench starts from its own program.
const taskVariable = "ARGOSY_SPREAD_TASK"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(taskVariable) {
	case "":
		os.Exit(m.Run())
	case "source":
		err = runSource(os.Args[1], os.Args[2], os.Args[3])
	case "receiver":
		err = runReceiver(os.Args[1], os.Args[2], os.Args[3], os.Args[4])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// fault is the fault of a receiver.
type fault string

// The faults.
const (
	killed  fault = "killed"  // ends in the middle
	corrupt fault = "corrupt" // serves other bytes
	slow    fault = "slow"    // has a hundredth of the others' link
)

// scenario is one run of the bench. Where there are more receivers than this computer's processors can encrypt for, all
// links are slower by the same factor.
type scenario struct {
	receivers int
	bytes     int64
	// Mbit a second: of the source's link, and of the receivers'.
	uplink, between int
	faults          []fault
}

// measured is the result of a scenario.
type measured struct {
	seconds float64 // until the last receiver without a fault had the file
	wire    int64   // bytes that left the source, with their headers
	result  sourceResult
}

// sourceResult is the result of the source.
type sourceResult struct {
	Sent    int64
	Remarks map[string][]string
}

// TestSpreadOverShapedLinks compares spreading with a star, in which the source sends to each, and a doubling tree, in
// which each machine that has the whole file sends it to one other at a time; both are calculated at full use of links.
// The plugin's connection to a machine is TCP here in place of SSH.
func TestSpreadOverShapedLinks(t *testing.T) {
	const size = 100e6
	scenarios := []scenario{
		{receivers: 8, bytes: size, uplink: 100, between: 1000},
		{receivers: 8, bytes: size, uplink: 100, between: 1000, faults: []fault{killed, corrupt, slow}},
		{receivers: 32, bytes: size, uplink: 100, between: 1000},
		{receivers: 32, bytes: size, uplink: 50, between: 500, faults: []fault{killed, corrupt, slow}},
		{receivers: 100, bytes: size, uplink: 10, between: 100},
	}
	t.Logf("receivers  faults               Mbit/s     floor    spread  x floor  bytes out  star      tree")
	for _, s := range scenarios {
		got := s.run(t)
		if got.seconds == 0 {
			continue // -run chose others, or it failed
		}
		floor := float64(s.bytes) * 8 / float64(s.uplink) / 1e6
		perHop := float64(s.bytes) * 8 / float64(s.between) / 1e6
		tree := floor + perHop*float64(bits.Len(uint(s.receivers-1)))
		t.Logf("%9d  %-19s  %4d/%-5d  %5.1f s  %6.1f s  %7.2f  %7.2f x  %6.1f s  %6.1f s", s.receivers,
			fmt.Sprint(s.faults), s.uplink, s.between, floor, got.seconds, got.seconds/floor,
			float64(got.wire)/float64(s.bytes), floor*float64(s.receivers), tree)
		assert.Assert(t, got.wire <= 2*s.bytes, "%d bytes left the source", got.wire)
		for i, fault := range s.faults {
			if fault == corrupt {
				remarks := strings.Join(got.result.Remarks[machineName(i)], "\n")
				assert.Assert(t, strings.Contains(remarks, "serves no more in this run"), "%v", got.result.Remarks)
			}
		}
	}
}

func machineName(index int) string { return "m" + strconv.Itoa(index+1) }

// run carries out a scenario. The first receivers have the faults.
func (s scenario) run(t *testing.T) (result measured) {
	t.Helper()
	t.Run(fmt.Sprintf("%d%v", s.receivers, s.faults), func(t *testing.T) {
		n := newNetwork(t)
		sourceHost := n.host(0, s.uplink)
		dir := t.TempDir()
		path := filepath.Join(dir, "file")
		digest := writeRandom(t, path, s.bytes)
		hosts := make([]string, s.receivers)
		for i := range hosts {
			mbit := s.between
			if i < len(s.faults) && s.faults[i] == slow {
				mbit = max(s.between/100, 1)
			}
			hosts[i] = n.host(i+1, mbit)
		}
		n.acquaint(s.receivers + 1)
		source := started(t, n.program(sourceHost, "source", path, strconv.FormatInt(s.bytes, 10),
			strconv.Itoa(s.receivers)))
		source.expect(t, "listening")
		receivers := make([]*process, s.receivers)
		for i := range receivers {
			wrong := fault("")
			if i < len(s.faults) {
				wrong = s.faults[i]
			}
			receivers[i] = started(t, n.program(hosts[i], "receiver", addressOf(i+1),
				strconv.FormatInt(s.bytes, 10), digest, string(wrong)))
		}
		source.expect(t, "started")
		before, begun := n.sent(sourceHost), time.Now()
		floor := time.Duration(float64(s.bytes) * 8 / float64(s.uplink) * 1e3)
		for i, wrong := range s.faults {
			if wrong == killed {
				time.AfterFunc(floor/2, func() { _ = receivers[i].command.Process.Kill() })
			}
		}
		for i, receiver := range receivers {
			if i >= len(s.faults) {
				receiver.expect(t, "received "+digest)
			}
		}
		result.seconds = time.Since(begun).Seconds()
		result.wire = n.sent(sourceHost) - before
		_ = source.stdin.Close()
		assert.NilError(t, json.Unmarshal([]byte(source.next(t)), &result.result))
	})
	return result
}

// process is a started program that writes lines and ends when its standard input does.
type process struct {
	command *exec.Cmd
	stdin   io.WriteCloser
	lines   *bufio.Scanner
}

func started(t *testing.T, command *exec.Cmd) *process {
	t.Helper()
	stdin, err := command.StdinPipe()
	assert.NilError(t, err)
	stdout, err := command.StdoutPipe()
	assert.NilError(t, err)
	assert.NilError(t, command.Start())
	t.Cleanup(func() { _ = stdin.Close(); _ = command.Process.Kill(); _ = command.Wait() })
	return &process{command, stdin, bufio.NewScanner(stdout)}
}

func (p *process) next(t *testing.T) string {
	t.Helper()
	assert.Assert(t, p.lines.Scan(), "%v ended: %v", p.command.Args, p.lines.Err())
	return p.lines.Text()
}

func (p *process) expect(t *testing.T, line string) {
	t.Helper()
	assert.Equal(t, p.next(t), line)
}

func writeRandom(t *testing.T, path string, size int64) (digest string) {
	t.Helper()
	file, err := os.Create(path)
	assert.NilError(t, err)
	sum := sha256.New()
	_, err = io.CopyN(io.MultiWriter(file, sum), rand.NewChaCha8([32]byte{7}), size)
	assert.NilError(t, errors.Join(err, file.Close()))
	return hex.EncodeToString(sum.Sum(nil))
}

const (
	sourcePort = 9000
	benchKey   = "file"
)

// runSource is the plugin: it waits for all receivers, feeds them, and prints its result when its standard input ends.
func runSource(path, size, count string) error {
	bytes, _ := strconv.ParseInt(size, 10, 64)
	receivers, _ := strconv.Atoi(count)
	listener, err := net.Listen("tcp", net.JoinHostPort(addressOf(0), strconv.Itoa(sourcePort)))
	if err != nil {
		return err
	}
	fmt.Println("listening")
	tracker := NewTracker()
	sessions := map[string]*Session{}
	connections := make([]net.Conn, receivers)
	for i := range connections {
		if connections[i], err = listener.Accept(); err != nil {
			return err
		}
	}
	fmt.Println("started")
	open := func(_ context.Context, offset int64) (io.ReadCloser, error) {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		_, err = file.Seek(offset, io.SeekStart)
		return file, err
	}
	for _, connection := range connections {
		address, _, _ := net.SplitHostPort(connection.RemoteAddr().String())
		index := 0
		for addressOf(index+1) != address {
			index++
		}
		session := tracker.Enter(nil, Machine{Name: machineName(index), Address: address}, nil)
		session.Offer(benchKey, bytes, open)
		sessions[machineName(index)] = session
		go func() {
			defer session.Leave()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			sender := feed.NewSender(ctx, session.Open)
			go func() { _, _ = io.Copy(sender, connection); cancel() }()
			_, _ = io.CopyBuffer(struct{ io.Writer }{connection}, struct{ io.Reader }{sender}, make([]byte, 64<<10))
		}()
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	result := sourceResult{Sent: tracker.Sent(), Remarks: map[string][]string{}}
	for name, session := range sessions {
		if remarks := session.Remarks(); len(remarks) > 0 {
			result.Remarks[name] = remarks
		}
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// runReceiver is an operation on a machine: it receives the file and serves pieces until its standard input ends.
func runReceiver(_, size, digest, wrong string) error {
	bytes, _ := strconv.ParseInt(size, 10, 64)
	dir, err := os.MkdirTemp("", "receiver")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	connection, err := net.Dial("tcp", net.JoinHostPort(addressOf(0), strconv.Itoa(sourcePort)))
	if err != nil {
		return err
	}
	session, err := handOver(filepath.Join(dir, "feed"), connection)
	if err != nil {
		return err
	}
	client := node.NewClient(dir, io.Discard)
	defer client.Close()
	if wrong == string(corrupt) {
		go spoil(dir)
	}
	ask := func(_ context.Context, key string, use func(io.Reader) error) error {
		if err := session.Ask(key); err != nil {
			return err
		}
		return use(session)
	}
	content, err := client.Receive(context.Background(), ask, node.File{Key: benchKey, Size: bytes})
	if err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, content); err != nil {
		return err
	}
	_ = content.Close()
	if got := hex.EncodeToString(sum.Sum(nil)); got != digest && wrong != string(corrupt) {
		return fmt.Errorf("the file has the digest %s", got)
	}
	fmt.Println("received " + digest)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// handOver makes the session of an operation out of a connection, as `argosy-node feed` does.
func handOver(path string, connection net.Conn) (*feed.Session, error) {
	listener, err := feed.Listen(path)
	if err != nil {
		return nil, err
	}
	tcp, ok := connection.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("%T has no file", connection)
	}
	in, err := tcp.File()
	if err != nil {
		return nil, err
	}
	out, err := tcp.File()
	if err != nil {
		return nil, err
	}
	go func() { _ = feed.HandOver(context.Background(), path, in, out) }()
	return listener.Next(context.Background())
}

// spoil keeps changing bytes of all pieces in dir.
func spoil(dir string) {
	var once sync.Once
	for {
		files, _ := filepath.Glob(filepath.Join(dir, "*.pieces"))
		for _, name := range files {
			file, err := os.OpenFile(name, os.O_RDWR, 0)
			if err != nil {
				once.Do(func() { fmt.Fprintln(os.Stderr, err) })
				continue
			}
			info, err := file.Stat()
			if err == nil {
				for at := int64(0); at < info.Size(); at += minPiece {
					_, _ = file.WriteAt([]byte{byte(math.MaxUint8)}, at+100)
				}
			}
			_ = file.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

package program_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/cmd/internal/program"
)

// child is set in the process that the test sends signals to.
const child = "ARGOSY_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(child) == "" {
		os.Exit(m.Run())
	}
	program.Main(&cobra.Command{Use: "child", RunE: func(command *cobra.Command, _ []string) error {
		fmt.Println("runs")
		<-command.Context().Done()
		fmt.Println("stops")
		time.Sleep(time.Minute) // longer than the test waits: only a second signal ends it
		return errors.New("stopped by itself")
	}})
}

func TestASecondInterruptEndsTheProgramAtOnce(t *testing.T) {
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(os.Environ(), child+"=1")
	out, err := command.StdoutPipe()
	assert.NilError(t, err)
	assert.NilError(t, command.Start())
	lines := bufio.NewScanner(out)
	for _, want := range []string{"runs", "stops"} {
		assert.Assert(t, lines.Scan())
		assert.Equal(t, lines.Text(), want)
		assert.NilError(t, command.Process.Signal(os.Interrupt))
	}
	// The second signal may come before the first one's handler is gone: it is sent until the program ends.
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	for {
		select {
		case err = <-ended:
			var exit *exec.ExitError
			assert.Assert(t, errors.As(err, &exit), "%v", err)
			status := exit.Sys().(syscall.WaitStatus)
			assert.Assert(t, status.Signaled() && status.Signal() == syscall.SIGINT, "%v", err)
			return
		case <-time.After(50 * time.Millisecond):
			_ = command.Process.Signal(os.Interrupt)
		}
	}
}

package simulated

import (
	"testing"

	"gotest.tools/v3/assert"
)

// The line is of a shell that gets "echo [x]", in the form of pkg/ssh.
func TestSimulatedMachineFindsCommandBetweenItsMarks(t *testing.T) {
	const line = `sh -c 'eval "$(printf %b "$@")"' argosy 'printf %s \0047\0133argosy begins E1\0135\0047 >&2; ' ` +
		`'printf %s \0047\0133argosy begins O1\0135\0047\0012echo \0133x\0135\0012c=$?\0012printf ` +
		`\0047%s %s\0135\0047 \0047\0133argosy ends O2\0047 "$c"\0012printf \0047%s %s\0135\0047 ` +
		`\0047\0133argosy ends E2\0047 "$c" >&2\0012exit $c'`
	assert.Equal(t, decodeScript(line), script{
		command: "echo [x]", beginErrors: "[argosy begins E1]", begin: "[argosy begins O1]", end: "[argosy ends O2",
		endErrors: "[argosy ends E2",
	})
	assert.Equal(t, decodeScript("scp -t /tmp"), script{command: "scp -t /tmp"})
}

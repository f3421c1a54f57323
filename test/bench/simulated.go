package main

import (
	"encoding/json"
	"io"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/test/simulated"
)

// newSimulatedMachine is an SSH server in this process that answers as a clean machine with argosy-node would, and then
// works for ever: it takes a bundle slowly and reports progress. There is no machine behind it. All that is sent is on
// its way for delay, in each direction.
func newSimulatedMachine(delay time.Duration) (*simulated.Server, error) {
	return simulated.Start(simulated.Options{Listen: "127.0.0.1:0", Delay: delay, Run: execute})
}

// simulatedRate is how fast a simulated machine takes a bundle, in bytes a second.
const simulatedRate = 2 << 20

// execute tells the plugin's few commands apart by a part that is unique to each.
func execute(session simulated.Session) {
	command := session.Command
	verb := strings.Trim(command[strings.LastIndexByte(command, ' ')+1:], "'")
	switch {
	case strings.Contains(command, "seek="):
		takeSlowly(session)
	case strings.Contains(command, "command -v scp"):
		_, _ = io.WriteString(session, "no 0 no\n")
	case strings.Contains(command, "watch"):
		reportForEver(session)
	case verb == "inspect":
		answerQuestion(session)
	default:
		_ = json.NewEncoder(session).Encode(working(0))
	}
}

func answerQuestion(session simulated.Session) {
	var question spec.Question
	_ = json.NewDecoder(session).Decode(&question)
	operation := question.Operations["amd64"]
	_ = json.NewEncoder(session).Encode(spec.Facts{Arch: "amd64", OS: "simulated", Plan: &spec.Status{
		ID: operation.ID, Total: 9, Phases: []spec.Phase{
			{Name: "bundle", Outcome: spec.Wanted},
			{Name: "kubeadm", Outcome: spec.Wanted},
		},
	}})
}

func takeSlowly(session simulated.Session) {
	buffer := make([]byte, simulatedRate/10)
	for {
		if _, err := io.ReadFull(session, buffer); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func reportForEver(session simulated.Session) {
	for i := int64(0); ; i++ {
		if json.NewEncoder(session).Encode(working(i)) != nil {
			return
		}
		time.Sleep(250 * time.Millisecond)
	}
}

func working(i int64) spec.Status {
	return spec.Status{
		State: spec.Running, Phase: "bundle", Index: 2, Total: 9, Message: "receiving",
		Progress: &spec.Progress{Done: i * simulatedRate / 4, Total: 111 << 20, Rate: simulatedRate},
	}
}

// Program pause is the first process of every pod in the lab: it holds the pod's namespaces open while the containers
// come and go, collects children that lost their parent, and ends when it is asked to. It does nothing else.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	collectChildren()
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		collectChildren()
	}
}

// collectChildren takes every child that has ended: one signal may stand for several of them.
func collectChildren() {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
	}
}

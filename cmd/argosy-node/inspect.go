package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"argosy.dev/argosy/internal/sources"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/spec"
)

// reachTimeout bounds the one request that checks whether the machine reaches the repository.
const reachTimeout = 2 * time.Second

func inspectMachine(ctx context.Context, e *node.Engine, args []string, in io.Reader, out io.Writer) error {
	if err := flags("inspect", args, nil); err != nil {
		return err
	}
	question, err := readQuestion(in)
	if err != nil {
		return err
	}
	facts, err := inspect.Machine(ctx, e.Host, e.Store)
	if err != nil {
		return fmt.Errorf("inspecting the machine: %w", err)
	}
	facts.Working = e.Store.Working()
	operation, asked := question.Operations[facts.Arch]
	if !asked {
		return answer(out, facts)
	}
	reached := make(chan bool, 1)
	if question.Reach != "" {
		go func() { reached <- reaches(ctx, question.Reach, question.ReachCA) }()
	}
	if facts.Plan, err = e.Plan(ctx, &operation); err != nil {
		return fmt.Errorf("planning operation %q: %w", operation.ID, err)
	}
	if question.Reach != "" && wants(facts.Plan, "bundle") {
		answered := <-reached
		facts.Reached = &answered
	}
	return answer(out, facts)
}

// readQuestion reads standard input; when it is empty, only facts are asked for.
func readQuestion(in io.Reader) (spec.Question, error) {
	var question spec.Question
	decoder := json.NewDecoder(in)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&question); err != nil && !errors.Is(err, io.EOF) {
		return question, fmt.Errorf("reading the question from standard input: %w", err)
	}
	return question, nil
}

func wants(plan *spec.Status, phase string) bool {
	return slices.ContainsFunc(plan.Phases, func(p spec.Phase) bool {
		return p.Name == phase &&
			p.Outcome == spec.Wanted
	})
}

// reaches reports whether url answers, with TLS verified. Any status counts, since the download reports the
// repository's own errors better.
func reaches(ctx context.Context, url, ca string) bool {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	roots.AppendCertsFromPEM([]byte(ca))
	client := http.Client{Transport: &http.Transport{
		DialContext:     sources.Dialer(reachTimeout).DialContext,
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return true
}

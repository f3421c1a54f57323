package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Server answers the calls of Argo's agent.
type Server struct {
	steps     registry
	address   string
	tokenFile string
	release   string
	log       *slog.Logger
	timing    Timing
	metrics   *metrics
	runs      *runs
	canceller *cancelWatcher
	handler   http.Handler
	waiting   chan struct{} // one element for each call that waits for its run
	draining  atomic.Bool
	last      atomic.Pointer[Workflow] // that called; one agent pod, hence one plugin, serves one workflow
}

// NewServer checks the steps. It does not listen; Run does.
func NewServer(options Options) (*Server, error) {
	options = options.withDefaults()
	steps, err := newRegistry(options.Steps)
	if err != nil {
		return nil, err
	}
	s := &Server{
		steps:     steps,
		address:   options.Address,
		tokenFile: options.TokenFile,
		release:   options.Release,
		log:       options.Log,
		timing:    options.Timing,
		waiting:   make(chan struct{}, maxWaiting),
	}
	s.runs = newRuns(s.timing.Remember, s.log)
	if s.metrics, err = newMetrics(options.Registry, s.runs.count); err != nil {
		return nil, err
	}
	s.runs.onFinish = s.metrics.finished
	s.canceller = &cancelWatcher{
		runs: s.runs, interval: s.timing.Poll, log: s.log,
		cancelled: s.metrics.cancellations.WithLabelValues("cancelled"),
	}
	if options.Argo != nil {
		s.canceller.observer = argoObserver{options.Argo}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/template.execute", s.serveExecute)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", s.serveReady)
	mux.Handle("GET /metrics", promhttp.HandlerFor(options.Registry, promhttp.HandlerOpts{}))
	s.handler = mux
	return s, nil
}

// Run listens and serves until ctx ends, as it should on SIGTERM, then drains and returns nil.
//
// Draining starts no runs. Those that run are cancelled when their workflow no longer wants them, and left to the
// next plugin otherwise. Run returns when they have ended, and not before the workflow is over or the grace has passed:
// the agent in our pod ignores SIGTERM, and would fail every step whose plugin it cannot reach for 15 seconds. So the
// grace has to be shorter than the pod's, by less than that.
func (s *Server) Run(ctx context.Context) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", s.address)
	if err != nil {
		return fmt.Errorf("listening on %q: %w", s.address, err)
	}
	return s.serve(ctx, listener)
}

func (s *Server) serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      20 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	s.log.Info("serving", "address", listener.Addr().String())

	watching, stopWatching := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.canceller.watch(watching)
	}()
	defer func() {
		stopWatching()
		<-watched
	}()

	select {
	case err := <-served:
		return fmt.Errorf("serving on %q: %w", s.address, err)
	case <-ctx.Done():
	}
	s.drain(context.WithoutCancel(ctx))
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := server.Shutdown(closing); err != nil {
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving on %q: %w", s.address, err)
	}
	return nil
}

// drain ends the runs as the comment of Run describes.
func (s *Server) drain(ctx context.Context) {
	s.draining.Store(true)
	ctx, cancel := context.WithTimeout(ctx, s.timing.Grace)
	defer cancel()
	s.log.Info("draining", "runs", s.runs.count(), "grace", s.timing.Grace.String())
	s.runs.close()
	s.canceller.cancelUnwanted(ctx)
	s.metrics.cancellations.WithLabelValues("detached").Add(float64(s.runs.detach()))
	if err := s.runs.wait(ctx); err != nil {
		s.log.Warn("grace is over", "error", err.Error())
		return
	}
	s.log.Info("runs have ended")
	for s.canceller.mayCall(ctx, s.last.Load()) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(s.timing.Poll):
		}
	}
}

func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	if s.draining.Load() {
		http.Error(w, "draining", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

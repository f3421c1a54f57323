package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"argosy.dev/argosy/test/site"
)

// replaceOne shows for how long the API of a cluster with one replica, and SQLite, is away while its pod is replaced:
// by a changed document, and by hand, which is by deleting the pod.
func (b *bench) replaceOne(ctx context.Context) error {
	return b.withHosted(ctx, "bench-r1", nil, func(h *hosted) error {
		if err := h.makeControlPlane(ctx); err != nil {
			return err
		}
		var ours, byHand views
		for range b.rounds {
			if err := ours.during(ctx, h, h.change); err != nil {
				return err
			}
			if err := byHand.during(ctx, h, h.deletePod); err != nil {
				return err
			}
		}
		fmt.Printf("replace-1 %s %s %s %s goal=3s (longest gap without an answer, new connections, and client-go on "+
			"a kept one) rounds=%d\n",
			ours.fresh.text(""), ours.kept.text("kept-"), byHand.fresh.text("by-hand-"),
			byHand.kept.text("by-hand-kept-"), b.rounds)
		return nil
	})
}

// replaceTwo shows the same for two replicas with etcd, of which one always answers.
func (b *bench) replaceTwo(ctx context.Context) error {
	return b.withHosted(ctx, "bench-r2", available, func(h *hosted) error {
		if err := h.makeControlPlane(ctx); err != nil {
			return err
		}
		var ours views
		for range b.rounds {
			if err := ours.during(ctx, h, h.change); err != nil {
				return err
			}
		}
		fmt.Printf("replace-2 %s %s goal=0-failed (longest gap without an answer, new connections, and client-go on "+
			"a kept one) rounds=%d\n",
			ours.fresh.text(""), ours.kept.text("kept-"), b.rounds)
		return nil
	})
}

// available makes a cluster of two replicas and an etcd beside them.
func available(vcluster map[string]any) {
	site.Set(vcluster, "controlPlane.backingStore.etcd.deploy.enabled", true)
	site.Set(vcluster, "controlPlane.statefulSet.highAvailability.replicas", 2)
}

// change has the control plane's pods replaced, and nothing else, by a document that wants another annotation on them.
func (h *hosted) change(ctx context.Context) error {
	shape := h.VCluster
	defer func() { h.VCluster = shape }()
	h.VCluster = func(document map[string]any) {
		if shape != nil {
			shape(document)
		}
		site.Set(document, "controlPlane.statefulSet.pods.annotations",
			map[string]any{"bench": time.Now().Format(time.RFC3339Nano)})
	}
	if err := h.ApplyDocuments(ctx); err != nil {
		return err
	}
	return h.makeControlPlane(ctx)
}

// deletePod has the only pod replaced in its place, with its usual grace.
func (h *hosted) deletePod(ctx context.Context) error {
	_, err := h.HostKubectl(ctx, "delete", "pod", h.Name+"-control-plane-0")
	return err
}

// views have the outages that two clients saw: one with a new connection for each request, and one that keeps its own.
type views struct{ fresh, kept outage }

// during adds the outages that are seen while work has the control plane's pods replaced, until all are new and answer.
func (v *views) during(ctx context.Context, h *hosted, work func(context.Context) error) error {
	access, err := h.access(ctx)
	if err != nil {
		return err
	}
	fresh, kept, err := newWatchers(access)
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { fresh.run(watching) })
	running.Go(func() { kept.run(watching) })
	err = h.replaced(ctx, work, fresh, kept)
	stop()
	running.Wait()
	v.fresh.add(fresh.seen)
	v.kept.add(kept.seen)
	return err
}

// afterwards is how long clients go on to ask when everything seems to be over.
const afterwards = 2 * time.Second

// replaced runs work, and waits for new pods, between two times at which all watchers are answered.
func (h *hosted) replaced(ctx context.Context, work func(context.Context) error, watchers ...*watcher) error {
	if err := answered(ctx, watchers); err != nil {
		return err
	}
	before, err := h.pods(ctx)
	if err != nil {
		return err
	}
	if err := work(ctx); err != nil {
		return err
	}
	if err := h.renewed(ctx, before); err != nil {
		return err
	}
	if err := answered(ctx, watchers); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(afterwards):
		return nil
	}
}

// renewed waits until there are as many pods as before, all other ones and ready.
func (h *hosted) renewed(ctx context.Context, before []corev1.Pod) error {
	var old []types.UID
	for _, pod := range before {
		old = append(old, pod.UID)
	}
	var now []corev1.Pod
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, patience, true,
		func(ctx context.Context) (_ bool, err error) {
			if now, err = h.pods(ctx); err != nil {
				return false, err
			}
			return len(now) == len(before) && !slices.ContainsFunc(now, func(pod corev1.Pod) bool {
				return slices.Contains(old, pod.UID) || pod.DeletionTimestamp != nil || !podReady(pod)
			}), nil
		})
	if err != nil {
		return fmt.Errorf("waiting for %d new pods of cluster %q: there are %d: %w", len(before), h.Name, len(now), err)
	}
	return nil
}

func podReady(pod corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// answered waits until each watcher gets an answer from now on.
func answered(ctx context.Context, watchers []*watcher) error {
	started := time.Now()
	err := wait.PollUntilContextTimeout(ctx, askEvery, patience, true, func(context.Context) (bool, error) {
		return !slices.ContainsFunc(watchers, func(w *watcher) bool { return !w.goodSince(started) }), nil
	})
	if err != nil {
		return fmt.Errorf("waiting for an answer of the API server: %w", err)
	}
	return nil
}

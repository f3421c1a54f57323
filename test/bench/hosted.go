package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	hostedcluster "argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/test/site"
)

const (
	// askEvery is how often something that is timed is looked at.
	askEvery = 20 * time.Millisecond
	// patience bounds every wait; it is a limit against hanging, not a claim about speed.
	patience = 5 * time.Minute
)

// hosted is a cluster that a figure provisions, in a namespace of its own.
type hosted struct {
	*site.HostedCluster
	bench *bench
	host  kubernetes.Interface
	// caller is the Workflow in that namespace that calls belong to.
	caller workflow
}

// withHosted hands use the documents of a cluster that is not there yet, and removes the cluster whatever came of it.
func (b *bench) withHosted(ctx context.Context, name string, vcluster func(map[string]any),
	use func(*hosted) error,
) (err error) {
	h := &hosted{HostedCluster: b.site.HostedCluster(name), bench: b}
	h.VCluster = vcluster
	if h.host, err = b.client("host"); err != nil {
		return err
	}
	// A run that was killed has left it.
	if err := h.Remove(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.remove(context.WithoutCancel(ctx))) }()
	if err := h.Install(ctx); err != nil {
		return err
	}
	if h.caller, err = b.makeWorkflow(ctx, name); err != nil {
		return err
	}
	return use(h)
}

// remove returns when the cluster's volumes are gone too: removing them is work of the host machine that would be in
// the way of the next measurement.
func (h *hosted) remove(ctx context.Context) error {
	if err := h.Remove(ctx); err != nil {
		return err
	}
	err := wait.PollUntilContextTimeout(ctx, time.Second, patience, true, func(ctx context.Context) (bool, error) {
		volumes, err := h.host.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		for _, volume := range volumes.Items {
			if claim := volume.Spec.ClaimRef; claim != nil && claim.Namespace == h.Name {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the volumes of cluster %q to go: %w", h.Name, err)
	}
	return nil
}

// Steps of workflow provision.
const (
	validate     = "provision-validate"
	controlPlane = "provision-control-plane"
	setAddons    = "provision-addons"
	verify       = "provision-verify"
)

// call has a fresh plugin process run steps, as Argo's agent would, and returns their messages by step.
func (h *hosted) call(ctx context.Context, steps ...string) (map[string]string, error) {
	p, err := h.bench.startPlugin(ctx, h.caller)
	if err != nil {
		return nil, err
	}
	defer h.bench.stopPlugin(p)
	messages := map[string]string{}
	for _, step := range steps {
		result, err := p.call(ctx, map[string]string{"step": step, "cluster": h.Name, "node": step})
		if err != nil {
			return nil, err
		}
		messages[step] = result.Message
	}
	return messages, nil
}

// makeControlPlane runs the steps of the workflow that a control plane comes of.
func (h *hosted) makeControlPlane(ctx context.Context) error {
	_, err := h.call(ctx, validate, controlPlane)
	return err
}

// ready waits until the API server answers a client with the kubeconfig that it is ready.
func (h *hosted) ready(ctx context.Context) error {
	access, err := h.access(ctx)
	if err != nil {
		return err
	}
	return readyz(ctx, access)
}

// access waits for the kubeconfig that provisioning writes.
func (h *hosted) access(ctx context.Context) (access *rest.Config, err error) {
	err = wait.PollUntilContextTimeout(ctx, askEvery, patience, true, func(ctx context.Context) (bool, error) {
		held, err := h.host.CoreV1().Secrets(h.Name).Get(ctx, h.Name+"-kubeconfig", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		access, err = clientcmd.RESTConfigFromKubeConfig(held.Data["value"])
		return err == nil, err
	})
	if err != nil {
		return nil, fmt.Errorf("waiting for the kubeconfig of cluster %q: %w", h.Name, err)
	}
	return access, nil
}

// pods of the control plane.
func (h *hosted) pods(ctx context.Context) ([]corev1.Pod, error) {
	list, err := h.host.CoreV1().Pods(h.Name).List(ctx, metav1.ListOptions{
		LabelSelector: hostedcluster.ClusterLabel + "=" + h.Name + ",app.kubernetes.io/component=control-plane",
	})
	if err != nil {
		return nil, fmt.Errorf("listing the control plane's pods of cluster %q: %w", h.Name, err)
	}
	return list.Items, nil
}

// waitsForVolume is how long the control plane's pod is there without a node, which it gets when its volume has one.
func (h *hosted) waitsForVolume(ctx context.Context) time.Duration {
	var made time.Time
	for ctx.Err() == nil {
		pods, err := h.pods(ctx)
		if err == nil && len(pods) > 0 && made.IsZero() {
			made = time.Now()
		}
		if err == nil && len(pods) > 0 && pods[0].Spec.NodeName != "" {
			return time.Since(made)
		}
		time.Sleep(askEvery)
	}
	return 0
}

// readyz polls an API server until it is ready.
func readyz(ctx context.Context, access *rest.Config) error {
	access = rest.CopyConfig(access)
	access.Timeout = 2 * time.Second
	// A connection's first packet that is not answered, since the Service does not lead anywhere yet, is only sent
	// again after a second.
	access.Dial = (&net.Dialer{Timeout: 200 * time.Millisecond}).DialContext
	client, err := rest.HTTPClientFor(access)
	if err != nil {
		return fmt.Errorf("making a client for %s: %w", access.Host, err)
	}
	defer client.CloseIdleConnections()
	var last error
	err = wait.PollUntilContextTimeout(ctx, askEvery, patience, true, func(ctx context.Context) (bool, error) {
		last = ask(ctx, client, access.Host+"/readyz")
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for API server %s: %w: %w", access.Host, err, last)
	}
	return nil
}

// ask is an error unless the answer is 200.
func ask(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("asking %q: %w", url, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return fmt.Errorf("reading the answer of %q: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("asking %q: the answer is %s", url, response.Status)
	}
	return nil
}

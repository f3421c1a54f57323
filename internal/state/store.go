package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"

	"argosy.dev/argosy/internal/apply"
)

// Kind of the objects.
const Kind = "ClusterState"

// Resource is that of the objects, which install/crd defines.
var Resource = schema.GroupVersionResource{Group: "argosy.dev", Version: "v1alpha1", Resource: "clusterstates"}

// ConfigMap takes the states of a namespace's clusters where the API server has no resource clusterstates. Below key
// "<cluster>.json" is the status. It has one name, so that the plugin's rights can be those on this ConfigMap alone.
const ConfigMap = "argosy-state"

const extension = ".json"

// State is the state of one cluster, with the object that holds it.
type State struct {
	Namespace string `json:"namespace"`
	Cluster   string `json:"cluster"`
	Status    Status `json:"status"`
	// Object is where it is kept, for events.
	Object corev1.ObjectReference `json:"-"`
}

// Store reads and writes the states of one host cluster: ClusterStates, or ConfigMaps where the kind is not installed
// or not allowed.
type Store struct {
	objects dynamic.Interface
	client  kubernetes.Interface
	now     func() time.Time
}

// NewStore returns the store of a host cluster.
func NewStore(objects dynamic.Interface, client kubernetes.Interface) *Store {
	return &Store{objects: objects, client: client, now: time.Now}
}

// backoff of writes that met another one. Two processes seldom write about one cluster, since its workflows exclude
// each other.
var backoff = wait.Backoff{Steps: 8, Duration: 50 * time.Millisecond, Factor: 1.6, Jitter: 0.5}

// errNoKind is returned where the host cluster has no clusterstates for us.
var errNoKind = errors.New("the host cluster has no clusterstates.argosy.dev, or they are not allowed")

// Update applies changes to the state of a cluster, makes its conditions anew, and writes it where it differs. Another
// process may write at the same time: then the changes are applied once more, to the newer state.
func (s *Store) Update(ctx context.Context, namespace, cluster string, changes []Change) (State, error) {
	state := State{Namespace: namespace, Cluster: cluster}
	err := retry.OnError(backoff, isRetriable, func() (err error) {
		state, err = s.update(ctx, namespace, cluster, changes)
		return err
	})
	if err != nil {
		return state, fmt.Errorf("writing the state of cluster %q: %w", cluster, apply.Classify(err))
	}
	return state, nil
}

func isRetriable(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }

func (s *Store) update(ctx context.Context, namespace, cluster string, changes []Change) (State, error) {
	state, err := s.updateObject(ctx, namespace, cluster, changes)
	if errors.Is(err, errNoKind) {
		return s.updateConfigMap(ctx, namespace, cluster, changes)
	}
	return state, err
}

// updateObject reads a ClusterState, makes it where there is none, and writes its status.
//
//nolint:wrapcheck // Update wraps the error, whose kind it needs before.
func (s *Store) updateObject(ctx context.Context, namespace, cluster string, changes []Change) (State, error) {
	resource := s.objects.Resource(Resource).Namespace(namespace)
	held, err := resource.Get(ctx, cluster, metav1.GetOptions{})
	switch {
	case noKind(err):
		return State{}, errNoKind
	case apierrors.IsNotFound(err):
		held, err = resource.Create(ctx, newObject(namespace, cluster),
			metav1.CreateOptions{FieldManager: apply.Manager})
		if noKind(err) {
			return State{}, errNoKind
		}
	}
	if err != nil {
		return State{}, err
	}
	state, err := fromObject(held)
	if err != nil {
		return state, err
	}
	state.Status.ObservedGeneration = held.GetGeneration()
	if !s.apply(&state.Status, changes) {
		return state, nil
	}
	status, err := toMap(state.Status)
	if err != nil {
		return state, err
	}
	held.Object["status"] = status
	_, err = resource.UpdateStatus(ctx, held, metav1.UpdateOptions{FieldManager: apply.Manager})
	return state, err
}

// noKind reports whether an error is that of a kind that is not there, or that the account has no right to.
func noKind(err error) bool {
	return apierrors.IsForbidden(err) ||
		apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

func newObject(namespace, cluster string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": Resource.GroupVersion().String(), "kind": Kind,
		"metadata": map[string]any{
			"name": cluster, "namespace": namespace, "labels": map[string]any{apply.ManagedByLabel: apply.Manager},
		},
	}}
}

// updateConfigMap writes the state of a cluster into ConfigMap.
//
//nolint:wrapcheck // Update wraps the error, whose kind it needs before.
func (s *Store) updateConfigMap(ctx context.Context, namespace, cluster string, changes []Change) (State, error) {
	configMaps := s.client.CoreV1().ConfigMaps(namespace)
	held, err := configMaps.Get(ctx, ConfigMap, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		held, err = configMaps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Name: ConfigMap, Labels: map[string]string{apply.ManagedByLabel: apply.Manager},
		}}, metav1.CreateOptions{FieldManager: apply.Manager})
	}
	if err != nil {
		return State{}, err
	}
	state, err := fromConfigMap(held, cluster)
	if err != nil {
		return state, err
	}
	if !s.apply(&state.Status, changes) {
		return state, nil
	}
	text, err := json.Marshal(state.Status)
	if err != nil {
		return state, err
	}
	if held.Data == nil {
		held.Data = map[string]string{}
	}
	held.Data[cluster+extension] = string(text)
	_, err = configMaps.Update(ctx, held, metav1.UpdateOptions{FieldManager: apply.Manager})
	return state, err
}

// apply applies changes and reports whether the status differs from before.
func (s *Store) apply(status *Status, changes []Change) bool {
	before := *status
	before.Conditions, before.Machines = slices.Clone(status.Conditions), slices.Clone(status.Machines)
	before.Operations, before.Certificates = slices.Clone(status.Operations), slices.Clone(status.Certificates)
	for _, change := range changes {
		change(status)
	}
	status.Evaluate(s.now())
	fit(status)
	return !equality.Semantic.DeepEqual(before, *status)
}

// List returns the states of all clusters of a namespace, of every one where it is empty, in the order of their names.
func (s *Store) List(ctx context.Context, namespace string) ([]State, error) {
	states, err := s.list(ctx, namespace)
	if err != nil {
		return nil, fmt.Errorf("listing the states of clusters: %w", apply.Classify(err))
	}
	slices.SortFunc(states, func(a, b State) int {
		return strings.Compare(a.Namespace+"/"+a.Cluster, b.Namespace+"/"+b.Cluster)
	})
	return states, nil
}

//nolint:wrapcheck // List wraps the error.
func (s *Store) list(ctx context.Context, namespace string) ([]State, error) {
	held, err := s.objects.Resource(Resource).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil && !noKind(err) {
		return nil, err
	}
	var states []State
	if err == nil {
		for i := range held.Items {
			state, err := fromObject(&held.Items[i])
			if err != nil {
				return nil, err
			}
			states = append(states, state)
		}
	}
	others, err := s.listConfigMaps(ctx, namespace)
	if err != nil {
		return nil, err
	}
	for _, other := range others {
		if !slices.ContainsFunc(states, func(one State) bool {
			return one.Namespace == other.Namespace && one.Cluster == other.Cluster
		}) {
			states = append(states, other)
		}
	}
	return states, nil
}

//nolint:wrapcheck // List wraps the error.
func (s *Store) listConfigMaps(ctx context.Context, namespace string) ([]State, error) {
	held, err := s.client.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "metadata.name=" + ConfigMap,
	})
	if err != nil {
		return nil, err
	}
	var states []State
	for i := range held.Items {
		for key := range held.Items[i].Data {
			cluster, ours := strings.CutSuffix(key, extension)
			if !ours {
				continue
			}
			state, err := fromConfigMap(&held.Items[i], cluster)
			if err != nil {
				return nil, err
			}
			states = append(states, state)
		}
	}
	return states, nil
}

func fromObject(held *unstructured.Unstructured) (State, error) {
	state := State{
		Namespace: held.GetNamespace(), Cluster: held.GetName(),
		Object: corev1.ObjectReference{
			APIVersion: held.GetAPIVersion(), Kind: held.GetKind(), Namespace: held.GetNamespace(),
			Name: held.GetName(), UID: held.GetUID(),
		},
	}
	text, err := json.Marshal(held.Object["status"])
	if err == nil {
		err = json.Unmarshal(text, &state.Status)
	}
	if err != nil {
		return state, fmt.Errorf("decoding the status of ClusterState %q: %w", held.GetName(), err)
	}
	return state, nil
}

func fromConfigMap(held *corev1.ConfigMap, cluster string) (State, error) {
	state := State{
		Namespace: held.Namespace, Cluster: cluster,
		Object: corev1.ObjectReference{
			APIVersion: "v1", Kind: "ConfigMap", Namespace: held.Namespace, Name: held.Name, UID: held.UID,
		},
	}
	text := held.Data[cluster+extension]
	if text == "" {
		return state, nil
	}
	if err := json.Unmarshal([]byte(text), &state.Status); err != nil {
		return state, fmt.Errorf("decoding key %q of ConfigMap %q: %w", cluster+extension, held.Name, err)
	}
	return state, nil
}

func toMap(status Status) (map[string]any, error) {
	text, err := json.Marshal(status)
	if err != nil {
		return nil, err
	}
	var values map[string]any
	if err := json.Unmarshal(text, &values); err != nil {
		return nil, fmt.Errorf("encoding the status: %w", err)
	}
	return values, nil
}

// Delete deletes the ClusterState that Argosy made for a cluster, and its status in ConfigMap. One that others made,
// such as one of a repository of manifests, stays.
func (s *Store) Delete(ctx context.Context, namespace, cluster string) error {
	err := retry.OnError(backoff, isRetriable, func() error { return s.delete(ctx, namespace, cluster) })
	if err != nil {
		return fmt.Errorf("deleting the state of cluster %q: %w", cluster, apply.Classify(err))
	}
	return nil
}

//nolint:wrapcheck // Delete wraps the error, whose kind it needs before.
func (s *Store) delete(ctx context.Context, namespace, cluster string) error {
	resource := s.objects.Resource(Resource).Namespace(namespace)
	held, err := resource.Get(ctx, cluster, metav1.GetOptions{})
	if err == nil && held.GetLabels()[apply.ManagedByLabel] == apply.Manager {
		uid := held.GetUID()
		err = resource.Delete(ctx, cluster, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	}
	if err != nil && !apierrors.IsNotFound(err) && !noKind(err) {
		return err
	}
	configMaps := s.client.CoreV1().ConfigMaps(namespace)
	written, err := configMaps.Get(ctx, ConfigMap, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, found := written.Data[cluster+extension]; !found {
		return nil
	}
	delete(written.Data, cluster+extension)
	_, err = configMaps.Update(ctx, written, metav1.UpdateOptions{FieldManager: apply.Manager})
	return err
}

// maxSize bounds a status as JSON, in bytes. The API server takes 1 MiB of data in a ConfigMap, and etcd requests of
// 1.5 MiB. A row has 130 to 150 bytes without a message, so that five thousand machines need 750 kB.
const maxSize = 900 << 10

// fit shortens a status that is too long: first the messages of rows, then the rows themselves, from the last one.
func fit(status *Status) {
	status.Omitted = 0
	for _, limit := range []int{40, 0} {
		if encodedSize(*status) <= maxSize {
			return
		}
		for i := range status.Machines {
			status.Machines[i].Message = oneLine(status.Machines[i].Message, limit)
		}
	}
	for size := encodedSize(*status); size > maxSize && len(status.Machines) > 0; size = encodedSize(*status) {
		drop := max(len(status.Machines)*(size-maxSize)/size, 1)
		status.Machines = status.Machines[:len(status.Machines)-drop]
		status.Omitted += drop
	}
}

func encodedSize(status Status) int {
	text, err := json.Marshal(status)
	if err != nil {
		return 0
	}
	return len(text)
}

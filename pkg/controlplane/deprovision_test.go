package controlplane

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

var errStopped = errors.New("stopped")

// withMachines gives the fleet machines m1 and m2.
func withMachines(t *testing.T, p *Provisioner) *Provisioner {
	t.Helper()
	cluster, err := config.Parse("team-a", []byte(specified),
		[]byte(fleet+"machines: [{name: m1, address: 192.0.2.1}, {name: m2, address: 192.0.2.2, nodeName: second}]\n"))
	assert.NilError(t, err)
	cluster.Namespace = p.Cluster.Namespace
	p.Cluster = cluster
	return p
}

func TestWhetherAClusterMayGo(t *testing.T) {
	for _, tt := range []struct {
		name     string
		nodes    []string
		silent   bool
		options  DeprovisionOptions
		machines []string // to reset
		says     string   // of a refusal
	}{
		{name: "no machine", options: DeprovisionOptions{Machines: RefuseMachines}},
		{name: "machines, refuse", nodes: []string{"m1", "second"},
			options: DeprovisionOptions{Machines: RefuseMachines}, machines: []string{"m1", "m2"},
			says: "joined: m1, m2"},
		{name: "machines, refuse, force", nodes: []string{"m1"},
			options: DeprovisionOptions{Machines: RefuseMachines, Force: true}, machines: []string{"m1"},
			says: "joined: m1"},
		{name: "machines, reset", nodes: []string{"second"}, options: DeprovisionOptions{Machines: ResetMachines},
			machines: []string{"m2"}},
		{name: "a stranger, reset", nodes: []string{"m1", "other"},
			options: DeprovisionOptions{Machines: ResetMachines}, machines: []string{"m1"},
			says: "can't be reset: other"},
		{name: "a stranger, reset, force", nodes: []string{"m1", "other"},
			options: DeprovisionOptions{Machines: ResetMachines, Force: true}, machines: []string{"m1"}},
		{name: "silent", silent: true, options: DeprovisionOptions{Machines: ResetMachines},
			machines: []string{"m1", "m2"}, says: "force=true"},
		{name: "machines, keep", nodes: []string{"m1", "other"},
			options: DeprovisionOptions{Machines: KeepMachines, FinalBackup: true}, machines: []string{"m1"}},
		{name: "silent, keep", silent: true, options: DeprovisionOptions{Machines: KeepMachines, KeepVolumes: true},
			machines: []string{"m1", "m2"}},
		{name: "keep, with nothing to restore from", nodes: []string{"m1"},
			options: DeprovisionOptions{Machines: KeepMachines}, says: "leaves no archive to restore from"},
		{name: "silent, force", silent: true, options: DeprovisionOptions{Machines: ResetMachines, Force: true},
			machines: []string{"m1", "m2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := withMachines(t, provisioned(t, specified))
			if !tt.silent {
				reachable(t, p, tt.nodes...) // else there is no kubeconfig
			}
			joined, err := p.CheckDeprovision(t.Context(), tt.options, func(string) {})
			assert.DeepEqual(t, joined.Machines, tt.machines)
			if tt.says == "" {
				assert.NilError(t, err)
				return
			}
			assert.ErrorContains(t, err, tt.says)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		})
	}
}

// left is what a namespace holds, as "Secret team-a-pki".
func left(t *testing.T, p *Provisioner) []string {
	t.Helper()
	var found []string
	for kind, resource := range map[string]schema.GroupVersionResource{
		"StatefulSet": appsv1.SchemeGroupVersion.WithResource("statefulsets"),
		"Job":         batchv1.SchemeGroupVersion.WithResource("jobs"),
		"Pod":         {Version: "v1", Resource: "pods"}, "Service": {Version: "v1", Resource: "services"},
		"ConfigMap": {Version: "v1", Resource: "configmaps"},
		"Secret":    {Version: "v1", Resource: "secrets"}, "PersistentVolumeClaim": {Version: "v1",
			Resource: "persistentvolumeclaims"},
		"PodDisruptionBudget": {Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
	} {
		list, err := p.Host.(*fake.Clientset).Tracker().List(resource, resource.GroupVersion().WithKind(kind), "tenant")
		assert.NilError(t, err)
		for _, name := range namesIn(t, list) {
			found = append(found, kind+" "+name)
		}
	}
	slices.Sort(found)
	return found
}

func namesIn(t *testing.T, list runtime.Object) []string {
	t.Helper()
	objects, err := runtime.DefaultUnstructuredConverter.ToUnstructured(list)
	assert.NilError(t, err)
	var names []string
	items, _ := objects["items"].([]any)
	for _, item := range items {
		names = append(names, item.(map[string]any)["metadata"].(map[string]any)["name"].(string))
	}
	return names
}

// collects has a fake host cluster remove a StatefulSet's and a Job's pods with it.
func collects(p *Provisioner) {
	client := p.Host.(*fake.Clientset)
	client.PrependReactor("delete", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		name := action.(clienttesting.DeleteAction).GetName()
		pods := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
		switch action.GetResource().Resource {
		case "statefulsets":
			_ = client.Tracker().Delete(pods, action.GetNamespace(), name+"-0")
		case "jobs":
			_ = client.Tracker().Delete(pods, action.GetNamespace(), name+"-x")
		}
		return false, nil, nil
	})
}

// theirs is what users brought, and another cluster.
var theirs = []string{"ConfigMap team-a", "Secret team-a-ssh", "Secret team-b-pki"}

func TestWhatGoesWithAClusterAndWhatStays(t *testing.T) {
	data, backups := "PersistentVolumeClaim team-a-data", "PersistentVolumeClaim team-a-backups"
	for _, tt := range []struct {
		name    string
		options DeprovisionOptions
		stays   []string
	}{
		{"as it is by default", DeprovisionOptions{KeepVolumes: true, FinalBackup: true}, []string{backups, data}},
		{"volumes kept, no backup", DeprovisionOptions{KeepVolumes: true}, []string{backups, data}},
		{"volumes go, with a backup", DeprovisionOptions{FinalBackup: true}, []string{backups}},
		{"everything goes", DeprovisionOptions{}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := provisioned(t, specified)
			add(t, p, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "team-a-known-hosts", Namespace: "tenant",
				Labels: MachineLabels("team-a")}})
			reachable(t, p)
			made := jobs(t, p, func(*batchv1.Job) (string, int32) { return `{"archive":"the-final-one"}`, 0 })
			collects(p)
			tt.options.Machines = RefuseMachines
			done, err := p.Deprovision(t.Context(), tt.options, func(string) {})
			assert.NilError(t, err)
			assert.DeepEqual(t, left(t, p), slices.Sorted(slices.Values(append(slices.Clone(theirs), tt.stays...))))
			assert.DeepEqual(t, slices.Sorted(slices.Values(done.Kept)), append([]string(nil), tt.stays...))
			assert.Equal(t, len(*made) == 1, tt.options.FinalBackup)
			if tt.options.FinalBackup {
				assert.Equal(t, done.Archive, "the-final-one")
				assert.Assert(t, strings.HasSuffix((*made)[0].Spec.Template.Spec.Containers[0].Args[len((*made)[0].Spec.Template.Spec.Containers[0].Args)-1],
					"-final.tar.zst"))
			}

			again, err := p.Deprovision(t.Context(), tt.options, func(string) {})
			assert.NilError(t, err)
			assert.Equal(t, len(again.Removed), 0, "a second run finds nothing")
		})
	}
}

func TestNothingIsRemovedWhileAMachineIsJoinedOrTheFinalBackupFails(t *testing.T) {
	p := withMachines(t, provisioned(t, specified))
	reachable(t, p, "m1")
	before := left(t, p)
	_, err := p.Deprovision(t.Context(), DeprovisionOptions{Machines: ResetMachines, Force: true}, func(string) {})
	assert.ErrorContains(t, err, "joined: m1")
	assert.DeepEqual(t, left(t, p), before)

	p = provisioned(t, specified)
	reachable(t, p)
	jobs(t, p, func(*batchv1.Job) (string, int32) { return "", 1 })
	_, err = p.Deprovision(t.Context(), DeprovisionOptions{Machines: RefuseMachines, FinalBackup: true},
		func(string) {})
	assert.ErrorContains(t, err, "finalBackup=false")
	assert.Assert(t, slices.Contains(left(t, p), "StatefulSet team-a-control-plane"))
}

func TestADeprovisioningThatWasInterruptedGoesOnWithoutAskingTheClusterAgain(t *testing.T) {
	p := withMachines(t, provisioned(t, specified))
	reachable(t, p)
	collects(p)
	stop := true
	p.Host.(*fake.Clientset).PrependReactor("delete", "services",
		func(clienttesting.Action) (bool, runtime.Object, error) {
			return stop, nil, errclass.With(errclass.Permanent, errStopped)
		})
	options := DeprovisionOptions{Machines: RefuseMachines, KeepVolumes: true}
	p.Cluster.Fleet.ControlPlane.Timeout = metav1.Duration{Duration: 1}
	_, err := p.Deprovision(t.Context(), options, func(string) {})
	assert.Assert(t, err != nil)
	assert.Assert(t, slices.Contains(left(t, p), "Secret team-a-pki"), "the keys go last")
	assert.Assert(t, !slices.Contains(left(t, p), "StatefulSet team-a-control-plane"))

	// The cluster can't answer any more. Nobody asks for force.
	stop = false
	assert.NilError(t, p.Host.CoreV1().Secrets("tenant").Delete(t.Context(), p.Cluster.KubeconfigSecret(),
		metav1.DeleteOptions{}))
	p.Cluster.Fleet.ControlPlane.Timeout = config.Defaults().Fleet.ControlPlane.Timeout
	_, err = p.CheckDeprovision(t.Context(), options, func(string) {})
	assert.NilError(t, err)
	done, err := p.Deprovision(t.Context(), options, func(string) {})
	assert.NilError(t, err)
	assert.DeepEqual(t, done.Kept, []string{"PersistentVolumeClaim team-a-backups",
		"PersistentVolumeClaim team-a-data"})
}

func TestMachinesThatAreKeptWaitForTheControlPlane(t *testing.T) {
	p := withMachines(t, provisioned(t, specified))
	add(t, p, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "team-a-known-hosts", Namespace: "tenant",
		Labels: MachineLabels("team-a")}})
	reachable(t, p, "m1", "other")
	jobs(t, p, func(*batchv1.Job) (string, int32) { return `{"archive":"the-final-one"}`, 0 })
	collects(p)
	done, err := p.Deprovision(t.Context(), DeprovisionOptions{Machines: KeepMachines, KeepVolumes: true,
		FinalBackup: true}, func(string) {})
	assert.NilError(t, err)
	assert.DeepEqual(t, done.Waiting, []string{"m1", "other"})
	assert.Assert(t, strings.Contains(done.String(), "2 machines wait for the control plane to come back at its "+
		"address: m1, other; submit restore"), done.String())
	assert.Equal(t, done.Archive, "the-final-one")
	assert.Assert(t, slices.Contains(done.Kept, "ConfigMap team-a-known-hosts"), "their host keys are still trusted")
	assert.DeepEqual(t, left(t, p), slices.Sorted(slices.Values(append(slices.Clone(theirs), done.Kept...))))
}

func TestAControlPlaneWhoseKeysAreLostMakesRoomForARestoreWhileItsMachinesWait(t *testing.T) {
	p := withMachines(t, provisioned(t, specified))
	reachable(t, p, "m1")
	collects(p)
	assert.NilError(t, p.Host.CoreV1().Secrets("tenant").Delete(t.Context(), p.names().pki(), metav1.DeleteOptions{}))
	options := DeprovisionOptions{Machines: KeepMachines, KeepVolumes: true, FinalBackup: true}
	_, err := p.CheckDeprovision(t.Context(), options, func(string) {})
	assert.ErrorContains(t, err, "submit again with finalBackup=false")
	_, err = p.Deprovision(t.Context(), options, func(string) {})
	assert.ErrorContains(t, err, "an archive without keys can't be restored")
	assert.Assert(t, slices.Contains(left(t, p), "StatefulSet team-a-control-plane"))

	options.FinalBackup = false
	done, err := p.Deprovision(t.Context(), options, func(string) {})
	assert.NilError(t, err)
	assert.DeepEqual(t, done.Waiting, []string{"m1"})
	assert.NilError(t, allowed(p).checkRoom(t.Context(), true), "a restore may begin")
}

func TestAClusterThatWasProvisionedAgainAfterAHalfDeprovisioningIsAskedAgain(t *testing.T) {
	p := withMachines(t, provisioned(t, specified))
	reachable(t, p, "m1")
	assert.NilError(t, p.annotate(t.Context(), deprovisionAnnotation, "2026-03-01T12:00:00Z"))
	_, err := p.CheckDeprovision(t.Context(), DeprovisionOptions{Machines: RefuseMachines}, func(string) {})
	assert.ErrorContains(t, err, "joined: m1")
}

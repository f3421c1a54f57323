package deprovision

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/internal/controlplane"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"

	"argosy.dev/argosy/internal/controlplane/backup"
	"argosy.dev/argosy/internal/controlplane/controlplanetest"
	"argosy.dev/argosy/internal/controlplane/hosted"
)

var errStopped = errors.New("stopped")

// deprovisioner returns a Deprovisioner of a provisioned cluster, whose final backups are real Jobs.
func deprovisioner(t *testing.T) *Deprovisioner {
	t.Helper()
	cluster := controlplanetest.Provisioned(t, controlplanetest.SQLite)
	return &Deprovisioner{Cluster: cluster, FinalBackup: backup.Final(&controlplane.Provisioner{Cluster: cluster})}
}

// withMachines gives the fleet machines m1 and m2.
func withMachines(t *testing.T, d *Deprovisioner) *Deprovisioner {
	t.Helper()
	*d.Cluster.Cluster = *controlplanetest.Parse(t, controlplanetest.SQLite, controlplanetest.Fleet+
		"machines: [{name: m1, address: 192.0.2.1}, {name: m2, address: 192.0.2.2, nodeName: second}]\n")
	return d
}

func TestCheckRefusesClustersWithMachines(t *testing.T) {
	for _, tt := range []struct {
		name     string
		nodes    []string
		silent   bool
		options  Options
		machines []string // to reset
		says     string   // of a refusal
	}{
		{name: "no machine", options: Options{Machines: RefuseMachines}},
		{
			name: "machines, refuse", nodes: []string{"m1", "second"},
			options: Options{Machines: RefuseMachines}, machines: []string{"m1", "m2"},
			says: "joined: m1, m2",
		},
		{
			name: "machines, refuse, force", nodes: []string{"m1"},
			options: Options{Machines: RefuseMachines, Force: true}, machines: []string{"m1"},
			says: "joined: m1",
		},
		{
			name: "machines, reset", nodes: []string{"second"}, options: Options{Machines: ResetMachines},
			machines: []string{"m2"},
		},
		{
			name: "a stranger, reset", nodes: []string{"m1", "other"},
			options: Options{Machines: ResetMachines}, machines: []string{"m1"},
			says: "can't be reset: other",
		},
		{
			name: "a stranger, reset, force", nodes: []string{"m1", "other"},
			options: Options{Machines: ResetMachines, Force: true}, machines: []string{"m1"},
		},
		{
			name: "silent", silent: true, options: Options{Machines: ResetMachines},
			machines: []string{"m1", "m2"}, says: "force=true",
		},
		{
			name: "machines, keep", nodes: []string{"m1", "other"},
			options: Options{Machines: KeepMachines, FinalBackup: true}, machines: []string{"m1"},
		},
		{
			name: "silent, keep", silent: true, options: Options{Machines: KeepMachines, KeepVolumes: true},
			machines: []string{"m1", "m2"},
		},
		{
			name: "keep, with nothing to restore from", nodes: []string{"m1"},
			options: Options{Machines: KeepMachines}, says: "leaves no archive to restore from",
		},
		{
			name: "silent, force", silent: true, options: Options{Machines: ResetMachines, Force: true},
			machines: []string{"m1", "m2"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := withMachines(t, deprovisioner(t))
			if !tt.silent {
				controlplanetest.Serve(t, d.Cluster, tt.nodes...) // else there is no kubeconfig
			}
			joined, err := d.Check(t.Context(), tt.options, func(string) {})
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

func TestOptionsDecideWhichVolumesStay(t *testing.T) {
	data, backups := "PersistentVolumeClaim team-a-data", "PersistentVolumeClaim team-a-backups"
	for _, tt := range []struct {
		name    string
		options Options
		stays   []string
	}{
		{"as it is by default", Options{KeepVolumes: true, FinalBackup: true}, []string{backups, data}},
		{"volumes kept, no backup", Options{KeepVolumes: true}, []string{backups, data}},
		{"volumes go, with a backup", Options{FinalBackup: true}, []string{backups}},
		{"everything goes", Options{}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := deprovisioner(t)
			controlplanetest.Add(t, d.Cluster, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
				Name:      "team-a-known-hosts",
				Namespace: "tenant",
				Labels:    hosted.MachineLabels("team-a"),
			}})
			controlplanetest.Serve(t, d.Cluster)
			made := controlplanetest.RunJobs(t, d.Cluster, func(*batchv1.Job) (string,
				int32,
			) {
				return `{"archive":"the-final-one"}`, 0
			})
			controlplanetest.DeletePods(d.Cluster)
			tt.options.Machines = RefuseMachines
			done, err := d.Run(t.Context(), tt.options, func(string) {})
			assert.NilError(t, err)
			assert.DeepEqual(t, controlplanetest.Left(t, d.Cluster),
				slices.Sorted(slices.Values(append(slices.Clone(controlplanetest.Theirs), tt.stays...))))
			assert.DeepEqual(t, slices.Sorted(slices.Values(done.Kept)), append([]string(nil), tt.stays...))
			assert.Equal(t, len(*made) == 1, tt.options.FinalBackup)
			if tt.options.FinalBackup {
				assert.Equal(t, done.Archive, "the-final-one")
				args := (*made)[0].Spec.Template.Spec.Containers[0].Args
				assert.Assert(t, strings.HasSuffix(args[len(args)-1], "-final.tar.zst"), args)
			}

			again, err := d.Run(t.Context(), tt.options, func(string) {})
			assert.NilError(t, err)
			assert.Equal(t, len(again.Removed), 0, "a second run finds nothing")
		})
	}
}

func TestNothingIsRemovedWithJoinedMachinesOrFailedBackups(t *testing.T) {
	d := withMachines(t, deprovisioner(t))
	controlplanetest.Serve(t, d.Cluster, "m1")
	before := controlplanetest.Left(t, d.Cluster)
	_, err := d.Run(t.Context(), Options{Machines: ResetMachines, Force: true}, func(string) {})
	assert.ErrorContains(t, err, "joined: m1")
	assert.DeepEqual(t, controlplanetest.Left(t, d.Cluster), before)

	d = deprovisioner(t)
	controlplanetest.Serve(t, d.Cluster)
	controlplanetest.RunJobs(t, d.Cluster, func(*batchv1.Job) (string, int32) { return "", 1 })
	_, err = d.Run(t.Context(), Options{Machines: RefuseMachines, FinalBackup: true},
		func(string) {})
	assert.ErrorContains(t, err, "finalBackup=false")
	assert.Assert(t, slices.Contains(controlplanetest.Left(t, d.Cluster), "StatefulSet team-a-control-plane"))
}

func TestInterruptedDeprovisionContinuesWithoutAskingTheCluster(t *testing.T) {
	d := withMachines(t, deprovisioner(t))
	controlplanetest.Serve(t, d.Cluster)
	controlplanetest.DeletePods(d.Cluster)
	stop := true
	d.Host.(*fake.Clientset).PrependReactor("delete", "services",
		func(clienttesting.Action) (bool, runtime.Object, error) {
			return stop, nil, errclass.With(errclass.Permanent, errStopped)
		})
	options := Options{Machines: RefuseMachines, KeepVolumes: true}
	d.Cluster.Fleet.ControlPlane.Timeout = metav1.Duration{Duration: 1}
	_, err := d.Run(t.Context(), options, func(string) {})
	assert.Assert(t, err != nil)
	assert.Assert(t, slices.Contains(controlplanetest.Left(t, d.Cluster), "Secret team-a-pki"), "the keys go last")
	assert.Assert(t, !slices.Contains(controlplanetest.Left(t, d.Cluster), "StatefulSet team-a-control-plane"))

	// The cluster can't answer any more, and force is not asked for.
	stop = false
	assert.NilError(t, d.Host.CoreV1().Secrets("tenant").Delete(t.Context(), d.Cluster.KubeconfigSecret(),
		metav1.DeleteOptions{}))
	d.Cluster.Fleet.ControlPlane.Timeout = config.Defaults().Fleet.ControlPlane.Timeout
	_, err = d.Check(t.Context(), options, func(string) {})
	assert.NilError(t, err)
	done, err := d.Run(t.Context(), options, func(string) {})
	assert.NilError(t, err)
	assert.DeepEqual(t, done.Kept, []string{
		"PersistentVolumeClaim team-a-backups",
		"PersistentVolumeClaim team-a-data",
	})
}

func TestKeptMachinesWaitForTheControlPlane(t *testing.T) {
	d := withMachines(t, deprovisioner(t))
	controlplanetest.Add(t, d.Cluster, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name:      "team-a-known-hosts",
		Namespace: "tenant",
		Labels:    hosted.MachineLabels("team-a"),
	}})
	controlplanetest.Serve(t, d.Cluster, "m1", "other")
	controlplanetest.RunJobs(t, d.Cluster, func(*batchv1.Job) (string, int32) {
		return `{"archive":"the-final-one"}`,
			0
	})
	controlplanetest.DeletePods(d.Cluster)
	done, err := d.Run(t.Context(), Options{
		Machines: KeepMachines, KeepVolumes: true,
		FinalBackup: true,
	}, func(string) {})
	assert.NilError(t, err)
	assert.DeepEqual(t, done.Waiting, []string{"m1", "other"})
	assert.Assert(t, strings.Contains(done.String(), "2 machines waiting for the control plane to come back at its "+
		"address: m1, other; submit restore"), done.String())
	assert.Equal(t, done.Archive, "the-final-one")
	assert.Assert(t, slices.Contains(done.Kept, "ConfigMap team-a-known-hosts"), "their host keys are still trusted")
	assert.DeepEqual(t, controlplanetest.Left(t, d.Cluster),
		slices.Sorted(slices.Values(append(slices.Clone(controlplanetest.Theirs), done.Kept...))))
}

func TestControlPlaneWithoutKeysMakesRoomForARestore(t *testing.T) {
	d := withMachines(t, deprovisioner(t))
	controlplanetest.Serve(t, d.Cluster, "m1")
	controlplanetest.DeletePods(d.Cluster)
	assert.NilError(t, d.Host.CoreV1().Secrets("tenant").Delete(t.Context(), d.Names().PKI(), metav1.DeleteOptions{}))
	options := Options{Machines: KeepMachines, KeepVolumes: true, FinalBackup: true}
	_, err := d.Check(t.Context(), options, func(string) {})
	assert.ErrorContains(t, err, "submit again with finalBackup=false")
	_, err = d.Run(t.Context(), options, func(string) {})
	assert.ErrorContains(t, err, "an archive without keys can't be restored")
	assert.Assert(t, slices.Contains(controlplanetest.Left(t, d.Cluster), "StatefulSet team-a-control-plane"))

	options.FinalBackup = false
	done, err := d.Run(t.Context(), options, func(string) {})
	assert.NilError(t, err)
	assert.DeepEqual(t, done.Waiting, []string{"m1"})
	assert.NilError(t, (&controlplane.Provisioner{Cluster: d.Cluster}).CheckRoom(t.Context()), "a restore may begin")
}

func TestClusterProvisionedAgainIsAskedAgain(t *testing.T) {
	d := withMachines(t, deprovisioner(t))
	controlplanetest.Serve(t, d.Cluster, "m1")
	assert.NilError(t, d.AnnotateKeys(t.Context(), removalAnnotation, "2026-03-01T12:00:00Z"))
	_, err := d.Check(t.Context(), Options{Machines: RefuseMachines}, func(string) {})
	assert.ErrorContains(t, err, "joined: m1")
}

func TestNetworkPoliciesGoWithTheirControlPlane(t *testing.T) {
	d := deprovisioner(t)
	controlplanetest.Add(t, d.Cluster,
		&networkingv1.NetworkPolicy{
			ObjectMeta: controlplanetest.Meta(d.Cluster, "team-a-control-plane", hosted.ControlPlane),
		},
		&networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "theirs", Namespace: "tenant"}})
	controlplanetest.Serve(t, d.Cluster)
	controlplanetest.DeletePods(d.Cluster)
	done, err := d.Run(t.Context(), Options{Machines: RefuseMachines, KeepVolumes: true}, func(string) {})
	assert.NilError(t, err)
	assert.Assert(t, slices.Contains(done.Removed, "NetworkPolicy team-a-control-plane"), "%v", done.Removed)
	left, err := d.Host.NetworkingV1().NetworkPolicies("tenant").List(t.Context(), metav1.ListOptions{})
	assert.NilError(t, err)
	assert.Equal(t, len(left.Items), 1)

	d = deprovisioner(t)
	d.Host.(*fake.Clientset).PrependReactor("list", "networkpolicies",
		func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "networkpolicies"}, "", nil)
		})
	controlplanetest.Serve(t, d.Cluster)
	controlplanetest.DeletePods(d.Cluster)
	_, err = d.Run(t.Context(), Options{Machines: RefuseMachines, KeepVolumes: true}, func(string) {})
	assert.NilError(t, err, "a role without NetworkPolicies, which the documents do not ask for")
}

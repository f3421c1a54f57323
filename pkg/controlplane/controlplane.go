// Package controlplane provisions a cluster's control plane as pods of the host cluster, and in it what machines need
// to join. It works in the cluster's own namespace and nowhere else in the host cluster. It never makes a key twice:
// the authorities are made once, and all else follows from the documents, so a second run changes nothing.
package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/pkg/addons"
	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
)

// Provisioner makes and keeps the control plane of one cluster.
type Provisioner struct {
	Cluster *config.Cluster
	// Host is the host cluster, and Objects sets objects there.
	Host    kubernetes.Interface
	Objects *apply.Setter
	// Image of Argosy itself; its program serves the node bundles in the control plane's pod.
	Image string
	// CheckSecrets reads every Secret that the documents name and says which are missing; nil looks at none.
	CheckSecrets func(ctx context.Context) error
	// Log gets a line at the end of each part; nil writes none.
	Log *slog.Logger
	// Now is the time; nil means the clock.
	Now func() time.Time

	// upgraded is the version that an upgrade asks for, or did, where the documents say another; see To.
	upgraded string
	// renew signs every leaf certificate anew in this run, whatever its age.
	renew bool
	// restores is set in a run that fills the store from an archive: no other may use what is not complete.
	restores bool
	// archived is host:port of the API server when the archive was made that this run restores.
	archived string
}

// Outcome is what a run made of the control plane.
type Outcome struct {
	// Server is the API server's URL.
	Server string `json:"server"`
	// Endpoint is host:port of the API server.
	Endpoint string `json:"endpoint"`
	// CAHash pins the cluster's authority, as kubeadm's --discovery-token-ca-cert-hash takes it.
	CAHash string `json:"caHash"`
	// KubeconfigSecret in the cluster's namespace holds an administrator's kubeconfig.
	KubeconfigSecret string `json:"kubeconfigSecret"`
	// Version of Kubernetes.
	Version string `json:"version"`
	// Upgraded says that an upgrade asked for Version, and the documents say another one.
	Upgraded bool `json:"upgraded,omitempty"`
	// MachinesKnow is host:port by which machines that joined before know the API server, where it is not the one of
	// now.
	MachinesKnow string            `json:"machinesKnow,omitempty"`
	Changes      []apply.Change    `json:"-"`
	Signed       map[string]string `json:"signed,omitempty"`
	Seconds      float64           `json:"seconds"`
}

// String is what people read: one line, and another where machines have to be thought of.
func (o Outcome) String() string {
	text := fmt.Sprintf("API server %s runs %s after %.1f s: %s", o.Server, o.Version, o.Seconds,
		apply.Summary(o.Changes))
	if o.Upgraded {
		text += fmt.Sprintf("\nvcluster.yaml says another version: write %s there, so that everybody reads what is so",
			o.Version)
	}
	if o.MachinesKnow != "" {
		text += fmt.Sprintf("\nthe control plane is at %s now, and machines that joined before know it at %s: have "+
			"that address lead here (controlPlane.service, controlPlane.endpoint) and its host in "+
			"controlPlane.proxy.extraSANs, or reset these machines and join them again",
			o.Endpoint, o.MachinesKnow)
	}
	return text
}

func (p *Provisioner) names() names      { return names(p.Cluster.Name) }
func (p *Provisioner) namespace() string { return p.Cluster.Namespace }
func (p *Provisioner) apiPort() int      { return p.Cluster.VCluster.ControlPlane.Proxy.Port }
func (p *Provisioner) replicas() int {
	return p.Cluster.VCluster.ControlPlane.StatefulSet.HighAvailability.Replicas
}

func (p *Provisioner) konnectivity() bool {
	k := p.Cluster.VCluster.ControlPlane.Advanced.Konnectivity
	return k.Enabled && k.Server.Enabled
}

// servesBundles says whether the pods run the bundle server: that is so when their image carries bundles.
func (p *Provisioner) servesBundles() bool { return p.Cluster.VCluster.PrivateNodes.ImportNodeBinaries }

func (p *Provisioner) now() time.Time {
	if p.Now == nil {
		return time.Now()
	}
	return p.Now()
}

// Provision brings the control plane to what the documents say and waits until it answers. With renew, every leaf
// certificate is signed anew; without, those are that no longer do.
func (p *Provisioner) Provision(ctx context.Context, renew bool, report func(string)) (Outcome, error) {
	started := time.Now()
	run := *p
	run.renew = renew
	outcome, err := run.provision(ctx, report)
	outcome.Seconds = time.Since(started).Seconds()
	if err != nil {
		return outcome, fmt.Errorf("provisioning the control plane of cluster %q: %w", p.Cluster.Name, err)
	}
	if p.Log != nil {
		p.Log.Info("control plane provisioned", "server", outcome.Server, "changes", apply.Summary(outcome.Changes),
			"seconds", outcome.Seconds)
	}
	return outcome, nil
}

func (p *Provisioner) provision(ctx context.Context, report func(string)) (Outcome, error) {
	outcome := Outcome{Version: p.Cluster.KubernetesVersion(), Upgraded: p.upgraded != "",
		KubeconfigSecret: p.Cluster.KubeconfigSecret()}
	report("[1/4 keys] reading the cluster's authorities")
	k, changes, err := p.ensureKeys(ctx)
	outcome.Changes = append(outcome.Changes, changes...)
	if err != nil {
		return outcome, err
	}
	if outcome.CAHash, err = k.caHash(); err != nil {
		return outcome, err
	}
	endpoint, changes, err := p.expose(ctx, prefix(report, "[2/4 endpoint] "))
	outcome.Changes = append(outcome.Changes, changes...)
	if err != nil {
		return outcome, err
	}
	outcome.Server, outcome.Endpoint = endpoint.Server(), endpoint.Address()
	changes, outcome.Signed, err = p.run(ctx, k, endpoint, prefix(report, "[3/4 pods] "))
	outcome.Changes = append(outcome.Changes, changes...)
	if err != nil {
		return outcome, err
	}
	outcome.MachinesKnow, changes, err = p.furnish(ctx, k, endpoint, prefix(report, "[4/4 cluster] "))
	outcome.Changes = append(outcome.Changes, changes...)
	return outcome, err
}

func prefix(report func(string), text string) func(string) {
	return func(line string) { report(text + line) }
}

// run sets what the pods need, and the pods, and waits for them.
func (p *Provisioner) run(ctx context.Context, k *keys, endpoint Endpoint, report func(string)) ([]apply.Change,
	map[string]string, error) {
	report("signing certificates")
	needs, digest, signed, err := p.needs(ctx, k, endpoint)
	if err != nil {
		return nil, signed, err
	}
	changes, err := p.set(ctx, needs...)
	if err != nil {
		return changes, signed, fmt.Errorf("setting what the control plane's pods need: %w", err)
	}
	if p.Cluster.Store().Kind == config.StoreEtcd {
		made, err := p.runEtcd(ctx, k, report)
		changes = append(changes, made...)
		if err != nil {
			return changes, signed, err
		}
	}
	set, err := p.controlPlane(digest)
	if err != nil {
		return changes, signed, err
	}
	made, err := p.rollOut(ctx, set, componentControlPlane, p.sharesState(), report)
	return append(changes, made...), signed, err
}

// needs is everything in the namespace that the control plane's pods refer to, and a digest of what they read at start.
func (p *Provisioner) needs(ctx context.Context, k *keys, endpoint Endpoint) ([]runtime.Object, string,
	map[string]string, error) {
	certs, signed, err := p.ensureCerts(ctx, p.names().certs(), p.controlPlaneCerts(k, endpoint), nil, k.cluster.Cert)
	if err != nil {
		return nil, "", signed, err
	}
	admin, renewed, err := p.administrator(ctx, k, endpoint)
	if err != nil {
		return nil, "", signed, err
	}
	for file, reason := range renewed {
		signed[file] = reason
	}
	files := p.configFiles()
	objects := []runtime.Object{
		p.secret(p.names().certs(), certs), p.secret(p.Cluster.KubeconfigSecret(), admin), files,
		p.budget(p.names().controlPlane(), componentControlPlane),
	}
	read := map[string][]byte{}
	for name, content := range certs {
		read["certs/"+name] = content
	}
	for name, content := range files.Data {
		read["config/"+name] = []byte(content)
	}
	source, err := p.dataSourceOfUser(ctx)
	if err != nil {
		return nil, "", signed, err
	}
	if own := p.ownDataSource(); own != nil {
		objects = append(objects, own)
		source = own.Data[dataSourceKey]
	}
	if source != nil {
		read["data-source"] = source // kine reads it once: a new password needs new pods
	}
	if p.persists() && p.Cluster.Store().Kind == config.StoreSQLite {
		claim, err := p.dataClaim()
		if err != nil {
			return nil, "", signed, err
		}
		objects = append(objects, claim)
	}
	return objects, digestOf(read), signed, nil
}

// administrator is the content of the kubeconfig Secret.
func (p *Provisioner) administrator(ctx context.Context, k *keys, endpoint Endpoint) (map[string][]byte,
	map[string]string, error) {
	leaf := client("argosy:"+p.Cluster.Name, administratorGroup)
	var extra map[string][]byte
	if p.servesBundles() {
		extra = map[string][]byte{join.BundlesKey: []byte(endpoint.BundlesURL())}
	}
	return p.ensureCerts(ctx, p.Cluster.KubeconfigSecret(), []signed{
		{file: kubeconfigDataKey, by: k.cluster, leaf: leaf, server: endpoint.Server()},
	}, extra, k.cluster.Cert)
}

// configFiles are the files of the pods that hold no secret.
func (p *Provisioner) configFiles() *corev1.ConfigMap {
	egress, err := json.Marshal(map[string]any{
		"apiVersion": "apiserver.k8s.io/v1beta1", "kind": "EgressSelectorConfiguration",
		"egressSelections": []any{map[string]any{"name": "cluster", "connection": map[string]any{
			"proxyProtocol": "GRPC", "transport": map[string]any{"uds": map[string]any{"udsName": konnectivitySocket}},
		}}},
	})
	if err != nil {
		panic(err) // it is made of our own words
	}
	files := configMap(p.namespace(), p.names().config(), egressFile, string(egress))
	files.Labels = p.names().labels(componentControlPlane)
	return files
}

// runEtcd brings a deployed etcd up.
func (p *Provisioner) runEtcd(ctx context.Context, k *keys, report func(string)) ([]apply.Change, error) {
	certs, _, err := p.ensureCerts(ctx, p.names().etcdCerts(), p.etcdMemberCerts(k),
		map[string][]byte{authorityEtcd + certExtension: k.etcd.Cert}, k.cluster.Cert)
	if err != nil {
		return nil, err
	}
	secret := p.secret(p.names().etcdCerts(), certs)
	secret.Labels = p.names().labels(componentEtcd)
	changes, err := p.set(ctx, secret, p.etcdService(), p.budget(p.names().etcd(), componentEtcd))
	if err != nil {
		return changes, fmt.Errorf("setting what etcd's pods need: %w", err)
	}
	set, err := p.etcd(digestOf(certs))
	if err != nil {
		return changes, err
	}
	made, err := p.rollOut(ctx, set, componentEtcd, false, report)
	return append(changes, made...), err
}

// furnish sets what the cluster itself must hold, once its API server answers. It returns the address by which machines
// know it, where that is another one.
func (p *Provisioner) furnish(ctx context.Context, k *keys, endpoint Endpoint, report func(string)) (string,
	[]apply.Change, error) {
	cluster, err := p.found(ctx, k, report)
	if err != nil {
		return "", nil, err
	}
	held, err := discovered(ctx, cluster.client)
	if err != nil {
		return "", nil, err
	}
	if err := checkOwnState(held, k.cluster.Cert); err != nil {
		return "", nil, err
	}
	known, err := machinesKnow(ctx, cluster.client, held, endpoint)
	if err != nil {
		return "", nil, err
	}
	wanted, err := p.furniture(ctx, k, endpoint, report)
	if err != nil {
		return known, nil, err
	}
	report(fmt.Sprintf("setting %d objects that joining machines need", len(wanted)))
	changes, err := cluster.objects.Sync(ctx, types.NamespacedName{Namespace: metav1.NamespaceSystem,
		Name: "argosy-cluster"}, wanted, apply.Options{Force: true})
	if err != nil {
		return known, changes, fmt.Errorf("setting what joining machines need: %w", err)
	}
	return known, changes, nil
}

// furniture is what furnish sets.
func (p *Provisioner) furniture(ctx context.Context, k *keys, endpoint Endpoint,
	report func(string)) ([]*unstructured.Unstructured, error) {
	addresses, err := p.lookUp(ctx, endpoint.Host, report)
	if err != nil {
		return nil, err
	}
	objects, err := p.clusterObjects(k, endpoint, addresses)
	if err != nil {
		return nil, err
	}
	return unstructuredOf(objects)
}

// set applies objects in the host cluster. They are Argosy's own, so it takes every field of them.
func (p *Provisioner) set(ctx context.Context, objects ...runtime.Object) ([]apply.Change, error) {
	wanted, err := unstructuredOf(objects)
	if err != nil {
		return nil, err
	}
	return p.Objects.Set(ctx, wanted, apply.Options{Force: true})
}

func unstructuredOf(objects []runtime.Object) ([]*unstructured.Unstructured, error) {
	var list []*unstructured.Unstructured
	for _, object := range objects {
		made, err := apply.From(object)
		if err != nil {
			return nil, errclass.With(errclass.Permanent, err)
		}
		list = append(list, made)
	}
	return list, nil
}

// facts are what addons need to know of the control plane.
func (p *Provisioner) facts(endpoint Endpoint, caCert []byte) addons.Facts {
	return addons.Facts{
		Version: p.Cluster.KubernetesVersion(), Server: endpoint.Server(),
		KonnectivityHost: endpoint.Host, KonnectivityPort: endpoint.Konnectivity, CACert: string(caCert),
	}
}

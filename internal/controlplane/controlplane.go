// Package controlplane provisions a cluster's control plane as pods of the host cluster, and in the cluster the objects
// that machines need to join. It works in the cluster's own namespace and nowhere else in the host cluster. It never
// makes a key twice: the authorities are made once, and all else follows from the documents, so a second run changes
// nothing. Backups, users' kubeconfigs and the removal of a cluster are packages of their own beside it.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"argosy.dev/argosy/internal/addons"
	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/internal/controlplane/encryption"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/internal/store"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
)

// Provisioner makes and keeps the control plane of one cluster.
type Provisioner struct {
	hosted.Cluster
	// Objects sets objects in the host cluster.
	Objects *apply.Setter
	// Image of Argosy itself; its program serves the node bundles in the control plane's pod.
	Image string
	// CheckSecrets reads every Secret that the documents name; its error lists those that are missing. nil checks none.
	CheckSecrets func(ctx context.Context) error

	// upgraded is the version that an upgrade asks for, or asked for, where the documents have another; see To.
	upgraded string
	// endpoint of the control plane that this run brings up; empty until it is known.
	endpoint Endpoint
	// renew signs every leaf certificate anew in this run, whatever its age.
	renew bool
	// restores is set in a run that fills the store from an archive: no other may use an incomplete store.
	restores bool
	// verifyKubelets has the API servers of this run verify kubelets; see decideKubelets.
	verifyKubelets bool
	// encrypts has the API servers of this run read the keys of the store's content.
	encrypts bool
	// unverified is the reason why they do not yet.
	unverified string
	// archived is host:port of the API server when the archive was made that this run restores.
	archived string
}

// Outcome describes the control plane after a run.
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
	// Upgraded is set when an upgrade asked for Version, and the documents have another one.
	Upgraded bool `json:"upgraded,omitempty"`
	// MachinesKnow is host:port by which machines that joined before know the API server, where it is not Endpoint.
	MachinesKnow string `json:"machinesKnow,omitempty"`
	// Unverified is the reason why the API server does not verify kubelets yet.
	Unverified string            `json:"unverified,omitempty"`
	Changes    []apply.Change    `json:"-"`
	Signed     map[string]string `json:"signed,omitempty"`
	Seconds    float64           `json:"seconds"`
}

// String returns the text for people: one line, and more where a person has to act.
func (o Outcome) String() string {
	text := fmt.Sprintf("API server %s runs %s after %.1f s: %s", o.Server, o.Version, o.Seconds,
		apply.Summary(o.Changes))
	if o.Upgraded {
		text += fmt.Sprintf("\nvcluster.yaml has another version: write %s there", o.Version)
	}
	if o.MachinesKnow != "" {
		text += fmt.Sprintf("\nthe control plane is at %s now, and machines that joined before know it at %s: have "+
			"that address lead here (controlPlane.service, controlPlane.endpoint) and its host in "+
			"controlPlane.proxy.extraSANs, or submit join, which moves machines that are cut off",
			o.Endpoint, o.MachinesKnow)
	}
	if o.Unverified != "" {
		text += fmt.Sprintf("\nthe API server does not verify kubelets yet, since %s: submit reconcile for all "+
			"machines, then provision again", o.Unverified)
	}
	return text
}

func (p *Provisioner) apiPort() int { return p.VCluster.ControlPlane.Proxy.Port }
func (p *Provisioner) replicas() int {
	return p.VCluster.ControlPlane.StatefulSet.HighAvailability.Replicas
}

func (p *Provisioner) konnectivity() bool {
	k := p.VCluster.ControlPlane.Advanced.Konnectivity
	return k.Enabled && k.Server.Enabled
}

// servesBundles reports whether the pods run the bundle server: they do when their image carries bundles.
func (p *Provisioner) servesBundles() bool { return p.VCluster.PrivateNodes.ImportNodeBinaries }

// Provision brings the control plane to its documents and waits until it answers. With renew, every leaf certificate is
// signed anew; without, those that no longer hold.
func (p *Provisioner) Provision(ctx context.Context, renew bool, report func(string)) (Outcome, error) {
	started := time.Now()
	run := *p
	run.renew = renew
	outcome, err := run.provision(ctx, report)
	outcome.Seconds = time.Since(started).Seconds()
	if err != nil {
		return outcome, fmt.Errorf("provisioning the control plane of cluster %q: %w", p.Name, err)
	}
	p.Info("control plane provisioned", "server", outcome.Server, "changes", apply.Summary(outcome.Changes), "seconds",
		outcome.Seconds)
	return outcome, nil
}

func (p *Provisioner) provision(ctx context.Context, report func(string)) (Outcome, error) {
	outcome := Outcome{
		Version: p.KubernetesVersion(), Upgraded: p.upgraded != "",
		KubeconfigSecret: p.KubeconfigSecret(),
	}
	if err := p.CheckPods(ctx); err != nil {
		return outcome, err
	}
	report("[1/4 keys] reading the cluster's authorities")
	k, changes, err := p.ensureKeys(ctx)
	outcome.Changes = append(outcome.Changes, changes...)
	if err != nil {
		return outcome, err
	}
	if err := p.checkOwnEncryption(k); err != nil {
		return outcome, err
	}
	if outcome.CAHash, err = k.CAHash(); err != nil {
		return outcome, err
	}
	endpoint, changes, err := p.expose(ctx, hosted.Prefixed(report, "[2/4 endpoint] "))
	outcome.Changes = append(outcome.Changes, changes...)
	if err != nil {
		return outcome, err
	}
	outcome.Server, outcome.Endpoint = endpoint.Server(), endpoint.Address()
	changes, outcome.Signed, err = p.runPods(ctx, k, endpoint, hosted.Prefixed(report, "[3/4 pods] "))
	outcome.Changes, outcome.Unverified = append(outcome.Changes, changes...), p.unverified
	if err != nil {
		return outcome, err
	}
	report = hosted.Prefixed(report, "[4/4 cluster] ")
	outcome.MachinesKnow, changes, err = p.setClusterObjects(ctx, k, endpoint, report)
	outcome.Changes = append(outcome.Changes, changes...)
	if err != nil {
		return outcome, err
	}
	changes, err = p.encrypt(ctx, k, endpoint, report)
	outcome.Changes = append(outcome.Changes, changes...)
	return outcome, err
}

// runPods sets the objects that the pods need, and the pods, and waits for them.
func (p *Provisioner) runPods(ctx context.Context, k *certificates.Keys, endpoint Endpoint,
	report func(string),
) ([]apply.Change, map[string]string, error) {
	p.endpoint, p.encrypts = endpoint, len(k.Encryption) > 0
	report("signing certificates")
	inputs, err := p.podInputs(ctx, k, endpoint)
	if err != nil {
		return nil, inputs.signed, err
	}
	changes, err := p.set(ctx, inputs.objects...)
	if err != nil {
		return changes, inputs.signed, fmt.Errorf("setting the objects that the control plane's pods need: %w", err)
	}
	dropped, err := p.dropNetworkPolicies(ctx)
	changes = append(changes, dropped...)
	if err != nil {
		return changes, inputs.signed, err
	}
	if p.Store().Kind == config.StoreEtcd {
		made, err := p.runEtcd(ctx, k, report)
		changes = append(changes, made...)
		if err != nil {
			return changes, inputs.signed, err
		}
	}
	if err := p.decideKubelets(ctx); err != nil {
		return changes, inputs.signed, err
	}
	set, err := p.controlPlane(inputs.digest)
	if err != nil {
		return changes, inputs.signed, err
	}
	made, err := p.rollOut(ctx, set, hosted.ControlPlane, p.sharesState(), report)
	return append(changes, made...), inputs.signed, err
}

// podInputs are the objects that the control plane's pods refer to.
type podInputs struct {
	objects []runtime.Object
	// digest is of everything that the pods read at their start.
	digest string
	// signed has by file the reason of each certificate that was signed anew.
	signed map[string]string
}

func (p *Provisioner) podInputs(ctx context.Context, k *certificates.Keys, endpoint Endpoint) (podInputs, error) {
	var inputs podInputs
	certs, signed, err := p.ensureCerts(ctx, p.Names().Certs(), p.controlPlaneCerts(k, endpoint), k.Cluster.Cert)
	if err != nil {
		return inputs, err
	}
	admin, renewed, err := p.administrator(ctx, k, endpoint)
	if err != nil {
		return inputs, err
	}
	inputs.signed = signed
	maps.Copy(inputs.signed, renewed)
	files := p.configFiles()
	inputs.objects = []runtime.Object{
		p.Secret(p.Names().Certs(), certs), p.Secret(p.KubeconfigSecret(), admin), files,
		p.budget(p.Names().ControlPlane(), hosted.ControlPlane),
	}
	policies, err := p.networkPolicies()
	if err != nil {
		return inputs, err
	}
	inputs.objects = append(inputs.objects, policies...)
	read := map[string][]byte{}
	for name, content := range certs {
		read["certs/"+name] = content
	}
	for name, content := range files.Data {
		read["config/"+name] = []byte(content)
	}
	if len(k.Encryption) > 0 {
		read["pki/"+encryption.File] = k.Encryption
	}
	source, err := p.dataSourceOfUser(ctx)
	if err != nil {
		return inputs, err
	}
	if own := p.ownDataSource(); own != nil {
		inputs.objects = append(inputs.objects, own)
		source = own.Data[dataSourceKey]
	}
	if source != nil {
		read["data-source"] = source // kine reads it once: a new password needs new pods
	}
	inputs.digest = digestOf(read)
	if p.Persists() {
		claim, err := p.dataClaim(ctx)
		if err != nil {
			return inputs, err
		}
		inputs.objects = append(inputs.objects, claim)
	}
	return inputs, nil
}

// administrator returns the content of the kubeconfig Secret.
func (p *Provisioner) administrator(ctx context.Context, k *certificates.Keys, endpoint Endpoint) (map[string][]byte,
	map[string]string, error,
) {
	data, reasons, err := p.ensureCerts(ctx, p.KubeconfigSecret(), []certificates.Wanted{
		{
			File: certificates.KubeconfigKey, By: k.Cluster, Server: endpoint.Server(),
			Leaf: certificates.ClientLeaf("argosy:"+p.Name, administratorGroup),
		},
	}, k.Cluster.Cert)
	if err == nil && p.servesBundles() {
		data[join.BundlesKey] = []byte(endpoint.bundlesURL())
	}
	return data, reasons, err
}

// configFiles returns the ConfigMap with the files of the pods that hold no secret.
func (p *Provisioner) configFiles() *corev1.ConfigMap {
	files := configMap(p.Namespace, p.Names().Config(), egressFile, p.egressConfig())
	files.Labels = p.Names().Labels(hosted.ControlPlane)
	if name := p.authenticationFile(); name != "" {
		files.Data[name] = p.authenticationConfig()
	}
	if policy := p.Fleet.ControlPlane.Audit.Policy; len(policy.Rules) > 0 {
		files.Data[auditPolicyFile] = auditPolicy(policy)
	}
	return files
}

// runEtcd brings a deployed etcd up.
func (p *Provisioner) runEtcd(ctx context.Context, k *certificates.Keys, report func(string)) ([]apply.Change, error) {
	certs, _, err := p.ensureCerts(ctx, p.Names().EtcdCerts(), p.etcdMemberCerts(k), k.Cluster.Cert)
	if err != nil {
		return nil, err
	}
	certs[certificates.EtcdCA+certificates.CertExtension] = k.Etcd.Cert
	secret := p.Secret(p.Names().EtcdCerts(), certs)
	secret.Labels = p.Names().Labels(hosted.Etcd)
	state, err := p.clusterState(ctx)
	if err != nil {
		return nil, err
	}
	changes, err := p.set(ctx, secret, p.etcdService(), p.budget(p.Names().Etcd(), hosted.Etcd),
		p.etcdConfig(state))
	if err != nil {
		return changes, fmt.Errorf("setting the objects that etcd's pods need: %w", err)
	}
	made, err := p.runMembers(ctx, digestOf(certs), report)
	changes = append(changes, made...)
	if err != nil || p.Store().Replicas == 1 {
		return changes, err
	}
	// All members are ready: from now on one that comes without its data is kept until it is replaced.
	_, err = p.set(ctx, p.etcdConfig(store.MemberJoins))
	return changes, err
}

// runMembers replaces a member without its data and brings all to the documents; again where one turns out to be
// without data meanwhile.
func (p *Provisioner) runMembers(ctx context.Context, certsDigest string,
	report func(string),
) ([]apply.Change, error) {
	var changes []apply.Change
	for attempt := 1; ; attempt++ {
		if err := p.replaceLostMember(ctx, report); err != nil {
			return changes, err
		}
		made, err := p.rollOutEtcd(ctx, certsDigest, report)
		changes = append(changes, made...)
		if !errors.Is(err, errMemberLost) || attempt == replacements {
			return changes, err
		}
	}
}

// rollOutEtcd has the members' volumes grow, sets the StatefulSet and waits for its pods.
func (p *Provisioner) rollOutEtcd(ctx context.Context, certsDigest string,
	report func(string),
) ([]apply.Change, error) {
	held, err := p.existingSets(ctx)
	if err != nil {
		return nil, err
	}
	kept, err := p.keptOf(ctx, held.etcd)
	if err != nil {
		return nil, err
	}
	if kept.image != "" {
		report("etcd keeps image " + kept.image + ": the documents' etcd does not read data of a later minor version")
	}
	set, err := p.etcd(certsDigest, kept)
	if err != nil {
		return nil, err
	}
	changes, err := p.growMembers(ctx)
	if err != nil {
		return changes, err
	}
	made, err := p.rollOut(ctx, set, hosted.Etcd, false, report)
	return append(changes, made...), err
}

// setClusterObjects sets the objects that the cluster itself must hold, once its API server answers. It returns the
// address by which machines know it, where that is another one.
func (p *Provisioner) setClusterObjects(ctx context.Context, k *certificates.Keys, endpoint Endpoint,
	report func(string),
) (string, []apply.Change, error) {
	cluster, err := p.connectFounder(ctx, k, report)
	if err != nil {
		return "", nil, err
	}
	held, err := readClusterInfo(ctx, cluster.Client)
	if err != nil {
		return "", nil, err
	}
	if err := checkOwnState(held, k.Cluster.Cert); err != nil {
		return "", nil, err
	}
	if err := p.mendSpace(ctx, cluster.Client, report); err != nil {
		return "", nil, err
	}
	known, err := machinesKnow(ctx, cluster.Client, held, endpoint)
	if err != nil {
		return "", nil, err
	}
	wanted, err := p.wantedClusterObjects(ctx, k, endpoint, report)
	if err != nil {
		return known, nil, err
	}
	report("setting " + count.Of(len(wanted), "object") + " that joining machines need")
	changes, err := cluster.Objects.Sync(ctx, types.NamespacedName{
		Namespace: metav1.NamespaceSystem,
		Name:      "argosy-cluster",
	}, wanted, apply.Options{Force: true})
	if err != nil {
		return known, changes, fmt.Errorf("setting the objects that joining machines need: %w", err)
	}
	return known, changes, nil
}

// wantedClusterObjects returns the objects of setClusterObjects.
func (p *Provisioner) wantedClusterObjects(ctx context.Context, k *certificates.Keys, endpoint Endpoint,
	report func(string),
) ([]*unstructured.Unstructured, error) {
	addresses, err := p.lookUp(ctx, endpoint, report)
	if err != nil {
		return nil, err
	}
	objects, err := p.clusterObjects(k, endpoint, addresses)
	if err != nil {
		return nil, err
	}
	return unstructuredOf(objects)
}

// set applies objects in the host cluster. They are Argosy's own, so it takes ownership of every field.
func (p *Provisioner) set(ctx context.Context, objects ...runtime.Object) ([]apply.Change, error) {
	wanted, err := unstructuredOf(objects)
	if err != nil {
		return nil, err
	}
	return p.Objects.Set(ctx, wanted, apply.Options{Force: true})
}

// unstructuredOf converts objects to those that package apply sets.
func unstructuredOf(objects []runtime.Object) ([]*unstructured.Unstructured, error) {
	converted, err := apply.FromAll(objects...)
	return converted, errclass.With(errclass.Permanent, err)
}

// facts returns the properties of the control plane that addons need.
func (p *Provisioner) facts(endpoint Endpoint, caCert []byte) addons.Facts {
	return addons.Facts{
		Version: p.KubernetesVersion(), Server: endpoint.Server(),
		KonnectivityHost: endpoint.Host, KonnectivityPort: endpoint.Konnectivity, CACert: string(caCert),
	}
}

package join

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/config"
	joining "argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/images/archivetest"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/nodetest"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// change is one of the documents, after which a plan is made for a machine that joined before it.
type change struct {
	// section of the document that gets the value, and its key there: "privateNodes.joinNode.containerd.pauseImage".
	section string
	// value in YAML.
	value string
}

// changesOfJoin are, by key, changes of the settings of a join, which are in vcluster.yaml for all machines and in
// argosy.yaml for one.
var changesOfJoin = map[string]change{
	"preInstallCommands": {"preInstallCommands", `["true"]`},
	"preJoinCommands":    {"preJoinCommands", `["true"]`},
	"postJoinCommands":   {"postJoinCommands", `["true"]`},
	"containerd.registry.configPath": {
		"containerd.registry.configPath",
		"/opt/registries",
	},
	"containerd.registry.mirrors.<registry>.server": {
		"containerd.registry.mirrors",
		`{quay.io: {server: "https://192.0.2.9"}}`,
	},
	"containerd.registry.mirrors.<registry>.caCert": {
		"containerd.registry.mirrors",
		`{quay.io: {caCert: [/etc/site.crt]}}`,
	},
	"containerd.registry.mirrors.<registry>.skipVerify": {
		"containerd.registry.mirrors",
		`{quay.io: {skipVerify: true}}`,
	},
	"containerd.registry.mirrors.<registry>.capabilities": {
		"containerd.registry.mirrors",
		`{quay.io: {capabilities: [pull]}}`,
	},
	"containerd.registry.mirrors.<registry>.overridePath": {
		"containerd.registry.mirrors",
		`{quay.io: {server: "https://192.0.2.9/v2", overridePath: true}}`,
	},
	"containerd.registry.mirrors.<registry>.hosts[].server": {
		"containerd.registry.mirrors",
		`{quay.io: {hosts: [{server: "https://192.0.2.9"}]}}`,
	},
	"containerd.registry.mirrors.<registry>.hosts[].caCert": {
		"containerd.registry.mirrors",
		`{quay.io: {hosts: [{server: "https://192.0.2.9", caCert: [/etc/site.crt]}]}}`,
	},
	"containerd.registry.mirrors.<registry>.hosts[].skipVerify": {
		"containerd.registry.mirrors",
		`{quay.io: {hosts: [{server: "https://192.0.2.9", skipVerify: true}]}}`,
	},
	"containerd.registry.mirrors.<registry>.hosts[].capabilities": {
		"containerd.registry.mirrors",
		`{quay.io: {hosts: [{server: "https://192.0.2.9", capabilities: [pull]}]}}`,
	},
	"containerd.registry.mirrors.<registry>.hosts[].overridePath": {
		"containerd.registry.mirrors",
		`{quay.io: {hosts: [{server: "https://192.0.2.9", overridePath: true}]}}`,
	},
	"containerd.registry.auth.<registry>.username": {
		"containerd.registry.auth",
		`{quay.io: {username: user, password: word}}`,
	},
	"containerd.registry.auth.<registry>.password": {
		"containerd.registry.auth",
		`{quay.io: {username: user, password: word}}`,
	},
	"containerd.registry.auth.<registry>.identityToken": {
		"containerd.registry.auth",
		`{quay.io: {identityToken: token}}`,
	},
	"containerd.registry.auth.<registry>.auth": {
		"containerd.registry.auth",
		`{quay.io: {auth: dXNlcjp3b3Jk}}`,
	},
	"containerd.importImages": {"containerd.importImages", `[/images]`},
	"containerd.pauseImage": {
		"containerd.pauseImage",
		"registry.example.org/pause:1",
	},
	"caCertPath": {"caCertPath", "/etc/other/ca.crt"},
	"nodeRegistration.kubeletExtraArgs[].name": {
		"nodeRegistration.kubeletExtraArgs",
		`[{name: v, value: "3"}]`,
	},
	"nodeRegistration.kubeletExtraArgs[].value": {
		"nodeRegistration.kubeletExtraArgs",
		`[{name: v, value: "3"}]`,
	},
}

// changesOfDocuments are all that a machine can be expected to notice, by document and key.
func changesOfDocuments() map[string]map[string]change {
	all := map[string]map[string]change{
		config.VClusterDocument: {
			"privateNodes.kubelet.config":              {"privateNodes.kubelet.config.maxPods", "50"},
			"privateNodes.kubelet.cgroupDriver":        {"privateNodes.kubelet.cgroupDriver", "cgroupfs"},
			"privateNodes.autoUpgrade.binariesPath":    {"privateNodes.autoUpgrade.binariesPath", "/opt/bin"},
			"privateNodes.autoUpgrade.cniBinariesPath": {"privateNodes.autoUpgrade.cniBinariesPath", "/opt/other/bin"},
			// At the cluster, and told by the plan all the same.
			"privateNodes.joinNode.nodeRegistration.taints[].key": {
				"privateNodes.joinNode.nodeRegistration.taints",
				"[{key: gpu, effect: NoSchedule}]",
			},
		},
		config.FleetDocument: {
			"cluster.kubeconfigSecret":        {"cluster", `{kubeconfigSecret: another}`},
			"cluster.endpoint":                {"cluster", `{kubeconfigSecret: kubeconfig, endpoint: "127.0.0.1:2"}`},
			"machines[].name":                 {"machine.name", "m2"},
			"machines[].nodeName":             {"machine.nodeName", "m2"},
			"machines[].labels":               {"machine.labels", "{zone: a}"},
			"machines[].taints[].key":         {"machine.taints", "[{key: gpu, effect: NoSchedule}]"},
			"machines[].join.binariesPath":    {"machine.join.binariesPath", "/opt/bin"},
			"machines[].join.cniBinariesPath": {"machine.join.cniBinariesPath", "/opt/other/bin"},
			"registries.secret":               {"registries.secret", "logins"},
		},
	}
	for key, c := range changesOfJoin {
		all[config.VClusterDocument]["privateNodes.joinNode."+key] = change{
			"privateNodes.joinNode." + c.section,
			c.value,
		}
		all[config.FleetDocument]["machines[].join."+key] = change{"machine.join." + c.section, c.value}
	}
	return all
}

// untold are the keys of machines, by how they end, of which no plan tells anything, and why.
var untold = map[string]string{
	".containerd.enabled": "a runtime of the owner's has to answer, and the plan is about that",
	".nodeRegistration.criSocket": "beside Argosy's own containerd there is no other socket; " +
		"TestChangesThatNeedARejoinAreNoWork has it",
	".skipPhases": "kubeadm alone reads it, at a join, and the machine keeps no note of it",
	".nodeRegistration.ignorePreflightErrors": "it is for what is looked at before a join, and the machine keeps no " +
		"note of it",
	".nodeRegistration.imagePullPolicy": "kubeadm alone reads it, at a join, and the machine keeps no note of it",
	".join.minDisk":                     "it is asked of machines that have not joined",
	".join.minMemory":                   "it is asked of machines that have not joined",
	".join.maxClockSkew":                "it is asked of machines that have not joined",
	".join.commandTimeout":              "it bounds commands, which run at a join",
}

// documents are the two of a hosted cluster of one machine.
type documents map[string]map[string]any

func joinedWith() documents {
	return documents{
		config.VClusterDocument: {
			"privateNodes": map[string]any{"enabled": true},
			"deploy":       map[string]any{"cni": map[string]any{"flannel": map[string]any{"enabled": false}}},
			"controlPlane": map[string]any{"distro": map[string]any{"k8s": map[string]any{"version": "v1.34.4"}}},
		},
		config.FleetDocument: {
			"apiVersion": "argosy.dev/v1alpha1", "kind": "Fleet",
			"join":    map[string]any{"minDisk": "1Mi", "minMemory": "1Mi"},
			"machine": map[string]any{"name": "m1", "address": "192.0.2.1"},
		},
	}
}

func (d documents) set(t *testing.T, document string, c change) {
	t.Helper()
	section, keys := d[document], strings.Split(c.section, ".")
	for _, key := range keys[:len(keys)-1] {
		if section[key] == nil {
			section[key] = map[string]any{}
		}
		section = section[key].(map[string]any)
	}
	var value any
	assert.NilError(t, yaml.Unmarshal([]byte(c.value), &value))
	section[keys[len(keys)-1]] = value
}

func (d documents) parse(t *testing.T) *config.Cluster {
	t.Helper()
	vcluster, err := yaml.Marshal(d[config.VClusterDocument])
	assert.NilError(t, err)
	fleet := maps.Clone(d[config.FleetDocument])
	fleet["machines"] = []any{fleet["machine"]}
	delete(fleet, "machine")
	argosy, err := yaml.Marshal(fleet)
	assert.NilError(t, err)
	cluster, err := config.Parse("team-a", vcluster, argosy)
	assert.NilError(t, err)
	return cluster
}

// planner has pkg/join make plans for the machine, which are its own engine's.
type planner struct {
	joining.Machine
	*machine
	repository string
	asked      spec.Operation
}

func (p *planner) Inspect(ctx context.Context, question spec.Question) (spec.Facts, error) {
	p.asked = question.Operations[runtime.GOARCH]
	engine := &node.Engine{
		Host: p.host, Store: p.context.Store,
		Phases: map[spec.Kind][]node.Phase{spec.KindJoin: Phases()},
	}
	plan, err := engine.Plan(ctx, &p.asked)
	if err != nil {
		return spec.Facts{}, err
	}
	record, err := p.context.Store.Record()
	return spec.Facts{Arch: runtime.GOARCH, Plan: plan, Record: record, Kubelet: spec.Kubelet{NodeName: "m1"}}, err
}

// plan is that for the machine of the documents, in the cluster that these describe.
func (p *planner) plan(t *testing.T, cluster *config.Cluster) joining.Entry {
	t.Helper()
	kubelet := map[string]any{"kind": "KubeletConfiguration", "healthzPort": 0}
	maps.Copy(kubelet, cluster.VCluster.PrivateNodes.Kubelet.Config)
	kubeletConfig, err := yaml.Marshal(kubelet)
	assert.NilError(t, err)
	ready := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "m1"}}
	ready.Status.NodeInfo.KubeletVersion = "v1.34.4"
	ready.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	target := &joining.Target{
		Client: fake.NewClientset(ready), Server: "https://127.0.0.1:1", CACert: p.ca.PEM, UID: "uid",
		Version:      "v1.34.4",
		CgroupDriver: "systemd", KubeletConfig: string(kubeletConfig),
	}
	if driver := cluster.CgroupDriver(); driver != "" {
		target.CgroupDriver = driver
	}
	if endpoint := cluster.Fleet.Cluster.Endpoint; endpoint != "" {
		target.Server = "https://" + endpoint
	}
	if cluster.Fleet.Cluster.KubeconfigSecret == "another" {
		target.CACert, target.UID = nodetest.NewAuthority(t, "another").PEM, "another"
	}
	c := &joining.Joiner{
		Cluster: cluster, Target: target, Version: "v1.34.4",
		Repository: &bundle.Repository{URL: p.repository, SHA256: map[string]string{"kubernetes-v1.34.4-" +
			runtime.GOARCH + ".tar.gz": p.join.Bundle.SHA256}},
		Machine: func(config.Machine) joining.Machine { return p },
	}
	if cluster.Fleet.Registries.Secret != "" {
		c.Logins = map[string]spec.RegistryLogin{"quay.io": {Username: "user", Password: "word"}}
	}
	entries, err := c.Plan(t.Context(), cluster.Fleet.Machines, operation.NoProgress{})
	assert.NilError(t, err)
	return entries[0]
}

// joinedMachine is one that joined with the documents as they were.
func joinedMachine(t *testing.T) *planner {
	t.Helper()
	p := &planner{machine: newMachine(t)}
	data := p.archive(bundleFiles())
	p.receive(data)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(data)
	}))
	t.Cleanup(server.Close)
	p.repository = server.URL
	p.socket()
	p.write("/etc/site.crt", "a certificate")
	var archive strings.Builder
	_, err := (&archivetest.Image{Name: "registry.example.org/app:v1", Size: 100}).WriteLayout(&archive)
	assert.NilError(t, err)
	p.write("/images/app.tar", archive.String())
	p.programs.answers["ctr"] = func([]string) (string, error) {
		return "REF TYPE\nregistry.k8s.io/pause:3.10.1 x io.cri-containerd.pinned=pinned\n", nil
	}
	p.programs.answers["kubeadm"] = func([]string) (string, error) {
		unit := p.read(layout.Unit("kubelet"))
		p.joined(p.ca, p.asked.Join.Server, "m1", time.Now().Add(time.Hour))
		p.write(layout.Unit("kubelet"), unit)
		p.write(layout.KubeletConfig, p.asked.Join.KubeletConfig)
		p.write(layout.KubeletFlags, kubeadmsFlags)
		p.write("/proc/812/comm", "kubelet\n")
		assert.NilError(t, os.Link(p.host.Path("/usr/local/bin/kubelet"), p.host.Path("/proc/812/exe")))
		return "", nil
	}
	p.plan(t, joinedWith().parse(t))
	op := p.asked
	op.Secrets.BootstrapToken = testToken
	assert.NilError(t, p.context.Store.Prepare(op.ID))
	c := &node.Context{Operation: &op, Host: p.host, Store: p.context.Store, Log: io.Discard}
	for _, phase := range Phases()[1:] {
		held, _, err := phase.Check(t.Context(), c)
		assert.NilError(t, err, phase.Name)
		if !held {
			_, err := phase.Apply(t.Context(), c)
			assert.NilError(t, err, phase.Name)
		}
	}
	return p
}

// effectIn returns the strongest effect of the plan's changes. A plan that refuses a machine needs a reset and another
// join.
func effectIn(entry joining.Entry) spec.Effect {
	if entry.Action == joining.ActionRefuse {
		if strings.Contains(entry.Reasons[0], "already") {
			return spec.NeedsRejoin
		}
		return "refused"
	}
	strength := []spec.Effect{"", spec.NoRestart, spec.RestartsKubelet, spec.RestartsContainerd, spec.NeedsRejoin}
	var strongest spec.Effect
	for _, c := range entry.Changes {
		if slices.Index(strength, c.Effect) > slices.Index(strength, strongest) {
			strongest = c.Effect
		}
	}
	return strongest
}

func TestAPlanTellsTheEffectThatTheReferenceSays(t *testing.T) {
	p := joinedMachine(t)
	before := p.plan(t, joinedWith().parse(t))
	assert.Equal(t, before.Action, joining.ActionNothing, "%v", before.Reasons)
	changes := changesOfDocuments()
	for _, parts := range config.Effects() {
		c, told := changes[parts.Document][parts.Key]
		delete(changes[parts.Document], parts.Key)
		if !told {
			excused := slices.ContainsFunc(slices.Collect(maps.Keys(untold)),
				func(end string) bool { return strings.HasSuffix("."+parts.Key, end) })
			assert.Check(t, excused || parts.At != config.AtMachine, "%s of %s: what does a plan say of it?", parts.Key,
				parts.Document)
			continue
		}
		t.Run(parts.Document+" "+parts.Key, func(t *testing.T) {
			after := joinedWith()
			after.set(t, parts.Document, c)
			entry, wanted := p.plan(t, after.parse(t)), parts.Effect
			if wanted == config.NextWorkflow {
				wanted = spec.NoRestart // which is what the workflow then does to the machine
			}
			assert.Equal(t, effectIn(entry), wanted, "%s: %v", entry.Action, entry.Reasons)
		})
	}
	for document, left := range changes {
		assert.Equal(t, len(left), 0, "%s has no %v", document, slices.Collect(maps.Keys(left)))
	}
}

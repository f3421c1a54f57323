package config

import (
	"reflect"

	"go.yaml.in/yaml/v3"
)

// spelling is a section of vcluster.yaml that was renamed. Users may write either name, or both with equal values.
type spelling struct{ older, newer string }

func spellings() []spelling {
	return []spelling{
		{"privateNodes.cni", "deploy.cni"},
		{"privateNodes.kubeProxy", "deploy.kubeProxy"},
		{"privateNodes.localPathProvisioner", "deploy.localPathProvisioner"},
		{"privateNodes.kubelet.cgroupDriver", "privateNodes.kubelet.config.cgroupDriver"},
	}
}

// unify moves values under an older name to the newer one, and adds a problem where the two contradict each other.
func (d *document) unify(v *VCluster) {
	for _, s := range spellings() {
		d.agree(d.root.find(s.older), d.root.find(s.newer))
	}
	private, deploy := &v.PrivateNodes, &v.Deploy
	d.decodeAgain("privateNodes.cni", reflect.ValueOf(&deploy.CNI).Elem())
	d.decodeAgain("privateNodes.kubeProxy", reflect.ValueOf(&deploy.KubeProxy).Elem())
	d.decodeAgain("privateNodes.localPathProvisioner", reflect.ValueOf(&deploy.LocalPathProvisioner).Elem())
	private.CNI, private.KubeProxy, private.LocalPathProvisioner = CNI{}, KubeProxy{}, LocalPathProvisioner{}

	d.unifyCgroupDriver(&private.Kubelet)
}

// unifyCgroupDriver checks the driver under both names and sets both.
func (d *document) unifyCgroupDriver(k *Kubelet) {
	const newer = "privateNodes.kubelet.config.cgroupDriver"
	switch driver := k.Config["cgroupDriver"].(type) {
	case nil:
		if k.CgroupDriver != "" {
			if k.Config == nil {
				k.Config = Unstructured{}
			}
			k.Config["cgroupDriver"] = k.CgroupDriver
		}
	case string:
		d.oneOf(newer, driver, "systemd", "cgroupfs")
		k.CgroupDriver = driver
	default:
		d.add(newer, "must be text", "")
	}
}

// decodeAgain decodes a section of the document into its newer name; its problems were added the first time.
func (d *document) decodeAgain(path string, into reflect.Value) {
	silent := &document{name: d.name, nodes: d.nodes}
	silent.decode(d.root.find(path), into)
}

// agree adds a problem for every value that two spellings set differently.
func (d *document) agree(older, newer *node) {
	if older == nil || newer == nil || older.tag == nullTag || newer.tag == nullTag {
		return
	}
	if older.kind == yaml.MappingNode && newer.kind == yaml.MappingNode {
		for _, f := range older.fields {
			d.agree(f.value, newer.get(f.name))
		}
		return
	}
	if !same(older, newer) {
		d.add(older.path, "contradicts "+newer.path+", which means the same", "remove one of them")
	}
}

// same compares two values of a document.
func same(a, b *node) bool {
	if a.kind != b.kind || a.text != b.text || len(a.items) != len(b.items) || len(a.fields) != len(b.fields) {
		return false
	}
	for i := range a.items {
		if !same(a.items[i], b.items[i]) {
			return false
		}
	}
	for _, f := range a.fields {
		if other := b.get(f.name); other == nil || !same(f.value, other) {
			return false
		}
	}
	return true
}

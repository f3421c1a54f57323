package addons

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/imageref"
)

//go:embed manifests/*.yaml
var manifests embed.FS

const nameLabel = "app.kubernetes.io/name"

// ConfigAnnotation of a pod holds the digest of the files that it read when it started, so that it is replaced when
// they change.
const ConfigAnnotation = "argosy.dev/config"

// object is one of a manifest's: of its Kubernetes type, or unstructured when client-go has no type for it.
type object interface {
	runtime.Object
	metav1.Object
}

// draft is an addon in the making. The first error stays and is returned at the end.
type draft struct {
	site    *site
	name    string
	objects []object
	version string
	used    []string
	err     error
}

// read starts a draft from manifests; the first gives the addon its name.
func read(s *site, names ...string) *draft {
	d := &draft{site: s, name: names[0]}
	for _, name := range names {
		objects, err := readManifest(name)
		d.fail(err)
		d.objects = append(d.objects, objects...)
	}
	return d
}

func readManifest(name string) ([]object, error) {
	content, err := manifests.ReadFile("manifests/" + name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("reading manifest %q: %w", name, err)
	}
	decoded, err := apply.Decode(content)
	if err != nil {
		return nil, fmt.Errorf("reading manifest %q: %w", name, err)
	}
	objects := make([]object, len(decoded))
	for i, each := range decoded {
		if objects[i], err = typed(each); err != nil {
			return nil, fmt.Errorf("reading %s %q of manifest %q: %w", each.GetKind(), each.GetName(), name, err)
		}
	}
	return objects, nil
}

// typed returns an object as its Kubernetes type, and demands that the type has all its fields.
//
//nolint:wrapcheck // Its caller names the object.
func typed(content *unstructured.Unstructured) (object, error) {
	kind := content.GroupVersionKind()
	if !scheme.Scheme.Recognizes(kind) {
		return content, nil
	}
	into, err := scheme.Scheme.New(kind)
	if err != nil {
		return nil, err
	}
	const strict = true
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(content.Object, into,
		strict); err != nil {
		return nil, err
	}
	return into.(object), nil
}

func (d *draft) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// edit changes the object of type T and of that name.
func edit[T object](d *draft, name string, change func(T) error) {
	if d.err != nil {
		return
	}
	for _, each := range d.objects {
		if found, ok := each.(T); ok && each.GetName() == name {
			d.fail(change(found))
			return
		}
	}
	d.fail(fmt.Errorf("manifest %q has no %T %q", d.name, *new(T), name))
}

// template returns the pods that an object makes, nil when it makes none.
func template(of object) *corev1.PodTemplateSpec {
	switch of := of.(type) {
	case *appsv1.Deployment:
		return &of.Spec.Template
	case *appsv1.DaemonSet:
		return &of.Spec.Template
	}
	return nil
}

// containers returns all containers of a pod, so that they can be changed.
func containers(pod *corev1.PodSpec) []*corev1.Container {
	var all []*corev1.Container
	for i := range pod.InitContainers {
		all = append(all, &pod.InitContainers[i])
	}
	for i := range pod.Containers {
		all = append(all, &pod.Containers[i])
	}
	return all
}

// pull gives every container the image that its manifest names, or the one that chosen has for that name, and the pull
// policy if there is one. The addon's version is that of the image named main.
func (d *draft) pull(main string, chosen map[string]string, policy string) {
	for _, each := range d.objects {
		pods := template(each)
		if pods == nil {
			continue
		}
		for _, container := range containers(&pods.Spec) {
			name := container.Image
			container.Image = d.image(name, chosen[name])
			container.ImagePullPolicy = corev1.PullPolicy(policy)
			if name == main {
				d.version = imageref.Tag(container.Image)
			}
		}
	}
}

// image returns the reference of an image and notes that the addon uses it.
func (d *draft) image(name, chosen string) string {
	reference, err := d.site.images.reference(d.site.cluster, name, chosen)
	d.fail(err)
	if !slices.Contains(d.used, reference) {
		d.used = append(d.used, reference)
	}
	return reference
}

// restartWith lets the pods of all objects start again when a ConfigMap's content changes.
func (d *draft) restartWith(configMap string) {
	edit(d, configMap, func(c *corev1.ConfigMap) error {
		content, err := json.Marshal(c.Data)
		if err != nil {
			return err
		}
		digest := sha256.Sum256(content)
		for _, each := range d.objects {
			if pods := template(each); pods != nil {
				metav1.SetMetaDataAnnotation(&pods.ObjectMeta, ConfigAnnotation, hex.EncodeToString(digest[:8]))
			}
		}
		return nil
	})
}

// addon ends the draft: every object is labelled and as it will be set.
func (d *draft) addon() (Addon, error) {
	if d.err != nil {
		return Addon{}, d.err
	}
	made := Addon{Version: d.version, Enabled: true, Images: d.used}
	for _, each := range d.objects {
		each.SetLabels(labelled(each.GetLabels(), d.name))
		if pods := template(each); pods != nil {
			pods.Labels = labelled(pods.Labels, d.name)
		}
		set, err := apply.From(each)
		if err != nil {
			return Addon{}, err
		}
		made.Objects = append(made.Objects, set)
	}
	return made, nil
}

// labelled adds Argosy's labels to those that are there.
func labelled(labels map[string]string, name string) map[string]string {
	all := map[string]string{nameLabel: name}
	maps.Copy(all, labels)
	all[apply.ManagedByLabel] = apply.Manager
	return all
}

package config

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	yamlstream "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/secret"
)

// Dir is the Source that reads a folder of manifests, for use by hand without a host cluster: every .yaml, .yml and
// .json file directly in it, ConfigMaps and Secrets only. It accepts the manifests that kubectl accepts; a Secret's
// stringData wins over its data.
type Dir struct {
	// Path of the folder.
	Path string
	// In is the namespace to read: manifests that name another one are ignored. Default "default".
	In string
}

var _ Source = Dir{}

// Namespace returns the namespace that is read.
func (d Dir) Namespace() string {
	if d.In == "" {
		return metav1.NamespaceDefault
	}
	return d.In
}

// ConfigMap returns the data of a ConfigMap.
func (d Dir) ConfigMap(_ context.Context, name string) (map[string]string, error) {
	var object corev1.ConfigMap
	if err := d.find("ConfigMap", name, &object); err != nil {
		return nil, err
	}
	return contentOf(&object), nil
}

// Secret returns the data of a Secret.
func (d Dir) Secret(_ context.Context, name string) (map[string]secret.Value, error) {
	var object corev1.Secret
	if err := d.find("Secret", name, &object); err != nil {
		return nil, err
	}
	return hide(&object), nil
}

// find decodes the one manifest of a kind and name.
func (d Dir) find(kind, name string, into any) error {
	entries, err := os.ReadDir(d.Path)
	if err != nil {
		return errclass.Errorf(errclass.Configuration, "reading folder %q: %w", d.Path, err)
	}
	foundIn := ""
	for _, entry := range entries {
		if entry.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(entry.Name())) {
			continue
		}
		path := filepath.Join(d.Path, entry.Name())
		manifests, err := d.manifests(path, kind, name)
		if err != nil {
			return errclass.Errorf(errclass.Configuration, "reading manifests in %q: %w", path, err)
		}
		for _, manifest := range manifests {
			if foundIn != "" {
				return errclass.Errorf(errclass.Configuration,
					"reading %s %q: found in %q and in %q; remove one of them", kind, name, foundIn, path)
			}
			if err := yaml.UnmarshalStrict(manifest, into); err != nil {
				return errclass.Errorf(errclass.Configuration, "reading %s %q in %q: %w", kind, name, path,
					withoutContent(kind, err))
			}
			foundIn = path
		}
	}
	if foundIn == "" {
		return errclass.Errorf(errclass.Configuration, "reading %s %q (namespace %q) in folder %q: %w", kind, name,
			d.Namespace(), d.Path, ErrNotFound)
	}
	return nil
}

// withoutContent keeps a decoder's message, which may quote the manifest, from showing a Secret.
func withoutContent(kind string, err error) error {
	if kind == "Secret" {
		return errors.New("it is not a valid manifest (data in base64, stringData as text; message withheld because " +
			"it may quote the content)")
	}
	return err
}

// manifests returns the documents of a file that are of this kind and name. Other documents are ignored, as long as
// they are YAML.
func (d Dir) manifests(path, kind, name string) ([][]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("opening: %w", err)
	}
	reader := yamlstream.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	var found [][]byte
	for {
		manifest, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, fmt.Errorf("splitting into documents: %w", err)
		}
		content, err := yaml.YAMLToJSON(manifest)
		if err != nil {
			return nil, fmt.Errorf("parsing a document: %w", err)
		}
		var head metav1.PartialObjectMetadata
		if json.Unmarshal(content, &head) != nil {
			continue
		}
		here := head.Namespace == "" || head.Namespace == d.Namespace()
		if head.APIVersion == "v1" && head.Kind == kind && head.Name == name && here {
			found = append(found, manifest)
		}
	}
}

package addons

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// decode reads section key of the documents into a Kubernetes type. A field that the type lacks is an error.
func decode(key string, from, into any) error {
	content, err := json.Marshal(from)
	if err != nil {
		return errclass.Errorf(errclass.Configuration, "reading %s: %w", key, err)
	}
	unknown, err := kjson.UnmarshalStrict(content, into)
	if err = errors.Join(append(unknown, err)...); err != nil {
		return errclass.Errorf(errclass.Configuration, "reading %s: %w", key, err)
	}
	return nil
}

// merge lays section key of the documents over base, field by field; lists are replaced.
func merge[T any](key string, base *T, over config.Unstructured) error {
	if len(over) == 0 {
		return nil
	}
	content, err := json.Marshal(base)
	if err != nil {
		return fmt.Errorf("reading the defaults of %s: %w", key, err)
	}
	fields := map[string]any{}
	if err := json.Unmarshal(content, &fields); err != nil {
		return fmt.Errorf("reading the defaults of %s: %w", key, err)
	}
	var merged T
	if err := decode(key, overlay(fields, over), &merged); err != nil {
		return err
	}
	*base = merged
	return nil
}

// overlay lays the fields of over on those of base, which it changes and returns.
func overlay(base, over map[string]any) map[string]any {
	for name, value := range over {
		below, isMap := base[name].(map[string]any)
		above, alsoMap := asMap(value)
		if isMap && alsoMap {
			base[name] = overlay(below, above)
			continue
		}
		base[name] = value
	}
	return base
}

func asMap(value any) (map[string]any, bool) {
	switch value := value.(type) {
	case map[string]any:
		return value, true
	case config.Unstructured:
		return value, true
	}
	return nil, false
}

// scheduling holds the documents' settings for the nodes that pods run on.
type scheduling struct {
	key               string // of the section in the documents
	nodeSelector      map[string]string
	tolerations       []config.Unstructured
	priorityClassName string
}

// apply adds tolerations and node labels to those of the manifest.
func (p scheduling) apply(pod *corev1.PodSpec) error {
	var tolerations []corev1.Toleration
	if err := decode(p.key+".tolerations", p.tolerations, &tolerations); err != nil {
		return err
	}
	pod.Tolerations = append(pod.Tolerations, tolerations...)
	maps.Copy(pod.NodeSelector, p.nodeSelector)
	if p.priorityClassName != "" {
		pod.PriorityClassName = p.priorityClassName
	}
	return nil
}

// extend adds arguments and environment variables to a container. An argument replaces those of the same name; of
// variables of one name the last counts.
func extend(key string, container *corev1.Container, args []string, env []config.Unstructured) error {
	var variables []corev1.EnvVar
	if err := decode(key+".extraEnv", env, &variables); err != nil {
		return err
	}
	for _, variable := range variables {
		if variable.Name == "" {
			return errclass.Errorf(errclass.Configuration, "reading %s.extraEnv: a variable has no name", key)
		}
	}
	container.Env = append(container.Env, variables...)
	container.Args = config.MergeArguments(container.Args, args)
	return nil
}

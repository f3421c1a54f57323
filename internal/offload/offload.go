// Package offload keeps long texts of a Workflow beside it: in ConfigMaps of its namespace that the Workflow
// owns, so that Kubernetes collects them with it. A ConfigMap is created and read, and never changed: its name contains
// the digest of its content.
package offload

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/errclass"
)

const (
	// partSize bounds one ConfigMap, in bytes: the API server takes 1 MiB of data.
	partSize = 512 << 10
	// maxParts bounds one value: a report of 10,000 machines has one or two parts.
	maxParts = 32
	// maxText bounds a value once it is unpacked, in bytes, whatever a ConfigMap pretends to hold.
	maxText = 128 << 20
)

const (
	// partsAnnotation is the number of ConfigMaps of a value, at each of them.
	partsAnnotation = "argosy.dev/parts"
	// kindLabel is the label with the kind of a ConfigMap's content.
	kindLabel = "argosy.dev/offload"
	// dataKey is the only key of a value's ConfigMap: a part of gzipped JSON.
	dataKey = "json.gz"
)

// Owner is the Workflow that a value belongs to.
type Owner struct{ Name, Namespace, UID string }

// Store keeps values in ConfigMaps. It needs create and get on them.
type Store struct{ Client kubernetes.Interface }

// Write keeps value, in JSON, for the life of owner, and returns the name by which Read finds it. kind is a lower-case
// word for people, and part of the name. The same value of the same owner has the same name.
func (s Store) Write(ctx context.Context, owner Owner, kind string, value any) (string, error) {
	packed, digest, err := pack(owner, value)
	if err != nil {
		return "", fmt.Errorf("encoding %s of workflow %q: %w", kind, owner.Name, err)
	}
	name := fmt.Sprintf("%s-argosy-%s-%s", owner.Name, kind, digest)
	parts := slices.Collect(slices.Chunk(packed, partSize))
	if len(parts) > maxParts {
		return "", errclass.Errorf(errclass.Permanent, "keeping %s of workflow %q: it has %d bytes, more than the %d "+
			"that %d ConfigMaps take", kind, owner.Name, len(packed), maxParts*partSize, maxParts)
	}
	// The first part comes last: a value whose first part is there is whole.
	for i, part := range slices.Backward(parts) {
		if err := s.create(ctx, owner, kind, partName(name, i), len(parts),
			map[string][]byte{dataKey: part}); err != nil {
			return "", err
		}
	}
	return name, nil
}

// pack returns value as gzipped JSON, and the digest of its JSON and owner.
func pack(owner Owner, value any) (packed []byte, digest string, err error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, "", fmt.Errorf("encoding JSON: %w", err)
	}
	packed, err = compress(text)
	sum := sha256.Sum256(append([]byte(owner.UID+"\n"), text...))
	return packed, hex.EncodeToString(sum[:5]), err
}

func compress(text []byte) ([]byte, error) {
	var into bytes.Buffer
	writer := gzip.NewWriter(&into)
	if _, err := writer.Write(text); err != nil {
		return nil, fmt.Errorf("compressing: %w", err)
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("compressing: %w", err)
	}
	return into.Bytes(), nil
}

// maxFiles bounds the files of one ConfigMap, in bytes, which the API server bounds at 1 MiB.
const maxFiles = 900 << 10

// WriteFiles keeps files in one ConfigMap for the life of owner, each of them compressed under its name and ".gz", and
// returns the ConfigMap's name. Files that have no room there are an error, and nothing is kept.
func (s Store) WriteFiles(ctx context.Context, owner Owner, kind string, files map[string][]byte) (string, error) {
	data, sum, size := map[string][]byte{}, sha256.New(), 0
	sum.Write([]byte(owner.UID + "\n"))
	for _, file := range slices.Sorted(maps.Keys(files)) {
		packed, err := compress(files[file])
		if err != nil {
			return "", fmt.Errorf("encoding %s of workflow %q: %w", file, owner.Name, err)
		}
		data[file+".gz"] = packed
		size += len(packed)
		sum.Write(packed)
	}
	name := fmt.Sprintf("%s-argosy-%s-%s", owner.Name, kind, hex.EncodeToString(sum.Sum(nil)[:5]))
	if size > maxFiles {
		return "", errclass.Errorf(errclass.Permanent, "keeping %s of workflow %q: it has %d bytes, more than the %d "+
			"that a ConfigMap takes", kind, owner.Name, size, maxFiles)
	}
	return name, s.create(ctx, owner, kind, name, 1, data)
}

func partName(name string, part int) string {
	if part == 0 {
		return name
	}
	return name + "-" + strconv.Itoa(part)
}

func (s Store) create(ctx context.Context, owner Owner, kind, name string, parts int,
	data map[string][]byte,
) error {
	immutable := true
	_, err := s.Client.CoreV1().ConfigMaps(owner.Namespace).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{kindLabel: kind},
			Annotations: map[string]string{partsAnnotation: strconv.Itoa(parts)},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: wfv1.SchemeGroupVersion.String(), Kind: "Workflow", Name: owner.Name,
				UID: types.UID(owner.UID),
			}},
		},
		BinaryData: data, Immutable: &immutable,
	}, metav1.CreateOptions{})
	switch {
	case apierrors.IsAlreadyExists(err):
		_, err := s.get(ctx, owner, name)
		return err
	case apierrors.IsForbidden(err):
		return errclass.Errorf(errclass.Configuration, "creating ConfigMap %q in namespace %q: %w: workflows with "+
			"many machines keep their plans and reports in ConfigMaps; apply install/ to the namespace again", name,
			owner.Namespace, err)
	case err != nil:
		return fmt.Errorf("creating ConfigMap %q in namespace %q: %w", name, owner.Namespace, apply.Classify(err))
	}
	return nil
}

// Read decodes the value that Write gave name. A ConfigMap of another Workflow is refused: the name may come from a
// parameter.
func (s Store) Read(ctx context.Context, owner Owner, name string, into any) error {
	first, err := s.get(ctx, owner, name)
	if err != nil {
		return err
	}
	parts, err := strconv.Atoi(first.Annotations[partsAnnotation])
	if err != nil || parts < 1 || parts > maxParts {
		return errclass.Errorf(errclass.Permanent, "reading ConfigMap %q: annotation %q is %q: give a number from "+
			"1 to %d", name, partsAnnotation, first.Annotations[partsAnnotation], maxParts)
	}
	packed := slices.Clone(first.BinaryData[dataKey])
	for i := 1; i < parts; i++ {
		part, err := s.get(ctx, owner, partName(name, i))
		if err != nil {
			return err
		}
		packed = append(packed, part.BinaryData[dataKey]...)
	}
	if err := unpack(packed, into); err != nil {
		return errclass.Errorf(errclass.Permanent, "reading ConfigMap %q: %w", name, err)
	}
	return nil
}

func unpack(packed []byte, into any) error {
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return fmt.Errorf("decompressing: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(reader, maxText+1))
	if err != nil {
		return fmt.Errorf("decompressing: %w", err)
	}
	if len(text) > maxText {
		return errors.New("it holds more than 128 MiB")
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("decoding JSON: %w", err)
	}
	return nil
}

// get reads a ConfigMap that owner owns.
func (s Store) get(ctx context.Context, owner Owner, name string) (*corev1.ConfigMap, error) {
	found, err := s.Client.CoreV1().ConfigMaps(owner.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading ConfigMap %q in namespace %q: %w", name, owner.Namespace, apply.Classify(err))
	}
	owned := slices.ContainsFunc(found.OwnerReferences, func(ref metav1.OwnerReference) bool {
		return string(ref.UID) == owner.UID
	})
	if !owned {
		return nil, errclass.Errorf(errclass.Configuration, "reading ConfigMap %q in namespace %q: workflow %q does "+
			"not own it: submit the workflow anew", name, owner.Namespace, owner.Name)
	}
	return found, nil
}

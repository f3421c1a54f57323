package lab

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

//go:embed manifests/local-path.yaml
var storageManifest string

// StorageClass is the host cluster's class of volumes, and its default.
const StorageClass = "local-path"

// storageFolder is where the volumes are on the host machine.
const storageFolder = "/var/lib/local-path"

const storageNamespace = "local-path-storage"

// storageImages are what the class is served with, under the names that the
// builder gives them.
type storageImages struct{ Provisioner, Helper, Folder string }

func storageImagesOf() storageImages {
	return storageImages{
		Provisioner: "docker.io/rancher/local-path-provisioner:v0.0.31",
		Helper:      "docker.io/library/busybox:1.36.1",
		Folder:      storageFolder,
	}
}

// ensureStorage installs the host cluster's storage class or finds it as it
// should be. The host machine needs to have the images.
func (l *Lab) ensureStorage(ctx context.Context) error {
	text, err := render("local-path.yaml", storageManifest, storageImagesOf())
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(text))
	digest := hex.EncodeToString(sum[:8])
	if l.storageState(ctx) == "1 "+digest {
		return nil
	}
	start := time.Now()
	if err := l.apply(ctx, "local-path.yaml", text); err != nil {
		return fmt.Errorf("installing storage: %w", err)
	}
	deployment := []string{"--namespace", storageNamespace, "deployment/local-path-provisioner"}
	if _, err := l.Kubectl(ctx, "host", append([]string{"rollout", "status", "--timeout=120s"}, deployment...)...); err != nil {
		return fmt.Errorf("waiting for storage: %w", err)
	}
	if _, err := l.Kubectl(ctx, "host", append(append([]string{"annotate", "--overwrite"}, deployment...), "argosy.dev/manifest="+digest)...); err != nil {
		return fmt.Errorf("noting that storage is installed: %w", err)
	}
	l.logf("storage class %s installed in %.1fs", StorageClass, time.Since(start).Seconds())
	return nil
}

// storageState is how many provisioners are ready and of which manifest.
func (l *Lab) storageState(ctx context.Context) string {
	out, err := l.Kubectl(ctx, "host", "--namespace", storageNamespace, "get", "deployment", "local-path-provisioner",
		"--output", `jsonpath={.status.readyReplicas} {.metadata.annotations.argosy\.dev/manifest}`)
	if err != nil {
		return ""
	}
	return out
}

func (l *Lab) storageReady(ctx context.Context) bool {
	return strings.HasPrefix(l.storageState(ctx), "1 ")
}

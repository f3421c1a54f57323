package lab

import (
	"context"
	_ "embed"

	"argosy.dev/argosy/pkg/bundle/components"
)

//go:embed manifests/local-path.yaml
var storageManifest string

// storageClass is the host cluster's class of volumes, and its default.
const storageClass = "local-path"

// storageFolder is where the volumes are on the host machine.
const storageFolder = "/var/lib/local-path"

// storage serves claims on the host cluster. The manifest is filled by
// ensureStorage.
func storage() deployment {
	return deployment{
		what: "storage class " + storageClass, namespace: "local-path-storage",
		name: "local-path-provisioner",
	}
}

// storageImages serve the class, under the names that the builder gives them.
type storageImages struct{ Provisioner, Helper, Folder string }

func storageImagesOf() storageImages {
	return storageImages{
		Provisioner: "docker.io/rancher/local-path-provisioner:v" +
			components.AddonVersion(components.LocalPathProvisioner),
		Helper: "docker.io/library/busybox:" + components.AddonVersion(components.Busybox),
		Folder: storageFolder,
	}
}

// ensureStorage gives the host cluster its storage class.
func (l *Lab) ensureStorage(ctx context.Context) (err error) {
	wanted := storage()
	if wanted.manifest, err = render("local-path.yaml", storageManifest, storageImagesOf()); err != nil {
		return err
	}
	return l.ensureDeployment(ctx, wanted)
}

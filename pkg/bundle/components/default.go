package components

import (
	"strconv"
	"strings"
)

// DefaultKubernetes is the version of Kubernetes of a new cluster whose documents name none: the newest that this
// release is shown with. A test holds it against the lab's.
const DefaultKubernetes = "v1.37.2"

// oldestReadable is the minor version of Kubernetes whose kubeadm is the first to read the configuration that Argosy
// writes, kubeadm.k8s.io/v1beta4.
const oldestReadable = 31

// Usable reports whether a version is one that [Supports] knows, or an older one that Argosy's configuration still
// works with: clusters of such a version can be joined and upgraded, and nothing shows that they work well.
func Usable(version string) bool {
	version = "v" + strings.TrimPrefix(version, "v")
	if Supports(version) || !kubernetesVersion.MatchString(version) {
		return Supports(version)
	}
	oldest, _ := Supported()
	minor, err := strconv.Atoi(strings.Split(version, ".")[1])
	return err == nil && minor >= oldestReadable && minor < minorNumber(oldest)
}

// UsableRange returns the range of [Usable] in words: "1.31 to 1.37".
func UsableRange() string {
	_, newest := Supported()
	return "1." + strconv.Itoa(oldestReadable) + " to " + newest
}

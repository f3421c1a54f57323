package upgrade

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
)

// deprecatedMetric marks an API that clients have requested and that a later version no longer serves. Source:
// https://kubernetes.io/docs/reference/using-api/deprecation-policy/.
var deprecatedMetric = regexp.MustCompile(`^apiserver_requested_deprecated_apis\{(.*)\} 1$`)

var metricLabel = regexp.MustCompile(`(\w+)="([^"]*)"`)

// deprecations warns of APIs that clients of this cluster have used since its API server started, and that the version
// does not serve any more. Where the API server shows no metrics, the warning is that this is not known.
func (u *Upgrader) deprecations(ctx context.Context, preview Preview) []string {
	if !preview.Moves {
		return nil
	}
	metrics, err := u.Target.Client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return []string{fmt.Sprintf("checking whether clients use APIs that %s no longer serves: %v",
			preview.Version,
			err)}
	}
	if removed := removedBy(metrics, preview.Version); len(removed) > 0 {
		return []string{fmt.Sprintf("clients use APIs that %s no longer serves: %s", preview.Version,
			strings.Join(removed, ", "))}
	}
	return nil
}

// removedBy reads an API server's metrics for the APIs in use that a version does not serve, as "policy/v1beta1
// podsecuritypolicies".
func removedBy(metrics []byte, wanted string) []string {
	target, err := version.ParseSemantic(wanted)
	if err != nil {
		return nil
	}
	var removed []string
	for lines := bufio.NewScanner(bytes.NewReader(metrics)); lines.Scan(); {
		match := deprecatedMetric.FindStringSubmatch(lines.Text())
		if match == nil {
			continue
		}
		labels := map[string]string{}
		for _, label := range metricLabel.FindAllStringSubmatch(match[1], -1) {
			labels[label[1]] = label[2]
		}
		release, err := version.ParseGeneric(labels["removed_release"])
		if err != nil || target.LessThan(release) {
			continue
		}
		name := labels["version"] + " " + labels["resource"]
		if labels["group"] != "" {
			name = labels["group"] + "/" + name
		}
		removed = append(removed, name)
	}
	slices.Sort(removed)
	return slices.Compact(removed)
}

package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// deployment is a program of the lab itself on the host cluster: a manifest with a Deployment of one pod in it.
type deployment struct {
	// what is the name of the service, for people.
	what            string
	namespace, name string
	manifest        string
}

// ensureDeployment installs a deployment or finds it as it should be. The host
// machine needs to have its images.
func (l *Lab) ensureDeployment(ctx context.Context, d deployment) error {
	sum := sha256.Sum256([]byte(d.manifest))
	digest := hex.EncodeToString(sum[:8])
	if l.deploymentState(ctx, d) == "1 "+digest {
		return nil
	}
	start := time.Now()
	if err := l.apply(ctx, d.name+".yaml", d.manifest); err != nil {
		return fmt.Errorf("installing %s: %w", d.what, err)
	}
	object := []string{"--namespace", d.namespace, "deployment/" + d.name}
	status := append([]string{"rollout", "status", "--timeout=" + waitLimit.String()}, object...)
	if _, err := l.Kubectl(ctx, "host", status...); err != nil {
		return fmt.Errorf("waiting for %s: %w", d.what, err)
	}
	if _, err := l.Kubectl(ctx, "host", append(append([]string{"annotate", "--overwrite"}, object...),
		"argosy.dev/manifest="+digest)...); err != nil {
		return fmt.Errorf("noting that there is %s: %w", d.what, err)
	}
	l.logf("%s installed in %.1fs", d.what, time.Since(start).Seconds())
	return nil
}

// deploymentState is how many of its pods are ready and of which manifest.
func (l *Lab) deploymentState(ctx context.Context, d deployment) string {
	out, err := l.Kubectl(ctx, "host", "--namespace", d.namespace, "get", "deployment", d.name,
		"--output", `jsonpath={.status.readyReplicas} {.metadata.annotations.argosy\.dev/manifest}`)
	if err != nil {
		return ""
	}
	return out
}

func (l *Lab) deploymentReady(ctx context.Context, d deployment) bool {
	return strings.HasPrefix(l.deploymentState(ctx, d), "1 ")
}

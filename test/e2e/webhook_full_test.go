//go:build full

package e2e_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"argosy.dev/argosy/test/lab"
)

// roleWebhook is a webhook within the cluster, without which no role can be written. $CERT and $KEY are its own
// certificate and key, in base64.
const roleWebhook = `
apiVersion: v1
kind: Secret
metadata: {name: roles}
type: kubernetes.io/tls
data: {tls.crt: $CERT, tls.key: $KEY}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: roles}
spec:
  replicas: 2
  selector: {matchLabels: {app: roles}}
  template:
    metadata: {labels: {app: roles}}
    spec:
      terminationGracePeriodSeconds: 1
      volumes: [{name: tls, secret: {secretName: roles}}]
      containers:
      - name: roles
        image: ` + lab.RegistryAddress + `/web:v1
        args: [admit, /tls/tls.crt, /tls/tls.key]
        readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 1}
        volumeMounts: [{name: tls, mountPath: /tls}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: roles}
spec: {minAvailable: 1, selector: {matchLabels: {app: roles}}}
---
apiVersion: v1
kind: Service
metadata: {name: roles}
spec: {selector: {app: roles}, ports: [{port: 443, targetPort: 8443}]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: roles}
webhooks:
- name: roles.example.org
  clientConfig:
    service: {namespace: default, name: roles}
    caBundle: $CERT
  rules:
  - apiGroups: [rbac.authorization.k8s.io]
    apiVersions: [v1]
    operations: [CREATE, UPDATE]
    resources: [clusterroles, clusterrolebindings, roles, rolebindings]
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
`

// TestUpgradePassesWebhookInsideCluster upgrades a cluster in which a webhook decides about roles. An API server of a
// new minor version writes its own roles before it is ready, and reaches the webhook through konnectivity's agents,
// which have to find that server before it is ready.
func TestUpgradePassesWebhookInsideCluster(t *testing.T) {
	newUpgradeCluster(t)
	certificate, key := selfSigned(t, "roles.default.svc")
	encode := base64.StdEncoding.EncodeToString
	filled := strings.NewReplacer("$CERT", encode(certificate), "$KEY", encode(key)).Replace(roleWebhook)
	apply(t, upgradeCluster, filled)
	kubectl(t, upgradeCluster, "rollout", "status", "deployment/roles", "--timeout="+patience.String())
	asked := func(name string) {
		t.Helper()
		var out string
		eventually(t, "the webhook lets a role be written", func() bool {
			var err error
			out, err = upgradeCluster.Kubectl(t.Context(), "create", "clusterrole", name, "--verb=get",
				"--resource=pods")
			return err == nil
		}, func() string { return out })
		logs := kubectl(t, upgradeCluster, "logs", "-l", "app=roles", "--tail=-1")
		assertContains(t, logs, "clusterroles "+name+" of ")
	}
	asked("before")
	upgradeAll(t, "version="+lab.Version)
	asked("after")
}

package drain_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/drain"
)

// answered is an API server's answer with a code, as it passes on those of webhooks.
func answered(code int32, message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: code, Message: message}}
}

// webhooks are answers to dry runs that tell nothing of the eviction itself.
var webhooks = map[string]error{
	"denied with 500": answered(http.StatusInternalServerError,
		`admission webhook "drain.strimzi.io" denied the request: The pod will be rolled by the operator`),
	"denied with 503": answered(http.StatusServiceUnavailable,
		`admission webhook "a.example" denied the request: later`),
	"unreachable": apierrors.NewInternalError(errors.New(`failed calling webhook "a.example": Post ` +
		`"https://a.default.svc:443/": dial tcp 10.96.0.9:443: connect: connection refused`)),
	"no dry runs": apierrors.NewBadRequest(`admission webhook "a.example" does not support dry run`),
}

func TestAWebhookThatFailsADryRunIsWaitedFor(t *testing.T) {
	for name, answer := range webhooks {
		t.Run(name, func(t *testing.T) {
			c := newCluster(deployment(), budget("web"), pod("web-1"), pod("web-2"))
			c.answer = func(pod string) error {
				if pod == "web-1" {
					return answer
				}
				return nil
			}
			found, err := drain.Drainer{Client: c, Policy: policy()}.Preflight(t.Context(), n1(), nil)
			assert.NilError(t, err)
			assert.NilError(t, found.Refusal())
			assert.Equal(t, found.Pods[0].Blocked, answer.Error(), "the budget has no part in it")
			assert.Equal(t, found.Pods[1].Blocked, "")
		})
	}
}

func TestAWebhookThatDeniesForGoodRefusesTheDrain(t *testing.T) {
	c := newCluster(pod("web-1"))
	c.answer = func(string) error {
		return answered(http.StatusForbidden, `admission webhook "a.example" denied the request: never`)
	}
	found, err := drain.Drainer{Client: c, Policy: policy()}.Preflight(t.Context(), n1(), nil)
	assert.NilError(t, err)
	assert.ErrorContains(t, found.Refusal(), "denied the request: never")
}

// An operator that a webhook tells of the eviction moves the pod by itself, and has it answer 500 until then.
func TestAPodThatAWebhookHasMovedIsEvictedByAsking(t *testing.T) {
	t.Parallel()
	c := newCluster(pod("web-1"))
	tries := 0
	c.answer = func(string) error {
		tries++
		if tries > 1 {
			return nil
		}
		return webhooks["denied with 500"]
	}
	long := policy(func(p *config.Drain) { p.Timeout.Duration = time.Minute })
	var told said
	_, err := drain.Drainer{Client: c, Policy: long}.Drain(t.Context(), "n1", true, &told)
	assert.NilError(t, err)
	assert.Assert(t, tries > 1)
}

func TestTheReasonOfABudgetIsToldAsItIs(t *testing.T) {
	ready := func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	for name, test := range map[string]struct {
		budget func(*policyv1.PodDisruptionBudget)
		pod    change
		want   string
	}{
		"too few, the pod is Ready": {
			func(b *policyv1.PodDisruptionBudget) { b.Status.DesiredHealthy = 2 }, ready,
			"PDB web allows none: 1 healthy, 2 needed",
		},
		"too few, and the pod is one of them": {
			func(b *policyv1.PodDisruptionBudget) { b.Status.DesiredHealthy = 2 }, func(*corev1.Pod) {},
			"PDB web allows none: 1 healthy, 2 needed; the pod is not Ready itself, and could go if the budget had " +
				"unhealthyPodEvictionPolicy AlwaysAllow",
		},
		"its pods cannot be counted": {
			func(b *policyv1.PodDisruptionBudget) {
				b.Status.Conditions = []metav1.Condition{{
					Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse,
					Reason: policyv1.SyncFailedReason, Message: "found no controllers for pod web-1",
				}}
			}, ready,
			"PDB web allows none, since the disruption controller cannot count its pods: found no controllers for " +
				"pod web-1",
		},
		"it is new": {
			func(b *policyv1.PodDisruptionBudget) { b.Generation = 1 }, ready,
			"PDB web was not judged yet by the disruption controller",
		},
		"its status allows one": {
			func(b *policyv1.PodDisruptionBudget) { b.Status.DisruptionsAllowed = 1 }, ready,
			"Cannot evict pod as it would violate the pod's disruption budget.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			held := budget("web")
			test.budget(held)
			c := newCluster(held, pod("web-1", test.pod))
			c.answer = refuses("web-1")
			found, err := drain.Drainer{Client: c, Policy: policy()}.Preflight(t.Context(), n1(), nil)
			assert.NilError(t, err)
			assert.Equal(t, strings.TrimSpace(found.Pods[0].Blocked), test.want)
		})
	}
}

package join_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

const (
	boundGroup   = "system:bootstrappers:argosy"
	kubeadmGroup = "system:bootstrappers:kubeadm:default-node-token"
	roleName     = "argosy:node-bootstrap"
)

// mayApprove lets the account of the kubeconfig do all but the rights in denied, each as "verb resource".
func mayApprove(client *fake.Clientset, denied ...string) *fake.Clientset {
	client.PrependReactor("create", "selfsubjectaccessreviews", func(action clienttesting.Action) (bool,
		runtime.Object, error,
	) {
		review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview).DeepCopy()
		right := review.Spec.ResourceAttributes
		review.Status.Allowed = !slices.Contains(denied, right.Verb+" "+right.Resource)
		return true, review, nil
	})
	client.PrependReactor("create", "subjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object,
		error,
	) {
		return true, action.(clienttesting.CreateAction).GetObject(), nil
	})
	return client
}

// withoutRetries makes a Joiner as newJoiner does, whose first error is its last.
func withoutRetries(t *testing.T, machine *fakeMachine, client *fake.Clientset) *join.Joiner {
	t.Helper()
	joiner := newJoiner(t, machine, client)
	joiner.Cluster.Fleet.Limits.RetryBudget.Duration = 0
	return joiner
}

// ask makes a kubelet's request for a client certificate, with the token of an operation and changed by edit.
func ask(t *testing.T, client *fake.Clientset, name, token string,
	edit func(*x509.CertificateRequest, *certificatesv1.CertificateSigningRequestSpec),
) {
	t.Helper()
	template := &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "system:node:m1", Organization: []string{"system:nodes"}},
	}
	id, _, _ := strings.Cut(token, ".")
	request := certificatesv1.CertificateSigningRequestSpec{
		SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName, Username: "system:bootstrap:" + id,
		Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
	}
	if edit != nil {
		edit(template, &request)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	assert.NilError(t, err)
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	assert.NilError(t, err)
	request.Request = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	_, err = client.CertificatesV1().CertificateSigningRequests().Create(t.Context(),
		&certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: request},
		metav1.CreateOptions{})
	assert.NilError(t, err)
}

// answerTo returns the condition of a request, "" when it has none.
func answerTo(t *testing.T, client *fake.Clientset, name string) certificatesv1.RequestConditionType {
	t.Helper()
	request, err := client.CertificatesV1().CertificateSigningRequests().Get(t.Context(), name, metav1.GetOptions{})
	assert.NilError(t, err)
	if len(request.Status.Conditions) == 0 {
		return ""
	}
	assert.Equal(t, len(request.Status.Conditions), 1)
	return request.Status.Conditions[0].Type
}

// awaitAnswer waits until a request has an answer, or for a minute. It does not end the goroutine of a machine.
func awaitAnswer(t *testing.T, client *fake.Clientset, name string) {
	t.Helper()
	for range 12_000 {
		if answerTo(t, client, name) != "" {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("request %s has no answer", name)
}

// joining is a machine that a join makes a Ready node, whose requests for certificates are made by inKubeadm.
func joining(t *testing.T, client *fake.Clientset, inKubeadm func(token string)) *fakeMachine {
	t.Helper()
	machine := &fakeMachine{plan: spec.Status{Total: 9, Phases: phases(spec.Wanted)}, result: succeeded()}
	machine.inKubeadm = func(op spec.Operation) {
		inKubeadm(op.Secrets.BootstrapToken)
		_, err := client.CoreV1().Nodes().Create(t.Context(), readyNode("m1", corev1.ConditionTrue),
			metav1.CreateOptions{})
		assert.Check(t, err)
	}
	return machine
}

func TestATokenGetsTheCertificateOfItsNodeAlone(t *testing.T) {
	client := newClient()
	denied := []string{"other-node", "longer-name", "administrator", "server", "no-client", "with-address"}
	var lines safeLines
	machine := joining(t, client, func(token string) {
		held := tokens(t, client)
		assert.Equal(t, held[0].StringData["auth-extra-groups"], boundGroup)
		ask(t, client, "other-node", token, func(r *x509.CertificateRequest, _ *spec509) {
			r.Subject.CommonName = "system:node:m2"
		})
		ask(t, client, "longer-name", token, func(r *x509.CertificateRequest, _ *spec509) {
			r.Subject.CommonName = "system:node:m11"
		})
		ask(t, client, "administrator", token, func(r *x509.CertificateRequest, _ *spec509) {
			r.Subject.Organization = []string{"system:nodes", "system:masters"}
		})
		ask(t, client, "server", token, func(_ *x509.CertificateRequest, s *spec509) {
			s.Usages = append(s.Usages, certificatesv1.UsageServerAuth)
		})
		ask(t, client, "no-client", token, func(_ *x509.CertificateRequest, s *spec509) { s.Usages = s.Usages[:1] })
		ask(t, client, "with-address", token, func(r *x509.CertificateRequest, _ *spec509) {
			r.IPAddresses = []net.IP{net.ParseIP("192.0.2.9")}
		})
		ask(t, client, "other-token", "fedcba.0123456789abcdef", nil)
		ask(t, client, "other-signer", token, func(_ *x509.CertificateRequest, s *spec509) {
			s.SignerName = certificatesv1.KubeAPIServerClientSignerName
		})
		ask(t, client, "own", token, func(_ *x509.CertificateRequest, s *spec509) {
			s.Usages = append(s.Usages, certificatesv1.UsageKeyEncipherment) // as with an RSA key
		})
		for _, name := range append([]string{"own"}, denied...) {
			awaitAnswer(t, client, name)
		}
	})
	joiner := withoutRetries(t, machine, client)
	outcome, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1),
		operation.AsText(lines.add))
	assert.NilError(t, err)
	assert.Equal(t, answerTo(t, client, "own"), certificatesv1.CertificateApproved)
	for _, name := range denied {
		assert.Equal(t, answerTo(t, client, name), certificatesv1.CertificateDenied, name)
		assert.Assert(t, strings.Contains(outcome.String(), "CertificateSigningRequest "+name), outcome.String())
	}
	assert.Equal(t, len(outcome.Remarks), 6)
	assert.Assert(t, strings.Contains(outcome.Remarks[4],
		`was denied: it asks for a certificate to be used for`), outcome.Remarks)
	assert.Assert(t, strings.Contains(lines.String(), `of user "system:node:m2"`), lines.String())
	for _, name := range []string{"other-token", "other-signer"} {
		assert.Equal(t, answerTo(t, client, name), certificatesv1.RequestConditionType(""), name)
	}
}

// safeLines are lines of progress, which several goroutines report.
type safeLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *safeLines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

func (l *safeLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// spec509 is the part of a request that ask lets a test change.
type spec509 = certificatesv1.CertificateSigningRequestSpec

func TestTheNextCallApprovesARequestThatWaits(t *testing.T) {
	client := newClient()
	machine := &fakeMachine{
		plan: spec.Status{Total: 9, Phases: phases(spec.Wanted)}, watching: make(chan struct{}),
	}
	machine.onStart = func(op spec.Operation) {
		ask(t, client, "own", op.Secrets.BootstrapToken, nil)
		ask(t, client, "other", op.Secrets.BootstrapToken, func(r *x509.CertificateRequest, _ *spec509) {
			r.Subject.CommonName = "system:node:m2"
		})
	}
	ctx, detach := context.WithCancelCause(t.Context())
	go func() {
		<-machine.watching
		detach(errDetach)
	}()
	joiner := withoutRetries(t, machine, client)
	_, err := joiner.Join(ctx, firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
	assert.ErrorIs(t, err, errDetach)
	assert.Equal(t, answerTo(t, client, "own"), certificatesv1.RequestConditionType(""))

	next := joining(t, client, func(string) {
		awaitAnswer(t, client, "own")
		awaitAnswer(t, client, "other")
	})
	next.facts.Working = machine.started[0].ID
	joiner = withoutRetries(t, next, client)
	_, err = joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, next.started[0].Secrets.BootstrapToken, "")
	assert.Equal(t, answerTo(t, client, "own"), certificatesv1.CertificateApproved)
	assert.Equal(t, answerTo(t, client, "other"), certificatesv1.CertificateDenied)
	assert.Equal(t, len(tokens(t, client)), 0)
}

func TestATokenDoesNotReplaceAReadyNode(t *testing.T) {
	client := newClient()
	waiting := make(chan struct{}, 100)
	machine := joining(t, client, func(token string) {
		node, err := client.CoreV1().Nodes().Create(t.Context(), readyNode("m1", corev1.ConditionTrue),
			metav1.CreateOptions{})
		assert.NilError(t, err)
		ask(t, client, "own", token, nil)
		<-waiting
		assert.Equal(t, answerTo(t, client, "own"), certificatesv1.RequestConditionType(""))
		node.Status.Conditions[0].Status = corev1.ConditionUnknown
		_, err = client.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{})
		assert.NilError(t, err)
		awaitAnswer(t, client, "own") // once the kubelet of before is gone
		assert.Equal(t, answerTo(t, client, "own"), certificatesv1.CertificateApproved)
		assert.NilError(t, client.CoreV1().Nodes().Delete(t.Context(), "m1", metav1.DeleteOptions{}))
	})
	joiner := withoutRetries(t, machine, client)
	_, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1),
		operation.AsText(func(line string) {
			if strings.Contains(line, "CertificateSigningRequest own is not approved while node m1 is Ready") {
				waiting <- struct{}{}
			}
		}))
	assert.NilError(t, err)
}

func TestAFailedJoinTellsTheRequestsThatWereDenied(t *testing.T) {
	client := newClient()
	machine := joining(t, client, func(token string) {
		ask(t, client, "other", token, func(r *x509.CertificateRequest, _ *spec509) {
			r.Subject.CommonName = "system:node:m2"
		})
		awaitAnswer(t, client, "other")
	})
	machine.result = spec.Status{State: spec.Failed, Error: &spec.Error{
		Class: errclass.Permanent, Phase: "kubeadm", Message: "joining: context deadline exceeded",
	}}
	joiner := withoutRetries(t, machine, client)
	_, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
	first, rest, _ := strings.Cut(err.Error(), "\n")
	assert.Assert(t, strings.HasSuffix(first, "context deadline exceeded"), first)
	assert.Assert(t, strings.Contains(rest, "CertificateSigningRequest other"), rest)
	assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
}

func TestAnotherApproversCertificateIsTold(t *testing.T) {
	client, told := newClient(), make(chan struct{}, 100)
	machine := joining(t, client, func(token string) {
		ask(t, client, "own", token, nil)
		ask(t, client, "other", token, func(r *x509.CertificateRequest, _ *spec509) {
			r.Subject.CommonName = "system:node:m2"
		})
		<-told
	})
	client.PrependReactor("create", "certificatesigningrequests", func(action clienttesting.Action) (bool,
		runtime.Object, error,
	) {
		request := action.(clienttesting.CreateAction).GetObject().(*certificatesv1.CertificateSigningRequest)
		request.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{
			Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved",
		}}
		return false, nil, nil
	})
	joiner := withoutRetries(t, machine, client)
	outcome, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1),
		operation.AsText(func(line string) {
			if strings.Contains(line, "CertificateSigningRequest other") {
				told <- struct{}{}
			}
		}))
	assert.NilError(t, err)
	assert.Equal(t, len(outcome.Remarks), 1, outcome.Remarks)
	assert.Assert(t, strings.Contains(outcome.Remarks[0], "was approved by another approver"), outcome.Remarks)
}

// An account that lacks a right, and a cluster that approves by itself, have tokens as kubeadm makes them:
//
//	the account lacks          | the cluster approves | group of the token | remark
//	nothing                    | no                   | ours               | none
//	a right of an approver     | no                   | kubeadm's          | the right
//	rights to make roles       | no                   | kubeadm's          | the right
//	nothing                    | all tokens           | kubeadm's          | that
func TestATokenIsBoundToItsNodeWhereTheAccountMayApprove(t *testing.T) {
	forbidden := func(verb, resource string) func(*fake.Clientset) {
		return func(client *fake.Clientset) {
			client.PrependReactor(verb, resource, func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, roleName,
					errors.New("no"))
			})
		}
	}
	for name, tt := range map[string]struct {
		change func(*fake.Clientset)
		denied string
		remark string
	}{
		"bound": {},
		"may not see requests": {
			denied: "watch certificatesigningrequests",
			remark: "watch certificatesigningrequests",
		},
		"may not approve": {
			denied: "update certificatesigningrequests",
			remark: "update certificatesigningrequests/approval",
		},
		"may not use the signer": {
			denied: "approve signers",
			remark: "approve signers kubernetes.io/kube-apiserver-client-kubelet",
		},
		"may not ask": {
			change: forbidden("create", "selfsubjectaccessreviews"),
			remark: "create selfsubjectaccessreviews",
		},
		"may not read roles": {
			change: forbidden("get", "clusterroles"),
			remark: "get and create clusterroles argosy:node-bootstrap",
		},
		"may not bind": {
			change: forbidden("create", "rolebindings"),
			remark: "get and create rolebindings argosy:node-bootstrap",
		},
		"approves all": {change: func(client *fake.Clientset) {
			client.PrependReactor("create", "subjectaccessreviews", func(action clienttesting.Action) (bool,
				runtime.Object, error,
			) {
				review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview)
				review.Status.Allowed = review.Spec.ResourceAttributes.Subresource == "nodeclient" &&
					slices.Contains(review.Spec.Groups, "system:bootstrappers")
				return true, review, nil
			})
		}, remark: "the cluster approves the requests of all bootstrap tokens by itself"},
		"may not ask about others": {change: forbidden("create", "subjectaccessreviews")},
	} {
		t.Run(name, func(t *testing.T) {
			client := mayApprove(fake.NewClientset(), tt.denied)
			if tt.change != nil {
				tt.change(client)
			}
			machine := joining(t, client, func(token string) {
				held, want := tokens(t, client), boundGroup
				if tt.remark != "" {
					want = kubeadmGroup
				}
				assert.Equal(t, held[0].StringData["auth-extra-groups"], want)
				ask(t, client, "own", token, nil)
				if tt.remark == "" {
					awaitAnswer(t, client, "own")
				}
			})
			joiner := withoutRetries(t, machine, client)
			entries, err := joiner.Plan(t.Context(), joiner.Cluster.Fleet.Machines, operation.NoProgress{})
			assert.NilError(t, err)
			outcome, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1),
				operation.NoProgress{})
			assert.NilError(t, err)
			if tt.remark == "" {
				assert.Equal(t, len(entries[0].Remarks)+len(outcome.Remarks), 0, "%v %v", entries, outcome)
				return
			}
			assert.Equal(t, answerTo(t, client, "own"), certificatesv1.RequestConditionType(""),
				"kubeadm's binding does")
			for _, remarks := range [][]string{entries[0].Remarks, outcome.Remarks} {
				assert.Assert(t, strings.Contains(strings.Join(remarks, "\n"), tt.remark), remarks)
			}
			assert.Assert(t, strings.Contains(outcome.String(), tt.remark))
		})
	}
}

func TestTheRolesOfTokensAreMadeOnceAndLeftAlone(t *testing.T) {
	theirs := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: roleName, Labels: map[string]string{"a": "b"}}}
	client := newClient(theirs)
	created := func() []string {
		var created []string
		for _, action := range client.Actions() {
			if action, is := action.(clienttesting.CreateAction); is &&
				action.GetResource().Group == rbacv1.GroupName {
				created = append(created, action.GetResource().Resource)
			}
		}
		return created
	}
	for range 2 { // of two workflows
		machine := joining(t, client, func(string) {})
		joiner := withoutRetries(t, machine, client)
		_, err := joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
		assert.NilError(t, err)
		assert.DeepEqual(t, created(), []string{"clusterrolebindings", "roles", "rolebindings"})
		assert.NilError(t, client.CoreV1().Nodes().Delete(t.Context(), "m1", metav1.DeleteOptions{}))
	}
	held, err := client.RbacV1().ClusterRoles().Get(t.Context(), roleName, metav1.GetOptions{})
	assert.NilError(t, err)
	assert.DeepEqual(t, held, theirs)
	binding, err := client.RbacV1().ClusterRoleBindings().Get(t.Context(), roleName, metav1.GetOptions{})
	assert.NilError(t, err)
	assert.DeepEqual(t, binding.Subjects, []rbacv1.Subject{
		{Kind: "Group", APIGroup: rbacv1.GroupName, Name: boundGroup},
	})
}

func TestAPlanMakesNoRoles(t *testing.T) {
	client := newClient()
	dry := 0
	client.PrependReactor("create", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		create := action.(clienttesting.CreateActionImpl)
		if create.GetResource().Group == rbacv1.GroupName {
			assert.Check(t, slices.Equal(create.CreateOptions.DryRun, []string{metav1.DryRunAll}), action)
			dry++
			if strings.HasSuffix(create.GetResource().Resource, "bindings") {
				return true, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "clusterroles"}, roleName)
			}
			return true, create.GetObject(), nil
		}
		return false, nil, nil
	})
	joiner := withoutRetries(t, joining(t, client, nil), client)
	entries, err := joiner.Plan(t.Context(), joiner.Cluster.Fleet.Machines, operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, dry, 4)
	assert.Equal(t, len(entries[0].Remarks), 0, entries[0].Remarks)
}

func TestATokenForABundleAloneIsBoundToNoNode(t *testing.T) {
	client := newClient(markedNode("m1"))
	plan := differing()
	plan.Phases = append(plan.Phases, spec.Phase{Name: "bundle", Outcome: spec.Wanted})
	machine := (&fakeMachine{plan: plan, facts: joinedFacts()}).reconciles()
	done := machine.onStart
	machine.onStart = func(op spec.Operation) {
		held := tokens(t, client)
		assert.Equal(t, held[0].StringData["auth-extra-groups"], boundGroup)
		assert.Equal(t, len(held[0].Annotations), 0)
		done(op)
	}
	joiner := withoutRetries(t, machine, client)
	outcome, err := joiner.Reconcile(t.Context(), firstMachine(joiner), operation.NewLimiter(1),
		operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, len(outcome.Remarks), 0)
}

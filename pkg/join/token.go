package join

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	bootstraputil "k8s.io/cluster-bootstrap/token/util"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/node/spec"
)

// MachineLabel is on every bootstrap token of ours and names the machine it was made for.
const MachineLabel = "argosy.dev/machine"

// tokenLifetime bounds a token that is not deleted, because the plugin died and never came back.
const tokenLifetime = 15 * time.Minute

// tokenLife is how long an operation may need its token: the user's own commands may take all the time that it has.
func tokenLife(operation spec.Operation) time.Duration {
	if len(operation.Join.Hooks.PreInstall)+len(operation.Join.Hooks.PreJoin) == 0 {
		return tokenLifetime
	}
	return max(tokenLifetime, time.Duration(operation.Timeout))
}

// BootstrapGroup is the group that kubeadm's roles are bound to.
const BootstrapGroup = "system:bootstrappers:kubeadm:default-node-token"

// mintToken makes one bootstrap token for one machine and returns it as "id.secret".
func mintToken(ctx context.Context, client kubernetes.Interface, machine string, life time.Duration,
	now time.Time,
) (string, error) {
	token, err := bootstraputil.GenerateBootstrapToken()
	if err != nil {
		return "", fmt.Errorf("generating a bootstrap token for machine %q: %w", machine, err)
	}
	id, key := token[:6], token[7:]
	_, err = client.CoreV1().Secrets(metav1.NamespaceSystem).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:   bootstraputil.BootstrapTokenSecretName(id),
			Labels: map[string]string{MachineLabel: machine},
		},
		Type: bootstrapapi.SecretTypeBootstrapToken,
		StringData: map[string]string{
			bootstrapapi.BootstrapTokenIDKey:               id,
			bootstrapapi.BootstrapTokenSecretKey:           key,
			bootstrapapi.BootstrapTokenDescriptionKey:      "Argosy: join of machine " + machine,
			bootstrapapi.BootstrapTokenExpirationKey:       now.Add(life).UTC().Format(time.RFC3339),
			bootstrapapi.BootstrapTokenUsageAuthentication: "true",
			bootstrapapi.BootstrapTokenExtraGroupsKey:      BootstrapGroup,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("creating a bootstrap token for machine %q: %w", machine, apply.Classify(err))
	}
	return token, nil
}

// revokeTokens deletes every token made for machine, also those of an attempt whose plugin died. It returns how many.
func revokeTokens(ctx context.Context, client kubernetes.Interface, machine string) (int, error) {
	tokens, err := machineTokens(ctx, client, machine)
	if err != nil {
		return 0, err
	}
	for _, token := range tokens {
		err := client.CoreV1().Secrets(metav1.NamespaceSystem).Delete(ctx, token.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return 0, fmt.Errorf("deleting bootstrap token %q of machine %q: %w", token.Name, machine,
				apply.Classify(err))
		}
	}
	return len(tokens), nil
}

func machineTokens(ctx context.Context, client kubernetes.Interface, machine string) ([]corev1.Secret, error) {
	list, err := client.CoreV1().Secrets(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{
		LabelSelector: labels.Set{MachineLabel: machine}.String(),
	})
	if err != nil {
		return nil, fmt.Errorf("listing bootstrap tokens of machine %q: %w", machine, apply.Classify(err))
	}
	return list.Items, nil
}

package join

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
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

// tokenRenewal is the age at which the token of a join that waits for its admission is renewed.
const tokenRenewal = tokenLifetime / 3

// tokenLife is how long an operation may need its token: the user's own commands may take all the time that it has.
func tokenLife(operation spec.Operation) time.Duration {
	if len(operation.Join.Hooks.PreInstall)+len(operation.Join.Hooks.PreJoin) == 0 {
		return tokenLifetime
	}
	return max(tokenLifetime, time.Duration(operation.Timeout))
}

// nodeAnnotation of a bootstrap token names the node that it was made for. Others than kubelets of that node get no
// certificate with it. Tokens without it are of BootstrapGroup, or fetch a bundle and join nothing.
const nodeAnnotation = "argosy.dev/node"

// tokenRequest is the bootstrap token to make.
type tokenRequest struct {
	machine, group string
	// node that it is bound to; empty when it is bound to none.
	node string
	life time.Duration
}

// mintToken makes one bootstrap token for one machine and returns it as "id.secret".
func mintToken(ctx context.Context, client kubernetes.Interface, wanted tokenRequest, now time.Time) (string, error) {
	token, err := bootstraputil.GenerateBootstrapToken()
	if err != nil {
		return "", fmt.Errorf("generating a bootstrap token for machine %q: %w", wanted.machine, err)
	}
	id, key := token[:6], token[7:]
	meta := metav1.ObjectMeta{
		Name:   bootstraputil.BootstrapTokenSecretName(id),
		Labels: map[string]string{MachineLabel: wanted.machine},
	}
	if wanted.node != "" {
		meta.Annotations = map[string]string{nodeAnnotation: wanted.node}
	}
	_, err = client.CoreV1().Secrets(metav1.NamespaceSystem).Create(ctx, &corev1.Secret{
		ObjectMeta: meta,
		Type:       bootstrapapi.SecretTypeBootstrapToken,
		StringData: map[string]string{
			bootstrapapi.BootstrapTokenIDKey:               id,
			bootstrapapi.BootstrapTokenSecretKey:           key,
			bootstrapapi.BootstrapTokenDescriptionKey:      "Argosy: join of machine " + wanted.machine,
			bootstrapapi.BootstrapTokenExpirationKey:       now.Add(wanted.life).UTC().Format(time.RFC3339),
			bootstrapapi.BootstrapTokenUsageAuthentication: "true",
			bootstrapapi.BootstrapTokenExtraGroupsKey:      wanted.group,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("creating a bootstrap token for machine %q: %w", wanted.machine, apply.Classify(err))
	}
	return token, nil
}

// boundTokens returns the users of the machine's tokens that are bound to node.
func boundTokens(ctx context.Context, client kubernetes.Interface, machine, node string) ([]string, error) {
	tokens, err := machineTokens(ctx, client, machine)
	if err != nil {
		return nil, err
	}
	var users []string
	for _, token := range tokens {
		if token.Annotations[nodeAnnotation] == node {
			id := strings.TrimPrefix(token.Name, bootstrapapi.BootstrapTokenSecretPrefix)
			users = append(users, bootstrapapi.BootstrapUserPrefix+id)
		}
	}
	return users, nil
}

// renewTokens has the machine's tokens last until a later time.
func renewTokens(ctx context.Context, client kubernetes.Interface, machine string, until time.Time) error {
	tokens, err := machineTokens(ctx, client, machine)
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"data": map[string][]byte{
		bootstrapapi.BootstrapTokenExpirationKey: []byte(until.UTC().Format(time.RFC3339)),
	}})
	if err != nil {
		return fmt.Errorf("encoding when the bootstrap tokens of machine %q end: %w", machine, err)
	}
	for _, token := range tokens {
		_, err := client.CoreV1().Secrets(metav1.NamespaceSystem).Patch(ctx, token.Name, types.MergePatchType, patch,
			metav1.PatchOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("renewing bootstrap token %q of machine %q: %w", token.Name, machine,
				apply.Classify(err))
		}
	}
	return nil
}

// revokeTokens deletes every token made for machine, also those of an attempt whose plugin died. It returns how many.
func revokeTokens(ctx context.Context, client kubernetes.Interface, machine string) (int, error) {
	tokens, err := machineTokens(ctx, client, machine)
	if err != nil {
		return 0, err
	}
	return len(tokens), deleteTokens(ctx, client, machine, tokens)
}

// deleteTokens deletes tokens that were made for machine.
func deleteTokens(ctx context.Context, client kubernetes.Interface, machine string, tokens []corev1.Secret) error {
	for _, token := range tokens {
		err := client.CoreV1().Secrets(metav1.NamespaceSystem).Delete(ctx, token.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting bootstrap token %q of machine %q: %w", token.Name, machine,
				apply.Classify(err))
		}
	}
	return nil
}

// tokensByMachine lists all of our tokens, with one request, by the machine that each was made for.
func tokensByMachine(ctx context.Context, client kubernetes.Interface) (map[string][]corev1.Secret, error) {
	list, err := client.CoreV1().Secrets(metav1.NamespaceSystem).List(ctx,
		metav1.ListOptions{LabelSelector: MachineLabel})
	if err != nil {
		return nil, fmt.Errorf("listing bootstrap tokens: %w", apply.Classify(err))
	}
	byMachine := map[string][]corev1.Secret{}
	for _, token := range list.Items {
		machine := token.Labels[MachineLabel]
		byMachine[machine] = append(byMachine[machine], token)
	}
	return byMachine, nil
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

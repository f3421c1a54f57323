package join

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/spec"
)

// registeredNode has the fields of a node that tell machines apart.
type registeredNode struct {
	Status struct {
		Addresses []struct {
			Type    string `json:"type"`
			Address string `json:"address"`
		} `json:"addresses"`
		NodeInfo struct {
			MachineID string `json:"machineID"`
		} `json:"nodeInfo"`
	} `json:"status"`
}

// maxNode bounds the answer with a node, in bytes.
const maxNode = 4 << 20

// checkNameFree asks the API server, with the token and right before kubeadm runs, for a node of the wanted name, and
// refuses to take the place of another machine's. An answer that it does not get is kubeadm's to explain, which asks
// the same.
func checkNameFree(ctx context.Context, c *node.Context) error {
	j := c.Operation.Join
	registered, err := readNode(ctx, j, c.Operation.Secrets.BootstrapToken)
	if err != nil {
		fmt.Fprintln(c.Log, err)
		return nil
	}
	if registered == nil {
		return nil
	}
	differences, _ := registered.identity().DifferencesFrom(spec.MachineIdentity{
		ID: inspect.MachineID(c.Host), Addresses: inspect.Addresses(),
	})
	if len(differences) == 0 {
		return nil
	}
	return &node.Failure{
		Err: errclass.Errorf(errclass.Configuration, "joining the cluster as %q: it has a node of that name, and "+
			"it is not this machine: %s", j.NodeName, strings.Join(differences, ", ")),
		Hint: fmt.Sprintf("set nodeName in argosy.yaml, or if that machine is gone, or this one was installed anew, "+
			"delete its node first (kubectl delete node %s)", j.NodeName),
	}
}

// identity returns the identity of the node's machine.
func (n *registeredNode) identity() spec.MachineIdentity {
	identity := spec.MachineIdentity{ID: n.Status.NodeInfo.MachineID}
	for _, address := range n.Status.Addresses {
		if strings.HasSuffix(address.Type, "IP") {
			identity.Addresses = append(identity.Addresses, address.Address)
		}
	}
	return identity
}

// readNode returns the node of the wanted name; nil when there is none.
func readNode(ctx context.Context, j *spec.Join, token string) (*registeredNode, error) {
	address := strings.TrimSuffix(j.Server, "/") + "/api/v1/nodes/" + url.PathEscape(j.NodeName)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(j.CACert))
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("asking for node %q: %w", j.NodeName, err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("asking for node %q: %w", j.NodeName, unwrapped(err))
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, nil
	default:
		return nil, fmt.Errorf("asking for node %q: %s", j.NodeName, response.Status)
	}
	found := &registeredNode{}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxNode)).Decode(found); err != nil {
		return nil, fmt.Errorf("asking for node %q: %w", j.NodeName, err)
	}
	return found, nil
}

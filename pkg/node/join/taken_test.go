package join

import (
	"context"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/inspect"
)

func TestKubeadmIsNotRunForAnotherMachinesNode(t *testing.T) {
	own := inspect.Addresses()
	for name, test := range map[string]struct {
		status  int
		node    string
		refused string
	}{
		"no node":                {status: http.StatusNotFound},
		"may not be asked":       {status: http.StatusForbidden},
		"not a node":             {status: http.StatusOK, node: "<html>"},
		"the kubelet never came": {status: http.StatusOK, node: `{"status": {}}`},
		"this machine's":         {status: http.StatusOK, node: `{"status": {"nodeInfo": {"machineID": "1111"}}}`},
		"another machine-id": {
			status: http.StatusOK, node: `{"status": {"nodeInfo": {"machineID": "aaaa"}}}`,
			refused: "its machine-id is aaaa, not 1111",
		},
		"another address": {
			status: http.StatusOK,
			node: `{"status": {"nodeInfo": {"machineID": "1111"}, "addresses": [{"type": "Hostname", "address": "m1"},
				{"type": "InternalIP", "address": "192.0.2.77"}]}}`,
			refused: "its address is 192.0.2.77",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if len(own) == 0 && strings.Contains(test.refused, "address") {
				t.Fatal("this test needs a network interface")
			}
			m := newMachine(t)
			m.write("/etc/machine-id", "1111\n")
			var asked, login string
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked, login = r.URL.Path, r.Header.Get("Authorization")
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.node)
			}))
			defer server.Close()
			m.join.Server = server.URL
			m.join.CACert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
			_, err := applyKubeadm(context.Background(), m.context)
			assert.Equal(t, asked, "/api/v1/nodes/m1")
			assert.Equal(t, login, "Bearer "+testToken)
			assert.Equal(t, m.programs.called("kubeadm join"), test.refused == "")
			if test.refused == "" {
				assert.ErrorContains(t, err, "kubeadm ended well, but node m1 has to join")
				return
			}
			assert.ErrorContains(t, err, test.refused)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		})
	}
}

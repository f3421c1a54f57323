package controlplane_test

import (
	"os"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/internal/controlplane"
)

func TestInstalledRoleGrantsExactlyTheRulesOfARun(t *testing.T) {
	content, err := os.ReadFile("../../install/rbac/provision/role.yaml")
	assert.NilError(t, err)
	var role rbacv1.Role
	assert.NilError(t, yaml.Unmarshal([]byte(strings.Split(string(content), "\n---\n")[0]), &role))

	granted := map[string][]string{}
	for _, rule := range role.Rules {
		for _, resource := range rule.Resources {
			granted[rule.APIGroups[0]+"/"+resource] = rule.Verbs
		}
	}
	asked := map[string][]string{}
	for _, rule := range controlplane.Rules() {
		asked[rule.Group+"/"+rule.Resource] = rule.Verbs
	}
	assert.DeepEqual(t, granted, asked)
}

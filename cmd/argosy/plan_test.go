package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/join"
)

func TestPlanTellsTheRemarksOfTheDocuments(t *testing.T) {
	cluster, err := config.Parse("team-a", []byte("privateNodes: {enabled: true}\nsync: {toHost: {pods: {enabled: "+
		"true}}}\n"),
		[]byte("apiVersion: argosy.dev/v1alpha1\nkind: Fleet\ncluster: {kubeconfigSecret: admin}\n"+
			"machines: [{name: m1, address: 192.0.2.1}]\nbundles: {repository: \"http://127.0.0.1:1\"}\n"))
	assert.NilError(t, err)
	joiner := &join.Joiner{
		Cluster: cluster, Target: &join.Target{Client: fake.NewClientset()}, Version: "v1.34.4",
		Repository: &bundle.Repository{URL: "http://127.0.0.1:1", Format: "tar.gz"},
	}
	var out, errs bytes.Buffer
	command := planCommand()
	command.SetContext(t.Context())
	command.SetOut(&out)
	command.SetErr(&errs)
	_, err = planAndPrint(command, joiner, "all", "json")
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(errs.String(), "1 setting has the original's default"), errs.String())
	assert.Assert(t, json.Valid(out.Bytes()), "remarks are not part of the plan: %s", out.String())
}

package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"filippo.io/age"
)

// The rules of sections controlPlane.audit, .encryption and .archives of argosy.yaml.

var (
	// encryptionKeyName may stand in the prefix of an encrypted value, which ends with a colon.
	encryptionKeyName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)
	// groupResource is a resource and its API group, "secrets" or "deployments.apps".
	groupResource = regexp.MustCompile(`^[a-z][a-z0-9]*(\.[a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$`)
)

const (
	auditPolicyFile  = "audit-policy-file"
	encryptionConfig = "encryption-provider-config"
)

// checkEncryption checks the sections for a control plane that Argosy provisions.
func (d *document) checkEncryption(c *Cluster) {
	own := c.Fleet.ControlPlane
	api := c.VCluster.ControlPlane.Distro.K8s.APIServer
	d.checkAuditPolicy("controlPlane.audit.policy", own.Audit.Policy)
	for _, section := range []struct {
		key, argument string
		set           bool
	}{
		{"controlPlane.audit", auditPolicyFile, len(own.Audit.Policy.Rules) > 0},
		{"controlPlane.encryption", encryptionConfig, own.Encryption.Enabled()},
	} {
		switch {
		case !section.set:
		case len(api.Command) > 0:
			d.add(section.key, "has no effect: the API server has a command of its own", "remove it, or controlPlane."+
				"distro.k8s.apiServer.command of vcluster.yaml")
		case HasArgument(api.ExtraArgs, section.argument):
			d.add(section.key, fmt.Sprintf("cannot stand beside --%s in controlPlane.distro.k8s.apiServer.extraArgs "+
				"of vcluster.yaml", section.argument), "remove one of them")
		}
	}
	const key = "controlPlane.encryption"
	d.match(key+".keyName", own.Encryption.KeyName, encryptionKeyName, "the name of a key",
		`use small letters, digits, "-" and ".", e.g. "key2"`)
	for i, resource := range own.Encryption.Resources {
		at := fmt.Sprintf("%s.resources[%d]", key, i)
		d.match(at, resource, groupResource, "the name of a resource",
			`write e.g. "secrets" or "widgets.example.com"; a wildcard is not possible, since every object has to be `+
				"written again")
		if slices.Contains(own.Encryption.Resources[:i], resource) {
			d.add(at, "stands there twice", "remove one of them")
		}
	}
	if own.Encryption.Enabled() && len(own.Encryption.Resources) == 0 {
		d.add(key+".resources", "is empty", `write [secrets], or set provider: identity`)
	}
	d.checkArchives("controlPlane.archives", own.Archives)
	if own.Encryption.Enabled() && len(own.Archives.Recipients) == 0 {
		c.Remarks = append(c.Remarks, d.name+": there are no backups: controlPlane.encryption is on, and without "+
			"controlPlane.archives.recipients an archive would hold the keys in clear")
	}
}

// auditStages returns the stages of a request that the API server may log.
func auditStages() []string {
	return []string{"RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"}
}

// omittedStages checks stages that are not logged; the API server ends at an unknown one.
func (d *document) omittedStages(key string, stages []string) {
	for i, stage := range stages {
		if !slices.Contains(auditStages(), stage) {
			d.add(fmt.Sprintf("%s[%d]", key, i), shown(stage)+" is no stage of a request",
				"use "+strings.Join(auditStages(), ", "))
		}
	}
}

func (d *document) checkAuditPolicy(key string, p AuditPolicy) {
	d.omittedStages(key+".omitStages", p.OmitStages)
	for i, rule := range p.Rules {
		at := fmt.Sprintf("%s.rules[%d]", key, i)
		d.required(at+".level", rule.Level, `write e.g. "level: Metadata"`)
		d.omittedStages(at+".omitStages", rule.OmitStages)
		if len(rule.NonResourceURLs) > 0 && len(rule.Resources)+len(rule.Namespaces) > 0 {
			d.add(at+".nonResourceURLs", "cannot stand beside resources or namespaces", "make two rules of it")
		}
		for j, path := range rule.NonResourceURLs {
			if path != "*" && (!strings.HasPrefix(path, "/") || strings.Contains(strings.TrimSuffix(path, "*"), "*")) {
				d.add(fmt.Sprintf("%s.nonResourceURLs[%d]", at, j), shown(path)+" is no path",
					`begin it with "/"; "*" may be at its end`)
			}
		}
		for j, resources := range rule.Resources {
			if len(resources.ResourceNames) > 0 && len(resources.Resources) == 0 {
				d.add(fmt.Sprintf("%s.resources[%d].resources", at, j), "is missing, and resourceNames has no effect "+
					"without it", "write of which resources they are")
			}
		}
	}
	if len(p.Rules) == 0 && (len(p.OmitStages) > 0 || p.OmitManagedFields) {
		d.add(key+".rules", "is empty, and nothing is logged", "write e.g. [{level: Metadata}]")
	}
}

func (d *document) checkArchives(key string, a Archives) {
	for i, recipient := range a.Recipients {
		if strings.HasPrefix(strings.ToUpper(recipient), "AGE-SECRET-KEY-") {
			d.add(fmt.Sprintf("%s.recipients[%d]", key, i), "is an identity, which is secret, and not a recipient",
				`write its public key, which "age-keygen -y" prints, and make a new pair where others saw this one`)
			continue
		}
		if _, err := age.ParseX25519Recipient(recipient); err != nil {
			d.add(fmt.Sprintf("%s.recipients[%d]", key, i), shown(recipient)+" is no public key of age",
				`write one that "age-keygen" prints: age1…`)
		}
	}
	d.object(key+".identitySecret", a.IdentitySecret)
}

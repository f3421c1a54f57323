package config

// Audit has the API server log requests and who sent them.
type Audit struct {
	// Policy decides which requests are logged, a Kubernetes audit Policy without apiVersion and kind. The log is a
	// JSON document a line on the standard output of container kube-apiserver, unless extraArgs of the API server has
	// --audit-log-path. Without rules there is no log.
	Policy AuditPolicy `json:"policy,omitzero"`
}

// AuditPolicy is a Policy of audit.k8s.io/v1.
type AuditPolicy struct {
	// Rules are tried in their order; the first that matches a request decides.
	Rules []AuditRule `json:"rules,omitempty"`
	// OmitStages are not logged: RequestReceived, ResponseStarted, ResponseComplete or Panic.
	// +example=[RequestReceived]
	OmitStages []string `json:"omitStages,omitempty"`
	// OmitManagedFields leaves the managed fields of objects out.
	// +example=true
	OmitManagedFields bool `json:"omitManagedFields,omitempty"`
}

// AuditRule is how much is logged of some requests. Empty lists match all.
type AuditRule struct {
	// Level is None, Metadata, Request, which adds the objects of requests, or RequestResponse, which adds those of
	// responses too. Objects of Secrets are logged in clear.
	// +example=Metadata
	Level string `json:"level" enum:"None,Metadata,Request,RequestResponse"`
	// Users of the requests.
	// +example=['system:kube-proxy']
	Users []string `json:"users,omitempty"`
	// UserGroups have one group of the user at least.
	// +example=['system:nodes']
	UserGroups []string `json:"userGroups,omitempty"`
	// Verbs of the requests.
	// +example=[create, delete]
	Verbs []string `json:"verbs,omitempty"`
	// Resources that are asked for.
	Resources []AuditResources `json:"resources,omitempty"`
	// Namespaces of the resources; "" stands for resources without one.
	// +example=[kube-system]
	Namespaces []string `json:"namespaces,omitempty"`
	// NonResourceURLs are paths of other requests; "*" at their end stands for any rest.
	// +example=['/healthz*']
	NonResourceURLs []string `json:"nonResourceURLs,omitempty"`
	// OmitStages are not logged, beside those of the policy: RequestReceived, ResponseStarted, ResponseComplete, Panic.
	// +example=[RequestReceived]
	OmitStages []string `json:"omitStages,omitempty"`
	// OmitManagedFields overrides that of the policy.
	// +example=true
	OmitManagedFields *bool `json:"omitManagedFields,omitempty"`
}

// AuditResources are resources of one API group.
type AuditResources struct {
	// Group of the resources; "" is the core group.
	// +example=apps
	Group string `json:"group,omitempty"`
	// Resources in the plural, with a subresource behind a slash; empty for all of the group.
	// +example=[secrets, pods/exec]
	Resources []string `json:"resources,omitempty"`
	// ResourceNames of objects.
	// +example=[controller-leader]
	ResourceNames []string `json:"resourceNames,omitempty"`
}

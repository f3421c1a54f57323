// Package factory turns a cluster's two documents into things to work with: connections to its machines, its bundle
// repository, and the cluster itself. It is the one place that reads Secrets; none of them leaves it but to the
// connection that needs it.
package factory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/version"

	"argosy.dev/argosy/internal/sources"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/machine"
	"argosy.dev/argosy/pkg/secret"
	"argosy.dev/argosy/pkg/spread"
	"argosy.dev/argosy/pkg/ssh"
)

// HostKeys keeps the host keys that were trusted on first use.
type HostKeys interface {
	// Load returns the recorded known_hosts lines of a cluster, empty when there are none.
	Load(ctx context.Context, cluster string) ([]byte, error)
	// Append records one line.
	Append(ctx context.Context, cluster, line string) error
}

// Tools are shared by all opened clusters.
type Tools struct {
	// Agent carries argosy-node.
	Agent machine.Agent
	// Pool reuses connections.
	Pool *ssh.Pool
	// Sources are the hosts from which images and bundles may come.
	Sources sources.List
}

// Open reads cluster from source and makes a Joiner for it. keys may be nil where first use is never trusted.
func Open(ctx context.Context, source config.Source, keys HostKeys, tools Tools, cluster string) (*join.Joiner,
	error,
) {
	joiner, _, err := open(ctx, source, keys, tools, cluster)
	return joiner, err
}

// open returns, beside the Joiner, the connector to its machines.
func open(ctx context.Context, source config.Source, keys HostKeys, tools Tools, cluster string) (*join.Joiner,
	*connector, error,
) {
	documents, err := config.Load(ctx, source, cluster)
	if err != nil {
		return nil, nil, fmt.Errorf("loading cluster %q: %w", cluster, err)
	}
	target, err := join.Connect(ctx, source, documents)
	if err != nil {
		return nil, nil, err
	}
	connector := newConnector(source, keys, documents)
	repository, err := openRepository(ctx, documents, target, tools.Sources)
	if err != nil {
		return nil, nil, err
	}
	logins, err := registryLogins(ctx, source, documents)
	if err != nil {
		return nil, nil, err
	}
	if err := config.CheckVersion(machineVersion(documents, target)); err != nil {
		return nil, nil, err
	}
	return &join.Joiner{
		Logins:     logins,
		Cluster:    documents,
		Target:     target,
		Version:    machineVersion(documents, target),
		Repository: repository,
		Machine:    func(m config.Machine) join.Machine { return connector.machine(m, tools) },
		Images:     connector.supply(tools.Sources),
		Spread:     spread.NewTracker(),
	}, connector, nil
}

// machineVersion returns the version that machines get. In a cluster that Argosy does not host it is the one in the
// documents; otherwise it is the version of the control plane, which machines follow, also while the documents name an
// earlier or a later one.
func machineVersion(documents *config.Cluster, target *join.Target) string {
	said := documents.KubernetesVersion()
	wanted, err := version.ParseSemantic(said)
	if err != nil {
		return target.Version
	}
	runs, err := version.ParseSemantic(target.Version)
	if err != nil || !documents.Hosted() ||
		runs.WithPreRelease("").WithBuildMetadata("").EqualTo(wanted.WithPreRelease("").WithBuildMetadata("")) {
		return said
	}
	return target.Version
}

// connector makes connection settings out of documents and Secrets.
type connector struct {
	source  config.Source
	keys    HostKeys
	cluster *config.Cluster

	mu      sync.Mutex
	secrets map[string]map[string]secret.Value
	// read is when each of secrets was read.
	read map[string]time.Time
}

func newConnector(source config.Source, keys HostKeys, cluster *config.Cluster) *connector {
	return &connector{
		source: source, keys: keys, cluster: cluster, secrets: map[string]map[string]secret.Value{},
		read: map[string]time.Time{},
	}
}

// machine returns a machine; it does not dial yet.
func (r *connector) machine(m config.Machine, tools Tools) *machine.Machine {
	return machine.New(m.Name, r.dial(m, tools), tools.Agent, r.cluster.Settings(m).BinariesPath)
}

func (r *connector) dial(m config.Machine, tools Tools) func(ctx context.Context) (machine.Connection, error) {
	return func(ctx context.Context) (machine.Connection, error) {
		settings, err := r.config(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("preparing the connection to machine %q: %w", m.Name, err)
		}
		client, err := tools.Pool.Get(ctx, settings)
		if errors.As(err, new(*ssh.AuthError)) {
			if renewed, changed := r.renewed(ctx, m, settings); changed {
				client, err = tools.Pool.Get(ctx, renewed)
			}
		}
		if err != nil {
			if settings.StartingUp && errors.As(err, new(*ssh.HostKeyError)) {
				r.forget(r.cluster.SSHFor(m).KnownHostsSecret)
			}
			return nil, err
		}
		return machine.OverSSH(client), nil
	}
}

func (r *connector) config(ctx context.Context, m config.Machine) (ssh.Config, error) {
	settings := r.cluster.SSHFor(m)
	credentials, err := r.secret(ctx, settings.Secret)
	if err != nil {
		return ssh.Config{}, err
	}
	hostKeys, err := r.hostKeys(ctx, settings)
	if err != nil {
		return ssh.Config{}, err
	}
	connection := ssh.Config{
		Name: m.Name, Address: m.Address, Port: settings.Port, User: settings.User,
		Auth:           auth(credentials),
		SudoPassword:   credentials["sudo-password"],
		HostKeys:       hostKeys,
		ConnectTimeout: settings.ConnectTimeout.Duration,
		KeepAlive:      settings.KeepAlive.Duration,
		StartingUp:     settings.Startup() > 0,
	}
	for _, hop := range settings.Bastions {
		bastion, err := r.bastion(ctx, settings, hop, credentials, hostKeys)
		if err != nil {
			return ssh.Config{}, err
		}
		connection.Bastions = append(connection.Bastions, bastion)
	}
	return connection, nil
}

// bastion takes fields that the hop does not set from the machine behind it; pinned keys are always its own.
func (r *connector) bastion(ctx context.Context, settings config.SSH, hop config.Bastion,
	credentials map[string]secret.Value, hostKeys ssh.HostKeys,
) (ssh.Config, error) {
	if hop.Secret != "" {
		own, err := r.secret(ctx, hop.Secret)
		if err != nil {
			return ssh.Config{}, fmt.Errorf("reading the credentials of bastion %q: %w", hop.Address, err)
		}
		credentials = own
	}
	hostKeys.Pinned = hop.HostKeys
	user := hop.User
	if user == "" {
		user = settings.User
	}
	port := hop.Port
	if port == 0 {
		port = 22
	}
	return ssh.Config{
		Name: "bastion " + hop.Address, Address: hop.Address, Port: port, User: user, Auth: auth(credentials),
		HostKeys:       hostKeys,
		ConnectTimeout: settings.ConnectTimeout.Duration, KeepAlive: settings.KeepAlive.Duration,
	}, nil
}

func auth(credentials map[string]secret.Value) ssh.Auth {
	return ssh.Auth{
		PrivateKey:  credentials["ssh-privatekey"],
		Passphrase:  credentials["passphrase"],
		Certificate: credentials["ssh-certificate"],
		Password:    credentials["password"],
	}
}

func (r *connector) hostKeys(ctx context.Context, settings config.SSH) (ssh.HostKeys, error) {
	policy := ssh.HostKeys{Pinned: settings.HostKeys, CAs: settings.HostCAs}
	if settings.KnownHostsSecret != "" {
		content, err := r.secret(ctx, settings.KnownHostsSecret)
		if err != nil {
			return policy, err
		}
		known, ok := content["known_hosts"]
		if !ok {
			return policy, errclass.Errorf(errclass.Configuration, "Secret %q has no key known_hosts",
				settings.KnownHostsSecret)
		}
		policy.KnownHosts = []byte(known.Reveal())
	}
	if settings.TrustOnFirstUse == nil || !*settings.TrustOnFirstUse || r.keys == nil {
		return policy, nil
	}
	recorded, err := r.keys.Load(ctx, r.cluster.Name)
	if err != nil {
		return policy, fmt.Errorf("reading recorded host keys: %w", err)
	}
	policy.TrustOnFirstUse, policy.Recorded = true, recorded
	policy.Record = func(ctx context.Context, line string) error { return r.keys.Append(ctx, r.cluster.Name, line) }
	return policy, nil
}

// forget has a Secret read anew when it is next needed: that with known_hosts may get the key of a machine while it
// starts up.
func (r *connector) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.secrets, name)
}

// secretAge is how old a Secret is at least that is read again after a refused login: machines that refuse at the same
// moment share one reading.
const secretAge = 10 * time.Second

// renewed returns the settings for a machine, or a bastion before it, that refused a login, with the credentials that
// the Secrets have now; changed is false where they are the same. Keys are exchanged while a workflow runs.
func (r *connector) renewed(ctx context.Context, m config.Machine, refused ssh.Config) (settings ssh.Config,
	changed bool,
) {
	known := r.cluster.SSHFor(m)
	r.forgetOld(known.Secret)
	for _, hop := range known.Bastions {
		r.forgetOld(hop.Secret)
	}
	settings, err := r.config(ctx, m)
	if err != nil {
		return refused, false
	}
	changed = settings.Auth != refused.Auth
	for i := range settings.Bastions {
		changed = changed || settings.Bastions[i].Auth != refused.Bastions[i].Auth
	}
	return settings, changed
}

// forgetOld is forget for a Secret that was not read just now.
func (r *connector) forgetOld(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.read[name]) >= secretAge {
		delete(r.secrets, name)
	}
}

// secretTimeout bounds one read of a Secret.
const secretTimeout = 10 * time.Second

// secret reads a Secret once for the life of the connector, unless it is forgotten; an empty name is an empty Secret.
func (r *connector) secret(ctx context.Context, name string) (map[string]secret.Value, error) {
	if name == "" {
		return nil, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if content, ok := r.secrets[name]; ok {
		return content, nil
	}
	ctx, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	content, err := r.source.Secret(ctx, name)
	if err != nil {
		return nil, err
	}
	r.secrets[name], r.read[name] = content, time.Now()
	return content, nil
}

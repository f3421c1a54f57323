package config

import (
	"errors"
	"net/url"
	"strings"
)

// StoreKind is a kind of store of a hosted cluster's state.
type StoreKind string

// The kinds.
const (
	// StoreSQLite is a file on a volume, behind kine. It serves one replica of the control plane.
	StoreSQLite StoreKind = "sqlite"
	// StoreEtcd is an etcd that is deployed beside the control plane.
	StoreEtcd StoreKind = "etcd"
	// StoreExternal is a database server, behind kine.
	StoreExternal StoreKind = "external"
)

// Store is the store of a hosted cluster's state.
type Store struct {
	Kind StoreKind
	// Replicas are the members of a deployed etcd; 1 for the others.
	Replicas int
}

// Store returns the store that controlPlane.backingStore chooses; SQLite when it chooses none.
func (c *Cluster) Store() Store {
	chosen := c.VCluster.ControlPlane.BackingStore
	switch {
	case chosen.Etcd.Deploy.Enabled:
		return Store{Kind: StoreEtcd, Replicas: chosen.Etcd.Deploy.StatefulSet.HighAvailability.Replicas}
	case chosen.Database.External.Enabled:
		return Store{Kind: StoreExternal, Replicas: 1}
	}
	return Store{Kind: StoreSQLite, Replicas: 1}
}

// CheckDataSource checks the data source of an external database, as kine reads it. The error tells how to write one.
// It never holds the text, which has a password in it.
//
//	postgres://user:password@host:5432/database?sslmode=require
//	mysql://user:password@tcp(host:3306)/database
func CheckDataSource(text string) error {
	scheme, rest, found := strings.Cut(text, "://")
	switch {
	case text == "":
		return errors.New("is empty; " + dataSourceAdvice)
	case strings.ContainsAny(text, " \t\r\n"):
		return errors.New("holds a space or a line break, which is no part of a data source; write it without, e.g. " +
			`with "printf %s", which ends no line`)
	case found && scheme == "postgres":
		if parsed, err := url.Parse(text); err != nil || parsed.Hostname() == "" {
			return errors.New("is no URL with a host; " + dataSourceAdvice +
				"; write special letters of a password as %XX")
		}
		return nil
	case found && scheme == "mysql":
		if _, address, _ := strings.Cut(rest, "@tcp("); !strings.Contains(address, ")/") {
			return errors.New("names no host as tcp(host:port); " + dataSourceAdvice)
		}
		return nil
	}
	return errors.New("does not begin with postgres:// or mysql://; " + dataSourceAdvice)
}

const dataSourceAdvice = `write "postgres://user:password@host:5432/database" or ` +
	`"mysql://user:password@tcp(host:3306)/database"`

// Package cri speaks to a container runtime by the Container Runtime Interface: it asks for name, version, readiness
// and cgroup driver, and makes the runtime end pods. It sets up nothing.
//
// The protocol is gRPC. The few calls that are needed are made with the standard library's HTTP/2 and hand-read
// protobuf, so that argosy-node, which goes to every machine, stays small.
package cri

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// service has the calls, in the only version of the interface that kubelets speak since Kubernetes 1.26.
const service = "/runtime.v1.RuntimeService/"

// Version describes the runtime.
type Version struct {
	// Name as the runtime calls itself: "containerd", "cri-o".
	Name string
	// Version in the runtime's own form, "v2.1.4" or "1.30.2".
	Version string
	// API is the version of the interface, "v1".
	API string
}

// Version asks the runtime for its name and version.
func (c *Client) Version(ctx context.Context) (Version, error) {
	answer, err := c.call(ctx, tellsWithin, "Version", nil)
	if err != nil {
		return Version{}, fmt.Errorf("asking %q for its version: %w", c.socket, err)
	}
	var v Version
	err = eachField(answer, func(f field) error {
		switch f.number {
		case 2:
			v.Name = f.text()
		case 3:
			v.Version = f.text()
		case 4:
			v.API = f.text()
		}
		return nil
	})
	if err != nil {
		return Version{}, fmt.Errorf("reading the version of %q: %w", c.socket, err)
	}
	return v, nil
}

// Status is the runtime's status.
type Status struct {
	// Ready is set when it can start containers. Their network may still be missing, as before a node's first pods.
	Ready bool
	// Message is the runtime's reason for not being ready.
	Message string
	// Info has details beyond the interface, each value a JSON document.
	Info map[string]string
}

// Status asks the runtime for its status, in all detail.
func (c *Client) Status(ctx context.Context) (Status, error) {
	verbose := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
	answer, err := c.call(ctx, tellsWithin, "Status", verbose)
	if err != nil {
		return Status{}, fmt.Errorf("asking %q for its status: %w", c.socket, err)
	}
	status := Status{Info: map[string]string{}}
	err = eachField(answer, func(f field) error {
		switch f.number {
		case 1:
			return eachField(f.bytes, status.condition)
		case 2:
			return status.info(f.bytes)
		}
		return nil
	})
	if err != nil {
		return Status{}, fmt.Errorf("reading the status of %q: %w", c.socket, err)
	}
	return status, nil
}

// condition reads one of the runtime's conditions.
func (s *Status) condition(f field) error {
	var kind, reason, message string
	holds := false
	err := eachField(f.bytes, func(f field) error {
		switch f.number {
		case 1:
			kind = f.text()
		case 2:
			holds = f.varint != 0
		case 3:
			reason = f.text()
		case 4:
			message = f.text()
		}
		return nil
	})
	if kind == "RuntimeReady" {
		s.Ready, s.Message = holds, message
		if message == "" {
			s.Message = reason
		}
	}
	return err
}

// info reads one entry of the map.
func (s *Status) info(entry []byte) error {
	var key, value string
	err := eachField(entry, func(f field) error {
		switch f.number {
		case 1:
			key = f.text()
		case 2:
			value = f.text()
		}
		return nil
	})
	s.Info[key] = value
	return err
}

// The cgroup drivers, as the kubelet's configuration calls them.
const (
	Systemd  = "systemd"
	Cgroupfs = "cgroupfs"
)

// HasRuntimeConfig reports whether the runtime has the call by which it tells its cgroup driver: RuntimeConfig, which
// kubelets fall back from until 1.37 and need from 1.38 on. containerd has it since 2.0.
func (c *Client) HasRuntimeConfig(ctx context.Context) (bool, error) {
	_, err := c.call(ctx, tellsWithin, "RuntimeConfig", nil)
	if IsUnimplemented(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("asking %q for its cgroup driver: %w", c.socket, err)
	}
	return true, nil
}

// CgroupDriver asks for the runtime's cgroup driver: Systemd or Cgroupfs, "" when unknown. For a runtime without a call
// for it, as containerd 1.7, it is taken from the runtime's status.
func (c *Client) CgroupDriver(ctx context.Context) (string, error) {
	answer, err := c.call(ctx, tellsWithin, "RuntimeConfig", nil)
	if IsUnimplemented(err) {
		status, err := c.Status(ctx)
		if err != nil {
			return "", err
		}
		return driverOfConfig(status.Info["config"]), nil
	}
	if err != nil {
		return "", fmt.Errorf("asking %q for its cgroup driver: %w", c.socket, err)
	}
	driver := ""
	err = eachField(answer, func(f field) error {
		if f.number != 1 {
			return nil
		}
		// The driver of number 0 is not written: the message that has the field is there, and empty.
		driver = Systemd
		return eachField(f.bytes, func(f field) error {
			if f.number == 1 && f.varint == 1 {
				driver = Cgroupfs
			}
			return nil
		})
	})
	if err != nil {
		return "", fmt.Errorf("reading the cgroup driver of %q: %w", c.socket, err)
	}
	return driver, nil
}

// driverOfConfig returns the driver in containerd's configuration as its status shows it: the default runtime's, if it
// has one, else that of the first of the others, as in containerd's own answer since 2.0.
func driverOfConfig(text string) string {
	type runtime struct {
		Options struct{ SystemdCgroup *bool }
	}
	var config struct {
		Containerd struct {
			DefaultRuntimeName string             `json:"defaultRuntimeName"`
			Runtimes           map[string]runtime `json:"runtimes"`
		} `json:"containerd"`
	}
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		return ""
	}
	names := append([]string{config.Containerd.DefaultRuntimeName},
		slices.Sorted(maps.Keys(config.Containerd.Runtimes))...)
	for _, name := range names {
		if systemd := config.Containerd.Runtimes[name].Options.SystemdCgroup; systemd != nil {
			if *systemd {
				return Systemd
			}
			return Cgroupfs
		}
	}
	return ""
}

// field is one field of a protobuf message. Only the two kinds that the interface's answers consist of are read.
type field struct {
	number protowire.Number
	varint uint64
	bytes  []byte
}

func (f field) text() string { return string(f.bytes) }

var errTruncated = errors.New("the answer is not a whole protobuf message")

// eachField calls f for every field of a message.
func eachField(message []byte, f func(field) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return errTruncated
		}
		message = message[n:]
		one := field{number: number}
		switch kind {
		case protowire.VarintType:
			one.varint, n = protowire.ConsumeVarint(message)
		case protowire.BytesType:
			one.bytes, n = protowire.ConsumeBytes(message)
		default:
			n = protowire.ConsumeFieldValue(number, kind, message)
		}
		if n < 0 {
			return errTruncated
		}
		message = message[n:]
		if err := f(one); err != nil {
			return err
		}
	}
	return nil
}

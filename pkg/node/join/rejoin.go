package join

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/spec"
)

// atJoin returns the settings of an operation that only a join applies.
func atJoin(j *spec.Join) spec.AtJoin {
	return spec.AtJoin{CRISocket: j.Registration.CRISocket, CACertPath: caPath(j), Hooks: digestOfHooks(j.Hooks)}
}

// digestOfHooks returns a digest of the commands, without their timeout; "" for none.
func digestOfHooks(hooks spec.Hooks) string {
	hooks.Timeout = 0
	if len(hooks.PreInstall)+len(hooks.PreJoin)+len(hooks.PostJoin) == 0 {
		return ""
	}
	encoded, _ := json.Marshal(hooks) // text alone can always be encoded
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:8])
}

// renewRecord updates the record's settings of the join on a machine that was this node before and has just joined
// again.
func renewRecord(c *node.Context) error {
	record, err := c.Store.Record()
	if errors.Is(err, node.ErrUnreadable) {
		return nil // it is written anew when the node is healthy
	}
	if err != nil || record == nil {
		return err
	}
	record.AtJoin, record.Joined = atJoin(c.Operation.Join), time.Now().UTC()
	return c.Store.WriteRecord(record)
}

// noteRejoin adds changes of settings that only another join would apply.
func noteRejoin(c *node.Context) {
	record, err := c.Store.Record()
	if err != nil || record == nil || record.AtJoin == (spec.AtJoin{}) {
		return
	}
	then, now := record.AtJoin, atJoin(c.Operation.Join)
	for _, setting := range []struct{ key, then, now string }{
		{"privateNodes.joinNode.nodeRegistration.criSocket", then.CRISocket, now.CRISocket},
		{"privateNodes.joinNode.caCertPath", then.CACertPath, now.CACertPath},
	} {
		if setting.then != setting.now {
			c.AddChanges(spec.Change{
				What: setting.key, Diff: node.Diff(setting.key, setting.then+"\n", setting.now+"\n"),
				Effect: spec.NeedsRejoin,
			})
		}
	}
	// Where there is a note of the commands, each stage compares its own.
	if ran, err := readHooks(c.Host, c.Operation.Join); err == nil && !ran.known && then.Hooks != now.Hooks {
		c.AddChanges(spec.Change{What: "commands before and after the join", Effect: spec.NeedsRejoin})
	}
}

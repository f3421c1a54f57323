package encryption

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/nacl/secretbox"
	"gotest.tools/v3/assert"
)

// server is an API server's way into the store: values of secretbox as Kubernetes encodes them, or in clear.
type server []Key

func (s server) write(t *testing.T, text string) []byte {
	t.Helper()
	if s[0] == plain {
		return []byte("k8s\x00" + text)
	}
	var nonce [24]byte
	_, err := rand.Read(nonce[:])
	assert.NilError(t, err)
	prefix := fmt.Sprintf("k8s:enc:secretbox:v1:%s:", s[0].Name)
	return append([]byte(prefix), secretbox.Seal(nonce[:], []byte(text), &nonce, secretOf(t, s[0]))...)
}

func secretOf(t *testing.T, key Key) *[32]byte {
	t.Helper()
	secret, err := base64.StdEncoding.DecodeString(key.Secret)
	assert.NilError(t, err)
	return (*[32]byte)(secret)
}

// read returns a value, and whether it is written with the first key.
func (s server) read(t *testing.T, value []byte) (string, bool, error) {
	t.Helper()
	for i, key := range s {
		if text, is := bytes.CutPrefix(value, []byte("k8s\x00")); is && key == plain {
			return string(text), i == 0, nil
		}
		rest, is := bytes.CutPrefix(value, fmt.Appendf(nil, "k8s:enc:secretbox:v1:%s:", key.Name))
		if !is || key == plain {
			continue
		}
		text, whole := secretbox.Open(nil, rest[24:], (*[24]byte)(rest[:24]), secretOf(t, key))
		if whole {
			return string(text), i == 0, nil
		}
	}
	return "", false, errors.New("no matching key")
}

// serverOf returns the API server that starts with a configuration.
func serverOf(t *testing.T, c Config) server {
	t.Helper()
	text, err := c.Text()
	assert.NilError(t, err)
	read, err := Parse(text)
	assert.NilError(t, err)
	if keys := read["secrets"]; keys != nil {
		return keys
	}
	return server{plain}
}

// follow takes all steps to the wanted state. At each, API servers with the former and with the next configuration
// write and read, and the run ends between any two actions and begins anew.
func follow(t *testing.T, held Config, wanted Wanted, values map[string][]byte) Config {
	t.Helper()
	for range 10 {
		step, err := held.Next(wanted)
		assert.NilError(t, err)
		if step == nil {
			return held
		}
		former := serverOf(t, held)
		for _, resource := range step.Rewrite {
			assert.Equal(t, resource, "secrets")
			for name, value := range values {
				text, first, err := former.read(t, value)
				assert.NilError(t, err)
				if !first {
					values[name] = former.write(t, text)
				}
			}
		}
		next := serverOf(t, step.Next)
		values["by the former"], values["by the next"] = former.write(t, "text"), next.write(t, "text")
		for name, value := range values {
			for _, one := range []server{former, next} {
				text, _, err := one.read(t, value)
				assert.NilError(t, err, "%s: %v", name, step.Texts)
				assert.Equal(t, text, "text")
			}
		}
		held = step.Next
	}
	t.Fatal("the steps do not end")
	return nil
}

func wantedKey(name string) Wanted {
	return Wanted{Provider: "secretbox", KeyName: name, Resources: []string{"secrets"}}
}

func TestEveryStepOfARotationReadsAllThereIs(t *testing.T) {
	values := map[string][]byte{"old": server{plain}.write(t, "text")}
	none := Wanted{KeyName: "key1", Resources: []string{"secrets"}}

	first := follow(t, Config{}, wantedKey("key1"), values)
	assert.Equal(t, len(first["secrets"]), 1)
	assertPrefix(t, values, "k8s:enc:secretbox:v1:key1:")
	second := follow(t, first, wantedKey("key2"), values)
	assert.Equal(t, second["secrets"][0].String(), "secretbox:key2")
	assertPrefix(t, values, "k8s:enc:secretbox:v1:key2:")
	_, _, err := serverOf(t, first).read(t, values["old"])
	assert.ErrorContains(t, err, "no matching key", "the former key reads nothing any more")
	third := follow(t, second, none, values)
	assert.Equal(t, len(third), 0)
	assertPrefix(t, values, "k8s\x00")
}

func assertPrefix(t *testing.T, values map[string][]byte, prefix string) {
	t.Helper()
	for name, value := range values {
		assert.Assert(t, strings.HasPrefix(string(value), prefix), "%s: %q", name, value)
	}
}

func TestARotationIsChangedMidwayWithoutLoss(t *testing.T) {
	for stop := range 4 {
		values := map[string][]byte{"old": server{plain}.write(t, "text")}
		held := Config{}
		for range stop {
			step, err := held.Next(wantedKey("key1"))
			assert.NilError(t, err)
			if step == nil {
				break
			}
			former := serverOf(t, held)
			if len(step.Rewrite) > 0 {
				values["old"] = former.write(t, "text")
			}
			held = step.Next
		}
		held = follow(t, held, wantedKey("key2"), values)
		assert.Equal(t, len(held["secrets"]), 1)
		assertPrefix(t, values, "k8s:enc:secretbox:v1:key2:")
	}
}

func TestAResourceThatIsAddedIsReadInClearFirst(t *testing.T) {
	held, err := Initial(wantedKey("key1"))
	assert.NilError(t, err)
	more := wantedKey("key1")
	more.Resources = []string{"secrets", "configmaps"}
	step, err := held.Next(more)
	assert.NilError(t, err)
	assert.Equal(t, len(step.Rewrite), 0)
	assert.Equal(t, len(step.Next["secrets"]), 1)
	assert.Equal(t, step.Next["configmaps"][0], plain)
	assert.Equal(t, step.Next["configmaps"][1], held["secrets"][0], "the same key under the same name")
}

func TestANewClusterIsEncryptedFromItsStart(t *testing.T) {
	made, err := Initial(wantedKey("key1"))
	assert.NilError(t, err)
	step, err := made.Next(wantedKey("key1"))
	assert.NilError(t, err)
	assert.Assert(t, step == nil)
	made, err = Initial(Wanted{})
	assert.NilError(t, err)
	assert.Assert(t, !made.Encrypts())
	text, err := made.Text()
	assert.NilError(t, err)
	assert.Assert(t, text == nil)
}

func TestAKeyIsNeverPrinted(t *testing.T) {
	made, err := Initial(wantedKey("key1"))
	assert.NilError(t, err)
	secret := made["secrets"][0].Secret
	for _, text := range []string{fmt.Sprint(made), fmt.Sprintf("%+v", made), fmt.Sprintf("%#v", made)} {
		assert.Assert(t, !strings.Contains(text, secret), text)
	}
	_, err = Parse([]byte("resources: " + secret))
	assert.Assert(t, err != nil && !strings.Contains(err.Error(), secret), err)
}

package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/secret"
)

func TestNoPrinterShowsASecret(t *testing.T) {
	type holder struct {
		Password secret.Value `json:"password"`
	}
	held := holder{Password: secret.New("hunter2")}

	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("login", "held", held, "password", held.Password)
	encoded, err := json.Marshal(held)
	assert.NilError(t, err)

	shown := []string{log.String(), string(encoded)}
	for _, verb := range []string{"%s", "%v", "%+v", "%#v", "%q", "%x", "%d"} {
		shown = append(shown, fmt.Sprintf(verb, held), fmt.Sprintf(verb, held.Password))
	}
	for _, text := range shown {
		assert.Assert(t, !strings.Contains(text, "hunter2"), text)
		assert.Assert(t, !strings.Contains(text, fmt.Sprintf("%x", "hunter2")), text)
	}
	assert.Equal(t, held.Password.Reveal(), "hunter2")
}

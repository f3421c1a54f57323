// Package secret holds values that must never be printed: passwords, passphrases, tokens, private keys. The type itself
// redacts, in every way that Go prints or encodes a value, so that no printer has to
// recognize a secret by its looks.
package secret

import (
	"fmt"
	"log/slog"
)

// redacted is the text that every printer of a Value shows.
const redacted = "[redacted]"

// Value is a secret. Its zero value is the empty secret. Only Reveal gives the content away.
type Value struct{ content string }

// New makes a secret of content.
func New(content string) Value { return Value{content: content} }

// Reveal returns the content; call it only where the content leaves for its one destination.
func (v Value) Reveal() string { return v.content }

// Empty reports whether the secret has no content.
func (v Value) Empty() bool { return v.content == "" }

// String returns a placeholder, for fmt's %s and %v.
func (v Value) String() string { return redacted }

// GoString returns a placeholder, for fmt's %#v.
func (v Value) GoString() string { return redacted }

// Format writes a placeholder whatever the verb, so that %x or %q cannot slip past String.
func (v Value) Format(state fmt.State, _ rune) { _, _ = fmt.Fprint(state, redacted) }

// LogValue returns a placeholder, for log/slog.
func (v Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a placeholder, for encoding/json and YAML.
func (v Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }

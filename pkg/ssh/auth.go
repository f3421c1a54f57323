package ssh

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	xssh "golang.org/x/crypto/ssh"
)

// method is one way to log in, by its name in the protocol.
type method struct {
	name string
	auth xssh.AuthMethod
}

// methods returns the ways to log in. Every error is the user's to correct, and comes before anything is dialled.
func (a Auth) methods() ([]method, error) {
	var found []method
	if !a.PrivateKey.Empty() {
		signers, err := a.signers()
		if err != nil {
			return nil, err
		}
		found = append(found, method{"publickey", xssh.PublicKeys(signers...)})
	} else if !a.Certificate.Empty() {
		return nil, errors.New("reading the SSH certificate: it needs its private key as well")
	}
	if !a.Password.Empty() {
		found = append(found,
			method{"password", xssh.Password(a.Password.Reveal())},
			method{"keyboard-interactive", xssh.KeyboardInteractive(a.answer())})
	}
	if len(found) == 0 {
		return nil, errors.New("logging in needs a private key or a password, and neither was given")
	}
	return found, nil
}

// answer gives the password to the first question that hides what is typed, and refuses to be asked again: a second
// question means that the first answer was wrong, or that the server wants something we do not have.
func (a Auth) answer() xssh.KeyboardInteractiveChallenge {
	asked := false
	return func(_, _ string, questions []string, echos []bool) ([]string, error) {
		answers := make([]string, len(questions))
		for i := range questions {
			if echos[i] || asked {
				return nil, fmt.Errorf("the server asks %q, to which there is no answer", questions[i])
			}
			asked = true
			answers[i] = a.Password.Reveal()
		}
		return answers, nil
	}
}

func (a Auth) signers() ([]xssh.Signer, error) {
	key, err := a.privateKey()
	if err != nil {
		return nil, err
	}
	if a.Certificate.Empty() {
		return []xssh.Signer{key}, nil
	}
	public, _, _, _, err := xssh.ParseAuthorizedKey([]byte(a.Certificate.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("reading the SSH certificate: %w", err)
	}
	certificate, ok := public.(*xssh.Certificate)
	if !ok || certificate.CertType != xssh.UserCert {
		return nil, fmt.Errorf("reading the SSH certificate: it is a %s, not a user certificate", public.Type())
	}
	if err := withinValidity(certificate, time.Now()); err != nil {
		return nil, fmt.Errorf("reading the SSH certificate %q: %w", certificate.KeyId, err)
	}
	signer, err := xssh.NewCertSigner(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("matching the SSH certificate %q with the private key: %w", certificate.KeyId, err)
	}
	return []xssh.Signer{signer, key}, nil
}

func (a Auth) privateKey() (xssh.Signer, error) {
	pem := []byte(a.PrivateKey.Reveal())
	var signer xssh.Signer
	var err error
	if a.Passphrase.Empty() {
		signer, err = xssh.ParsePrivateKey(pem)
	} else {
		signer, err = xssh.ParsePrivateKeyWithPassphrase(pem, []byte(a.Passphrase.Reveal()))
	}
	var missing *xssh.PassphraseMissingError
	switch {
	case errors.As(err, &missing):
		return nil, errors.New("reading the SSH private key: it is encrypted, and no passphrase was given")
	case errors.Is(err, x509.IncorrectPasswordError):
		return nil, errors.New("reading the SSH private key: the passphrase is wrong")
	case err != nil && !a.Passphrase.Empty():
		// A passphrase for a key that has none does no harm: users have one after changing only the key.
		if plain, plainErr := xssh.ParsePrivateKey(pem); plainErr == nil {
			return plain, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the SSH private key: %w", err)
	}
	return signer, nil
}

func withinValidity(certificate *xssh.Certificate, now time.Time) error {
	if after := time.Unix(int64(certificate.ValidAfter), 0); now.Before(after) {
		return fmt.Errorf("it is valid only from %s", after.UTC().Format(time.RFC3339))
	}
	if certificate.ValidBefore == xssh.CertTimeInfinity {
		return nil
	}
	if before := time.Unix(int64(certificate.ValidBefore), 0); !now.Before(before) {
		return fmt.Errorf("it expired at %s", before.UTC().Format(time.RFC3339))
	}
	return nil
}

// login chooses the next method to try, and therefore knows for certain when a login was refused; the protocol library
// tells that only by an error text. Each method is tried once.
type login struct {
	config  Config
	methods []method
	broken  func() bool // whether the connection has ended
	state   xssh.ClientAuthContext
	tried   bool
}

func (l *login) next(state *xssh.ClientAuthContext) (xssh.AuthMethod, error) {
	l.state = *state
	if l.broken() {
		// The library takes a connection that ends in the middle of a method for a refusal of that method.
		return nil, errLost
	}
	for _, candidate := range l.methods {
		spent := slices.Contains(state.TriedMethods, candidate.name) ||
			slices.Contains(state.PartialSuccessMethods, candidate.name)
		if !spent && slices.Contains(state.AllowedMethods, candidate.name) {
			l.tried = true
			return candidate.auth, nil
		}
	}
	return nil, l.refused()
}

func (l *login) refused() *AuthError {
	tried := slices.DeleteFunc(slices.Clone(l.state.TriedMethods), func(name string) bool { return name == "none" })
	return &AuthError{Host: l.config.host(), User: l.config.User, Tried: tried, Allowed: l.state.AllowedMethods}
}

// refusal returns err as an AuthError if it is a refusal, else nil. A server that was asked too often (MaxAuthTries)
// does not refuse the last attempt but hangs up with a message, which is neither an end of the stream nor an error of
// the network.
func (l *login) refusal(err error) *AuthError {
	var refused *AuthError
	switch {
	case errors.As(err, &refused):
		return refused
	case !l.tried, errors.Is(err, errLost), lost(err):
		return nil
	default:
		refused = l.refused()
		refused.ServerMessage = quotable(strings.TrimPrefix(err.Error(), "ssh: handshake failed: "))
		return refused
	}
}

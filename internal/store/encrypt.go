package store

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"filippo.io/age"

	"argosy.dev/argosy/pkg/errclass"
)

// EncryptedExtension is at the end of the name of an archive that is encrypted, in the format of age.
const EncryptedExtension = ".age"

// ageHeader begins every file of age's.
const ageHeader = "age-encryption.org/"

// Recipients reads public keys of age.
func Recipients(texts []string) ([]age.Recipient, error) {
	var recipients []age.Recipient
	for _, text := range texts {
		recipient, err := age.ParseX25519Recipient(text)
		if err != nil {
			return nil, errclass.Errorf(errclass.Configuration, "reading the recipient %q of archives: %w", text, err)
		}
		recipients = append(recipients, recipient)
	}
	return recipients, nil
}

// Identities reads the identities of age in a file; none where the file does not exist.
func Identities(file string) ([]age.Identity, error) {
	content, err := os.ReadFile(file)
	if file == "" || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, errclass.Errorf(errclass.Configuration, "reading the identity that opens archives: %w", err)
	}
	identities, err := age.ParseIdentities(strings.NewReader(string(content)))
	if err != nil {
		// The parser's message could show a part of the key.
		return nil, errclass.With(errclass.Configuration, errors.New("reading the identity that opens archives: key "+
			"identity of the Secret that controlPlane.archives.identitySecret of argosy.yaml names holds no identity "+
			"of age; it begins with AGE-SECRET-KEY-1"))
	}
	return identities, nil
}

// errLocked is the reason why an encrypted archive can't be opened.
var errLocked = errors.New("it is encrypted: name a Secret in controlPlane.archives.identitySecret of argosy.yaml " +
	"whose key identity holds the age identity of one of its recipients")

// decrypted returns a reader of an archive's content, whether it is encrypted or not.
func decrypted(file io.Reader, identities []age.Identity) (io.Reader, error) {
	buffered := bufio.NewReader(file)
	begin, err := buffered.Peek(len(ageHeader))
	if err != nil || string(begin) != ageHeader {
		return buffered, nil // the reader of zstd has the reason
	}
	if len(identities) == 0 {
		return nil, errclass.With(errclass.Configuration, errLocked)
	}
	plain, err := age.Decrypt(buffered, identities...)
	var foreign *age.NoIdentityMatchError
	if errors.As(err, &foreign) {
		return nil, errclass.With(errclass.Configuration, errLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("it can't be decrypted: %w", err)
	}
	return plain, nil
}

// nopCloser is a writer whose content is not encrypted.
type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// encrypted returns a writer to file, which encrypts to the recipients where there are any. Its Close leaves the file
// open.
func encrypted(file io.Writer, recipients []age.Recipient) (io.WriteCloser, error) {
	if len(recipients) == 0 {
		return nopCloser{file}, nil
	}
	writer, err := age.Encrypt(file, recipients...)
	if err != nil {
		return nil, fmt.Errorf("encrypting an archive: %w", err)
	}
	return writer, nil
}

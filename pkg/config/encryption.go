package config

// Encryption encrypts resources in the store of a control plane.
type Encryption struct {
	// Provider is secretbox, aescbc or aesgcm, Kubernetes' names of its ways to encrypt, or identity, which does not.
	// secretbox is the one to choose. Default identity. After a change, provision has all objects written again.
	Provider EncryptionProvider `json:"provider,omitempty" enum:"identity,secretbox,aescbc,aesgcm"`
	// KeyName is the name of the key that encrypts, which provision makes. With another name provision makes another
	// key, has all objects written again with it, and removes the former. Default key1.
	// +example=key2
	KeyName string `json:"keyName,omitempty"`
	// Resources that are encrypted, in the plural and with their API group. Default secrets alone.
	// +example=[secrets, configmaps, widgets.example.com]
	Resources []string `json:"resources,omitempty"`
}

// EncryptionProvider is one of Kubernetes' ways to encrypt resources.
type EncryptionProvider string

// The providers.
const (
	ProviderIdentity  EncryptionProvider = "identity"
	ProviderSecretbox EncryptionProvider = "secretbox"
	ProviderAESCBC    EncryptionProvider = "aescbc"
	ProviderAESGCM    EncryptionProvider = "aesgcm"
)

// Enabled reports whether resources are encrypted.
func (e Encryption) Enabled() bool { return e.Provider != "" && e.Provider != ProviderIdentity }

// Archives is how backups of a control plane are encrypted.
type Archives struct {
	// Recipients are public keys of age (age1…), to which archives are encrypted. Without them archives are not, and
	// there is none of a control plane that encrypts its store, since an archive holds its keys.
	// +example=[age14xx9hz9k9uutdl4d3v805anynr2wlfc4knrrw8uh8g8gzmlx2pdqr2v5mc]
	Recipients []string `json:"recipients,omitempty"`
	// IdentitySecret is a Secret beside the ConfigMap, whose key identity holds an age identity (AGE-SECRET-KEY-1…)
	// of a recipient. The pods of a restore read it, and the plugin does not; keep it elsewhere until then.
	// +example=team-a-archives
	IdentitySecret string `json:"identitySecret,omitempty"`
}

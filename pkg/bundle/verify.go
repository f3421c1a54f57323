package bundle

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"argosy.dev/argosy/pkg/errclass"
)

// CompleteFile is the manifest's name in an unpacked bundle. It is written last: a folder that has it was unpacked
// completely, from an archive with the right digest.
const CompleteFile = ".complete"

// File is one file of an unpacked bundle.
type File struct {
	// Path beneath the bundle's folder, e.g. "release/kubelet".
	Path string `json:"path"`
	// Size in bytes.
	Size int64 `json:"size"`
	// ModTime is when it was unpacked.
	ModTime time.Time `json:"modTime"`
	// SHA256 in hex.
	SHA256 string `json:"sha256"`
}

func fileOf(name string, info fs.FileInfo, sum string) File {
	return File{Path: name, Size: info.Size(), ModTime: info.ModTime().UTC(), SHA256: sum}
}

// Manifest lists the files of an unpacked bundle.
type Manifest struct {
	// SHA256 of the archive, hex.
	SHA256 string `json:"sha256"`
	Files  []File `json:"files"`
	// Versions of the programs that Argosy asked, by name: "kubelet": "v1.34.4".
	Versions map[string]string `json:"versions"`
	// BootID is the machine's boot during which the files were written; until Synced, they may be lost with the power,
	// so after another boot their content is checked and not only their size.
	BootID string `json:"bootID"`
	// Synced: the files were on the disk for good.
	Synced bool `json:"synced"`
}

// ReadManifest reads the manifest of the unpacked bundle in dir. A bundle that was never completed gives
// fs.ErrNotExist.
func ReadManifest(dir string) (*Manifest, error) {
	data, err := os.ReadFile(filepath.Join(dir, CompleteFile))
	if err != nil {
		return nil, fmt.Errorf("reading the manifest of bundle %q: %w", dir, err)
	}
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("reading the manifest of bundle %q: %w", dir, err)
	}
	return &m, nil
}

// Encode returns the content of CompleteFile.
func (m *Manifest) Encode() ([]byte, error) {
	data, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding the manifest of bundle %q: %w", m.SHA256, err)
	}
	return data, nil
}

// Verify compares the files in dir with the manifest: by size and time, which takes no time, and by content too where
// power may have been lost before the files reached the disk. bootID is the machine's present boot.
func (m *Manifest) Verify(dir, bootID string) error {
	byContent := !m.Synced && m.BootID != bootID
	for _, want := range m.Files {
		name := filepath.Join(dir, filepath.FromSlash(want.Path))
		info, err := os.Lstat(name)
		if err != nil {
			return fmt.Errorf("verifying %q: %w", want.Path, err)
		}
		if info.Size() != want.Size || !info.ModTime().Equal(want.ModTime) {
			return fmt.Errorf("verifying %q: its size or time is not as unpacked", want.Path)
		}
		if !byContent {
			continue
		}
		sum, err := hashFile(name)
		if err != nil {
			return fmt.Errorf("verifying %q: %w", want.Path, err)
		}
		if sum != want.SHA256 {
			return fmt.Errorf("verifying %q: its content is not as unpacked", want.Path)
		}
	}
	return nil
}

func hashFile(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.CopyBuffer(sum, onlyReader{file}, make([]byte, 1<<20)); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// DigestError is an archive with another digest than the wanted one.
type DigestError struct{ Want, Got string }

func (e *DigestError) Error() string {
	return fmt.Sprintf("the bundle's sha256 is %s, but %s was expected: it was damaged on its way or is another "+
		"file; nothing of it was executed", e.Got, e.Want)
}

// CheckMachine returns an error unless the program in file runs on arch (Go's name), by its ELF header and without
// executing it.
func CheckMachine(file, arch string) error {
	got, err := MachineOf(file)
	if err != nil {
		return err
	}
	if got != arch {
		return errclass.Errorf(errclass.Permanent, "the bundle's %s is for %s, but this machine is %s",
			filepath.Base(file), got, arch)
	}
	return nil
}

// MachineOf returns the architecture that the program in file runs on: Go's name, or ELF's number where Argosy does not
// know it. It reads the header by itself: package debug/elf would take 200 KiB in argosy-node.
func MachineOf(file string) (string, error) {
	program, err := os.Open(file)
	if err != nil {
		return "", errclass.Errorf(errclass.Permanent, "reading the ELF header of %q: %w", file, err)
	}
	defer program.Close()
	var header [20]byte // up to e_machine
	if _, err := io.ReadFull(program, header[:]); err != nil || string(header[:4]) != "\x7fELF" {
		return "", errclass.Errorf(errclass.Permanent, "reading the ELF header of %q: it is no program", file)
	}
	switch machine := binary.LittleEndian.Uint16(header[18:]); machine {
	case 62:
		return "amd64", nil
	case 183:
		return "arm64", nil
	default:
		return fmt.Sprintf("ELF machine %d", machine), nil
	}
}

// Package releasetest stands for the servers that releases come from: small programs in the place of the real ones,
// under the names and with the checksums that the projects publish them with. Tests and demonstrations use it; it needs
// no network.
package releasetest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"math/rand/v2"
)

// programSize of a stand-in: large enough to be sent in several pieces.
const programSize = 96 << 10

// Program is an ELF file for the architecture that does nothing. Equal arguments give equal bytes.
func Program(arch, name string) []byte {
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{
			0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB),
			byte(elf.EV_CURRENT),
		},
		Type:      uint16(elf.ET_EXEC),
		Machine:   uint16(machine),
		Version:   uint32(elf.EV_CURRENT),
		Ehsize:    64,
		Phentsize: 56,
		Shentsize: 64,
	}
	var program bytes.Buffer
	// A buffer takes whatever it is given.
	_ = binary.Write(&program, binary.LittleEndian, header)
	program.WriteString(arch + " " + name + "\n")
	seed := [32]byte{}
	copy(seed[:], arch+" "+name)
	filler := make([]byte, programSize-program.Len())
	_, _ = rand.NewChaCha8(seed).Read(filler)
	program.Write(filler)
	return program.Bytes()
}

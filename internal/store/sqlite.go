package store

import (
	"encoding/binary"
	"os"

	"argosy.dev/argosy/internal/atomicfile"
	"argosy.dev/argosy/pkg/errclass"
)

// Margin is how far a restored store's revisions begin behind the archive's. Clients remember revisions from after the
// backup too; even a busy cluster writes less than a hundred times a second, which is less than this in a day.
const Margin = 10_000_000

// PrepareSQLite makes the file of an empty SQLite database in which kine's revisions begin after the given one. A file
// that is there is left alone.
//
// A revision is one write, so through etcd's protocol there is no way to a revision but as many writes. kine with
// SQLite, however, takes its revisions from SQLite's AUTOINCREMENT, which continues from the value in table
// sqlite_sequence. Two pages are enough for a database with nothing but that table
// (https://www.sqlite.org/fileformat.html); kine makes its own tables in it as in any empty one.
func PrepareSQLite(path string, revision int64) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	if err := atomicfile.Write(path, sqliteImage(revision), 0o600); err != nil {
		return errclass.Errorf(errclass.Permanent, "making an empty database: %w", err)
	}
	return nil
}

// PreparedKineArgs are for the kine that fills a prepared database. kine compacts a thousand revisions at a time, and
// would some minutes later begin to compact all those that were left out, with a transaction and a line of log each: 20
// s of work for Margin alone. With these it does so at once, in one step.
func PreparedKineArgs() []string {
	return []string{"--compact-interval=200ms", "--compact-batch-size=1000000000000"}
}

// pageSize is SQLite's own default.
const pageSize = 4096

// kineTable is the table whose rows kine counts.
const kineTable = "kine"

// sqliteImage is the database: page 1 has the header and the schema, page 2 the one row of sqlite_sequence.
func sqliteImage(revision int64) []byte {
	image := make([]byte, 2*pageSize)
	copy(image, "SQLite format 3\x00")
	binary.BigEndian.PutUint16(image[16:], pageSize)
	// rollback journal, no reserved space, fractions that are always these
	copy(image[18:], []byte{1, 1, 0, 64, 32, 32})
	for _, field := range []struct {
		at    int
		value uint32
	}{
		{24, 1}, {92, 1}, // the count of changes, and for which count the writer's version holds
		{28, 2},          // pages
		{40, 1}, {44, 4}, // the schema's cookie and format
		{56, 1},         // UTF-8
		{96, 3_040_000}, // the writer's version
	} {
		binary.BigEndian.PutUint32(image[field.at:], field.value)
	}
	const sequence = "sqlite_sequence"
	leaf(image[:pageSize], 100, text("table"), text(sequence), text(sequence), small(2),
		text("CREATE TABLE "+sequence+"(name,seq)"))
	leaf(image[pageSize:], 0, text(kineTable), large(revision))
	return image
}

// column is one value of a record, and how the record's header tells its type.
type column struct {
	kind byte
	body []byte
}

func text(s string) column { return column{byte(13 + 2*len(s)), []byte(s)} }
func small(n byte) column  { return column{1, []byte{n}} }
func large(n int64) column { return column{6, binary.BigEndian.AppendUint64(nil, uint64(n))} }
func (c column) tag() []byte { // a varint: two bytes from 128 on
	if c.kind < 0x80 {
		return []byte{c.kind}
	}
	return []byte{0x81, c.kind & 0x7f}
}

// leaf makes page a leaf of a table with one row, whose number is 1. header is where the page's own header begins. All
// lengths are below 128 and take one byte.
func leaf(page []byte, header int, columns ...column) {
	var kinds, bodies []byte
	for _, c := range columns {
		kinds, bodies = append(kinds, c.tag()...), append(bodies, c.body...)
	}
	record := append(append([]byte{byte(len(kinds) + 1)}, kinds...), bodies...)
	cell := append([]byte{byte(len(record)), 1}, record...)
	start := len(page) - len(cell)
	copy(page[start:], cell)
	page[header] = 13                                          // a leaf of a table
	binary.BigEndian.PutUint16(page[header+3:], 1)             // cells
	binary.BigEndian.PutUint16(page[header+5:], uint16(start)) // where they begin
	binary.BigEndian.PutUint16(page[header+8:], uint16(start)) // where the first one is
}

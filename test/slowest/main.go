// Command slowest reads the output of `go test -json` on its standard input, prints it as `go test -v` does, and names
// the ten tests that took longest at its end:
//
//	go test -json ./test/e2e | go run ./test/slowest
//
// With -quiet it leaves out all that passed but the packages' lines, and of several packages it names the ten slowest
// instead of their tests. Skipped tests are named at the end, since they showed nothing. Its exit status is 1 when a
// test has failed, so that a pipe needs no other check.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// listed is how many of the slowest are named.
const listed = 10

// event is one line of `go test -json`, as `go doc test2json` describes it.
type event struct {
	Action  string
	Package string
	// Test is empty in the events of a whole package.
	Test string
	// Elapsed is in seconds, in events of action pass, fail and skip.
	Elapsed float64
	Output  string
}

// duration of one test, or of one package.
type duration struct {
	name    string
	seconds float64
}

func main() {
	quiet := flag.Bool("quiet", false, "leave out the output of tests that pass")
	flag.Parse()
	passed, err := report(os.Stdin, os.Stdout, *quiet)
	if err != nil {
		fmt.Fprintln(os.Stderr, "slowest:", err)
	}
	if err != nil || !passed {
		os.Exit(1)
	}
}

// report copies the tests' output from in to out and appends the slowest. It reports whether all tests passed.
func report(in io.Reader, out io.Writer, quiet bool) (passed bool, err error) {
	r := &reporter{out: out, quiet: quiet, kept: map[test]*bytes.Buffer{}, passed: true}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			r.line(line)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, fmt.Errorf("reading the output of go test: %w", err)
		}
	}
	r.slowest()
	for _, t := range r.skipped {
		fmt.Fprintf(out, "skipped: %s %s\n", t.pkg, t.name)
	}
	return r.passed, nil
}

// reporter sorts events into output and durations.
type reporter struct {
	out    io.Writer
	quiet  bool
	passed bool
	// kept is the output of tests that have not ended yet, by package and test; only with quiet.
	kept            map[test]*bytes.Buffer
	tests, packages []duration
	skipped         []test
}

// test is a test by its package and name; without a name, a package's own output outside of its tests.
type test struct{ pkg, name string }

// line takes one line: an event, or the plain text that go prints when a package does not compile.
func (r *reporter) line(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil || e.Action == "" {
		_, _ = r.out.Write(line)
		return
	}
	switch e.Action {
	case "output", "build-output":
		r.print(e)
	case "fail", "build-fail":
		r.passed = false
		r.ended(e)
	case "pass", "skip":
		r.ended(e)
	}
}

func (r *reporter) print(e event) {
	if !r.quiet || e.Action == "build-output" || e.Test == "" && packageLine(e.Output) {
		_, _ = io.WriteString(r.out, e.Output)
		return
	}
	key := test{e.Package, e.Test}
	if r.kept[key] == nil {
		r.kept[key] = &bytes.Buffer{}
	}
	r.kept[key].WriteString(e.Output)
}

// packageLine reports whether go test prints the line without -v also of a package that passes.
func packageLine(line string) bool {
	return strings.HasPrefix(line, "ok ") || strings.HasPrefix(line, "? ") || strings.HasPrefix(line, "FAIL\t")
}

func (r *reporter) ended(e event) {
	r.settle(test{e.Package, e.Test}, e.Action)
	if e.Test == "" {
		// A test that hangs or ends the process has no event of its own: only its package fails.
		for _, key := range slices.SortedFunc(maps.Keys(r.kept), byName) {
			if key.pkg == e.Package {
				r.settle(key, e.Action)
			}
		}
		r.packages = append(r.packages, duration{e.Package, e.Elapsed})
		return
	}
	r.tests = append(r.tests, duration{e.Test, e.Elapsed})
	if e.Action == "skip" {
		r.skipped = append(r.skipped, test{e.Package, e.Test})
	}
}

func byName(a, b test) int {
	return cmp.Or(strings.Compare(a.pkg, b.pkg), strings.Compare(a.name, b.name))
}

// settle prints the kept output if it is of a failure, and forgets it.
func (r *reporter) settle(key test, action string) {
	if output := r.kept[key]; output != nil && action == "fail" {
		_, _ = r.out.Write(output.Bytes())
	}
	delete(r.kept, key)
}

// slowest prints the longest durations, of packages where several were tested quietly and of tests otherwise.
func (r *reporter) slowest() {
	all, of := r.tests, "tests"
	if r.quiet && len(r.packages) > 1 {
		all, of = r.packages, "packages"
	}
	if len(all) == 0 {
		return
	}
	slices.SortStableFunc(all, func(a, b duration) int { return cmp.Compare(b.seconds, a.seconds) })
	fmt.Fprintf(r.out, "the slowest of %d %s:\n", len(all), of)
	for _, one := range all[:min(listed, len(all))] {
		fmt.Fprintf(r.out, "%9.1f s  %s\n", one.seconds, one.name)
	}
}

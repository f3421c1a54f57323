// Command shard picks one of several parts of a list of tests, so that a long run can be cut in pieces of about the
// same length. It reads the output of `go test -list` and prints an expression for `go test -run`:
//
//	go test -tags full -list '^Test' ./test/e2e | go run ./test/shard 2/6
//
// Every test is in exactly one part. How long each took when it was last measured stands in seconds.txt; only the
// balance depends on it.
package main

import (
	"bufio"
	"cmp"
	_ "embed"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

//go:embed seconds.txt
var measured string

// unknown is how many seconds a test without a measurement counts.
const unknown = 60

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go test -list '^Test' PACKAGE... | shard K/N")
		os.Exit(2)
	}
	expression, err := run(os.Args[1], os.Stdin, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "shard:", err)
		os.Exit(1)
	}
	fmt.Println(expression)
}

// run returns the expression for part "K/N" of the tests that in lists, and tells about how long they take.
func run(part string, in io.Reader, log io.Writer) (string, error) {
	k, n, err := parse(part)
	if err != nil {
		return "", err
	}
	names, err := testNames(in)
	if err != nil {
		return "", err
	}
	seconds, err := durations(measured)
	if err != nil {
		return "", err
	}
	mine := split(names, seconds, n)[k-1]
	if len(mine) == 0 {
		return "", fmt.Errorf("cutting %d tests in %d parts: part %d is empty", len(names), n, k)
	}
	minutes := total(mine, seconds)/60 + 1
	fmt.Fprintf(log, "part %s: %d of %d tests, about %d minutes\n", part, len(mine), len(names), minutes)
	return "^(" + strings.Join(mine, "|") + ")$", nil
}

// parse reads "2/6" as 2, 6.
func parse(part string) (k, n int, err error) {
	left, right, found := strings.Cut(part, "/")
	k, errK := strconv.Atoi(left)
	n, errN := strconv.Atoi(right)
	if !found || errK != nil || errN != nil || k < 1 || k > n {
		return 0, 0, fmt.Errorf("reading part %q: it must be two numbers as in 2/6, from 1/6 to 6/6", part)
	}
	return k, n, nil
}

// testNames are the lines of `go test -list` that name a test; the others tell of packages.
func testNames(in io.Reader) ([]string, error) {
	var names []string
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "Test") {
			names = append(names, lines.Text())
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the list of tests: %w", err)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// durations reads lines "SECONDS TEST".
func durations(text string) (map[string]int, error) {
	seconds := map[string]int{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		took, err := strconv.Atoi(fields[0])
		if err != nil || len(fields) != 2 {
			return nil, fmt.Errorf("reading seconds.txt: line %q must be SECONDS TEST", strings.TrimSpace(line))
		}
		seconds[fields[1]] = took
	}
	return seconds, nil
}

// split gives each test, the longest first, to the part that is shortest so far.
func split(names []string, seconds map[string]int, n int) [][]string {
	names = slices.Clone(names)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(take(b, seconds), take(a, seconds)) })
	parts, sums := make([][]string, n), make([]int, n)
	for _, name := range names {
		shortest := slices.Index(sums, slices.Min(sums))
		parts[shortest] = append(parts[shortest], name)
		sums[shortest] += take(name, seconds)
	}
	return parts
}

func total(names []string, seconds map[string]int) (sum int) {
	for _, name := range names {
		sum += take(name, seconds)
	}
	return sum
}

func take(name string, seconds map[string]int) int {
	if took, known := seconds[name]; known {
		return took
	}
	return unknown
}

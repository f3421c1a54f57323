package main

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

const list = "TestA\nTestB\nTestAB\nok  \targosy.dev/argosy/test/lab\t0.010s\n" +
	"TestC\nTestD\nFuzzX\nok  \targosy.dev/argosy/test/e2e\t0.010s\n"

func TestEveryTestIsInExactlyOnePart(t *testing.T) {
	for n := 1; n <= 5; n++ {
		in := map[string]int{}
		for k := 1; k <= n; k++ {
			expression, err := run(fmt.Sprintf("%d/%d", k, n), strings.NewReader(list), io.Discard)
			assert.NilError(t, err)
			chosen := regexp.MustCompile(expression)
			for _, name := range []string{"TestA", "TestB", "TestAB", "TestC", "TestD"} {
				if chosen.MatchString(name) {
					in[name]++
				}
			}
		}
		assert.DeepEqual(t, in, map[string]int{"TestA": 1, "TestB": 1, "TestAB": 1, "TestC": 1, "TestD": 1})
	}
}

func TestPartsTakeAboutTheSameTime(t *testing.T) {
	seconds := map[string]int{"TestA": 600, "TestB": 300, "TestC": 290}
	parts := split([]string{"TestA", "TestB", "TestC", "TestUnknown"}, seconds, 2)
	assert.DeepEqual(t, parts, [][]string{{"TestA"}, {"TestB", "TestC", "TestUnknown"}})
}

func TestBadPartIsRefused(t *testing.T) {
	for _, part := range []string{"", "2", "0/6", "7/6", "a/b", "1/0", "-1/2"} {
		_, err := run(part, strings.NewReader(list), io.Discard)
		assert.ErrorContains(t, err, "must be two numbers as in 2/6", part)
	}
}

func TestAPartWithoutTestsIsAnError(t *testing.T) {
	_, err := run("2/2", strings.NewReader("TestA\n"), io.Discard)
	assert.ErrorContains(t, err, "part 2 is empty")
}

func TestTheMeasuredSecondsCanBeRead(t *testing.T) {
	seconds, err := durations(measured)
	assert.NilError(t, err)
	assert.Assert(t, len(seconds) > 0)
}

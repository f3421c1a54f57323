package rollout

import (
	"slices"
	"testing"

	"gotest.tools/v3/assert"
)

func TestNamesComeInTheOrderInWhichPeopleCount(t *testing.T) {
	want := []string{
		"", "1", "2", "10", "a", "m", "m-2", "m-10", "m1", "m01", "m1a", "m2", "m2-1", "m02-2", "m2-10",
		"m10", "m99999999999999999999998", "m99999999999999999999999", "n",
	}
	slices.Sort(want[8:10])
	for seed := range len(want) {
		got := append(slices.Clone(want[seed:]), want[:seed]...)
		slices.SortFunc(got, natural)
		assert.DeepEqual(t, got, want)
	}
	for _, a := range want {
		for _, b := range want {
			assert.Equal(t, natural(a, b), -natural(b, a), "%s %s", a, b)
			assert.Equal(t, natural(a, b) == 0, a == b, "%s %s", a, b)
		}
	}
}

package site

import (
	"testing"

	"gotest.tools/v3/assert"
)

func TestKubeletsStartOnAComputerThatSwaps(t *testing.T) {
	const heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
	for swaps, want := range map[string]any{
		"": nil, heading: nil, heading + "/dev/dm-1 partition 1000 0 -2\n": false,
		heading + "/swap.img file 1 0 -2\n": false,
	} {
		assert.Equal(t, kubeletConfig(hasSwap(swaps))["failSwapOn"], want, swaps)
	}
}

package main

import (
	"testing"

	"gotest.tools/v3/assert"
)

func TestWhatASecondRunChangedIsInItsMessage(t *testing.T) {
	for message, changed := range map[string]bool{
		"API server https://10.117.0.200:443 runs v1.34.4 after 0.4 s: 14 unchanged":                              false,
		"API server https://10.117.0.200:443 runs v1.34.4 after 9.1 s: 1 changed (StatefulSet a/b), 13 unchanged": true,
		"flannel v0.26.7 after 0.3 s: 2 created, 40 unchanged":                                                    true,
		"flannel v0.26.7 after 0.3 s: nothing to set":                                                             true,
	} {
		assert.Equal(t, changes(message), changed, message)
	}
}

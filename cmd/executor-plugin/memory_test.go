package main

import (
	"os"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"
)

func TestTheMemoryLimitComesFromTheContainers(t *testing.T) {
	const v2, v1 = "sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"
	for name, test := range map[string]struct {
		file, content string
		want          int64
	}{
		"version 2":            {v2, "268435456\n", 214748320},
		"version 2, no limit":  {v2, "max\n", memoryGoal},
		"version 1":            {v1, "1073741824\n", 858993440},
		"version 1, no limit":  {v1, "9223372036854771712\n", memoryGoal},
		"no control group":     {"etc/hostname", "m1\n", memoryGoal},
		"what cannot be read":  {v2, "many\n", memoryGoal},
		"a limit of nothing":   {v2, "0\n", memoryGoal},
		"a limit below zero":   {v2, "-1\n", memoryGoal},
		"an empty file":        {v2, "", memoryGoal},
		"a number with a unit": {v2, "256M\n", memoryGoal},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, test.file)
			assert.NilError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			assert.NilError(t, os.WriteFile(path, []byte(test.content), 0o644))
			assert.Equal(t, memoryLimit(root), test.want)
		})
	}
}

package main

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

const (
	// memoryGoal is where Go collects harder where the process has no limit; with fifty machines in flight the plugin
	// stays below 96 MiB.
	memoryGoal = 80 << 20
	// memoryShare of the container's limit, in percent, is where Go collects harder. The rest is for what Go does not
	// count: the program's own pages, and those of files that are read.
	memoryShare = 80
	// heapGrowth is how much the heap grows between two collections, in percent of its live part: half as much as by
	// default, since little memory is worth more here than the time of a collection.
	heapGrowth = 50
)

// limitMemory sets how Go's collector bounds the process's memory, by the limit of its container, below root. What
// GOMEMLIMIT and GOGC set stays.
func limitMemory(root string) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit(root))
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
	}
}

// memoryLimit returns the share of the limit that the process's control group has, in bytes, or memoryGoal where it has
// none.
func memoryLimit(root string) int64 {
	for _, name := range []string{"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			continue
		}
		limit, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64)
		// Version 2 writes "max" for none, and version 1 a number near the largest.
		if err == nil && limit > 0 && limit < 1<<50 {
			return limit / 100 * memoryShare
		}
	}
	return memoryGoal
}

//go:build !full

package e2e_test

// fullSuite reports whether all tests are compiled in, so that together they must show every key.
const fullSuite = false

//go:build !full

package e2e_test

// settle returns the exit status of the tests. Only the full suite is held against the specification.
func settle(code int) int { return code }

//go:build !full

package e2e_test

// finishProof returns the exit status of the tests. Only the full suite is held against the specification.
func finishProof(code int) int { return code }

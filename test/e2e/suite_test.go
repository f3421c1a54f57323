//go:build !full

package e2e_test

// finishProof returns the exit status. Only the full suite must show every key of the specification.
func finishProof(code int) int { return code }

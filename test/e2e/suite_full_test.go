//go:build full

package e2e_test

const fullSuite = true

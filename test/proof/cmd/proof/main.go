// Command proof prints docs/proof.md from the results of the end-to-end tests in this checkout.
package main

import (
	"fmt"
	"os"

	"argosy.dev/argosy/test/proof"
)

func main() {
	rows, err := proof.Load()
	if err != nil {
		fmt.Fprintln(os.Stderr, "proof:", err)
		os.Exit(1)
	}
	fmt.Print(proof.Page(rows))
}

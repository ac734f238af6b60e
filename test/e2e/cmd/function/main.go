// Command function serves the function that FUNCTION_TARGET names at PORT on this machine, as a deployed one
// is served, until its standard input ends: so that it never outlives the test that started it.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"

	// These register themselves.
	_ "github.com/isectech/service-networking/functions/authz"
	_ "github.com/isectech/service-networking/functions/register"
)

func main() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // whatever ends it
		os.Exit(1)
	}()
	if err := funcframework.StartHostPort("127.0.0.1", os.Getenv("PORT")); err != nil {
		fmt.Fprintln(os.Stderr, "function:", err)
		os.Exit(1)
	}
}

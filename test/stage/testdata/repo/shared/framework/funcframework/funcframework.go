// Package funcframework stands for the functions framework's package of this name: it serves the registered
// handler that FUNCTION_TARGET names.
package funcframework

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"
)

// Start serves until SIGTERM, and ends with status 0 then.
func Start(port string) error {
	handler, ok := functions.Registered[os.Getenv("FUNCTION_TARGET")]
	if !ok {
		return fmt.Errorf("no function %q", os.Getenv("FUNCTION_TARGET"))
	}
	go func() {
		terminated := make(chan os.Signal, 1)
		signal.Notify(terminated, syscall.SIGTERM)
		<-terminated
		os.Exit(0)
	}()
	return http.ListenAndServe("127.0.0.1:"+port, handler)
}

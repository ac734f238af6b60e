// Command hello is a function that does nothing but answer, with the Google clients that its build tags name
// linked and made: the least that a function with such clients can take to start.
package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"os"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
	"github.com/GoogleCloudPlatform/functions-framework-go/functions"
)

// clients makes a client of each kind that is linked.
var clients []func(ctx context.Context, project string) (io.Closer, error)

func main() {
	for _, client := range clients {
		if _, err := client(context.Background(), os.Getenv("GOOGLE_CLOUD_PROJECT")); err != nil {
			log.Fatal(err)
		}
	}
	functions.HTTP("Hello", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello\n") })
	if err := funcframework.Start(os.Getenv("PORT")); err != nil {
		log.Fatal(err)
	}
}

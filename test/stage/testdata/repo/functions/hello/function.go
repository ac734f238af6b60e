// Package hello is the smallest function that has all that a zip has: a package of its own below it, a file
// that it embeds, and a module of the repository.
package hello

import (
	"net/http"
	"os"

	_ "github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
	"github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"example.com/repo/functions/hello/internal/greeting"
	"example.com/repo/shared/word"
)

func init() {
	functions.HTTP("Hello", serve)
	functions.HTTP("Bye", serve)
	if os.Getenv("FUNCTION_TARGET") != "" && os.Getenv("GOOGLE_CLOUD_PROJECT") == "" {
		_, _ = os.Stderr.WriteString("GOOGLE_CLOUD_PROJECT is not set\n")
		os.Exit(1)
	}
}

func serve(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(word.Status)
	_, _ = w.Write(greeting.Text)
}

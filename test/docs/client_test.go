package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isectech/service-networking/test/devtest"
)

// TestClientExample wants the code of docs/client.md to be that of the example, which is compiled.
func TestClientExample(t *testing.T) {
	t.Parallel()
	root := devtest.Root(t)
	page, err := os.ReadFile(filepath.Join(root, "docs", "client.md"))
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile(filepath.Join(root, "shared", "registry", "client", "example_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(page), "```go\n")
	code, _, _ = strings.Cut(code, "```")
	if code == "" || !strings.Contains(strings.ReplaceAll(string(example), "\n\t", "\n"), code) {
		t.Errorf("not in the example:\n%s", code)
	}
}

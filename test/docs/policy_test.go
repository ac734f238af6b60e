package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isectech/service-networking/shared/auth/policy"
)

// The policy that the documentation shows is one, without a finding.
func TestPolicyExample(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "policy.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "```json\n")
	example, _, closed := strings.Cut(rest, "\n```")
	if !ok || !closed {
		t.Fatal("docs/policy.md shows no policy")
	}
	_, findings, err := policy.Parse([]byte(example))
	if err != nil || len(findings) > 0 {
		t.Errorf("%v\n%v", err, findings)
	}
}

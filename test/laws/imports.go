package laws

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path"
	"slices"
	"strings"
)

const framework = "github.com/GoogleCloudPlatform/functions-framework-go"

// clouds are the import paths that the parts with no cloud in them must not reach.
var clouds = []string{
	"cloud.google.com/go",
	"google.golang.org/api",
	"google.golang.org/grpc",
	framework,
}

// embedded are the back ends of the platform in one process. No function's binary has them.
var embedded = []string{
	"go.etcd.io/bbolt",
	Prefix + "cmd",
	Prefix + "shared/platform/secrets/secretserver",
	Prefix + "shared/store/boltstore",
}

// GoList replaces the tree's import graph with that of the go command, which reaches into every dependency.
func (t *Tree) GoList(ctx context.Context, root string) error {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "work")
	cmd.Dir = root
	cmd.Env = append(cmd.Environ(), "GOWORK="+path.Join(root, "go.work"), "GOFLAGS=")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go list: %w\n%s", err, stderr.String())
	}
	t.Imports = map[string][]string{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		t.Imports[fields[0]] = fields[1:]
	}
	return nil
}

// FunctionsApart lets no function import another, and nothing shared import a function or a program. Tests
// are held to it too.
func FunctionsApart(t *Tree) ([]Violation, error) {
	var found []Violation
	for _, p := range t.Packages {
		top, _, _ := strings.Cut(p.Dir, "/")
		for _, f := range p.Files {
			for _, imported := range f.Imports() {
				_, other, isFunction := strings.Cut(imported, Prefix+"functions/")
				switch {
				case top == "functions" && isFunction && module(other) != module(strings.TrimPrefix(p.Dir, "functions/")):
					found = append(found, f.at(f.AST, "a function imports another: %s", imported))
				case top == "functions" && within(imported, Prefix+"cmd"):
					found = append(found, f.at(f.AST, "a function imports a program: %s", imported))
				case top == "shared" && (isFunction || within(imported, Prefix+"cmd", Prefix+"test")):
					found = append(found, f.at(f.AST, "what is shared imports what it is shared by: %s", imported))
				}
			}
		}
	}
	return found, nil
}

func module(p string) string {
	name, _, _ := strings.Cut(p, "/")
	return name
}

// NoCloud keeps what decides independent of where it runs: shared/auth, shared/registry, the store's
// contract and every internal package of a function but its back ends reach no cloud SDK and no
// framework, through whatever they import.
func NoCloud(t *Tree) ([]Violation, error) {
	var found []Violation
	for _, p := range t.Packages {
		if !decides(p.Dir) {
			continue
		}
		if chain := t.reach(p.Path, clouds); chain != nil {
			found = append(found, Violation{p.Dir, "reaches a cloud SDK: " + strings.Join(chain, " → ")})
		}
	}
	return found, nil
}

func decides(dir string) bool {
	if within(dir, "shared/registry/grpcresolver") {
		return false // an adapter, in a module of its own; what decides may not import it, since it reaches gRPC
	}
	if dir == "shared/store" || within(dir, "shared/auth", "shared/registry") {
		return true
	}
	if !strings.HasPrefix(dir, "functions/") || !strings.Contains(dir+"/", "/internal/") {
		return false
	}
	// Back ends are named after what they are.
	name := path.Base(dir)
	for _, kind := range []string{"store", "cache", "metrics", "traffic"} {
		if name != kind && strings.HasSuffix(name, kind) {
			return false
		}
	}
	return true
}

// NothingEmbedded keeps the back ends of the one-process platform out of every function.
func NothingEmbedded(t *Tree) ([]Violation, error) {
	var found []Violation
	for _, p := range t.Packages {
		if !strings.HasPrefix(p.Dir, "functions/") {
			continue
		}
		if chain := t.reach(p.Path, embedded); chain != nil {
			found = append(found, Violation{p.Dir, "links what only the one-process platform may: " + strings.Join(chain, " → ")})
		}
	}
	return found, nil
}

// recorders are what records spans and sends them away, and exporters is the package that a function imports
// for it.
var (
	recorders = []string{"go.opentelemetry.io/otel/sdk", "go.opentelemetry.io/otel/exporters"}
	exporters = Prefix + "shared/platform/tracing/otlp"
)

// SpansAsked keeps OpenTelemetry's SDK and exporters out of every function that does not ask for them by an
// import of its own.
func SpansAsked(t *Tree) ([]Violation, error) {
	var found []Violation
	for _, p := range t.Packages {
		if !strings.HasPrefix(p.Dir, "functions/") || slices.Contains(t.Imports[p.Path], exporters) {
			continue
		}
		if chain := t.reach(p.Path, recorders); chain != nil {
			found = append(found, Violation{p.Dir, "links what records spans without asking for it: " + strings.Join(chain, " → ")})
		}
	}
	return found, nil
}

// TestingApart keeps the testing package, and so whatever serves tests, out of every function and program.
func TestingApart(t *Tree) ([]Violation, error) {
	var found []Violation
	for _, p := range t.Packages {
		if !within(p.Dir, "functions", "cmd") {
			continue
		}
		if chain := t.reach(p.Path, []string{"testing"}); chain != nil {
			found = append(found, Violation{p.Dir, "ships what serves tests: " + strings.Join(chain, " → ")})
		}
	}
	return found, nil
}

// reach returns the shortest chain of imports from a package to one of the targets, nil when there is none.
func (t *Tree) reach(from string, targets []string) []string {
	before := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at != from && within(at, targets...) {
			var chain []string
			for ; at != ""; at = before[at] {
				chain = append(chain, strings.TrimPrefix(at, Prefix))
			}
			slices.Reverse(chain)
			return chain
		}
		for _, next := range t.Imports[at] {
			if _, seen := before[next]; !seen {
				before[next] = at
				queue = append(queue, next)
			}
		}
	}
	return nil
}

// within reports whether a path is one of the roots or lies below one.
func within(p string, roots ...string) bool {
	for _, root := range roots {
		if p == root || strings.HasPrefix(p, root+"/") {
			return true
		}
	}
	return false
}

package stage

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRehearse(t *testing.T) {
	t.Parallel()
	root := repository(t)
	file, _ := zipped(t, root, "hello", t.TempDir())
	work := t.TempDir()
	built, err := Rehearse(t.Context(), file, work)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Bye", "Hello"}, built.Targets); diff != "" {
		t.Errorf("functions (-want +got):\n%s", diff)
	}
	listed, err := Dependencies(t.Context(), filepath.Join(root, "functions", "hello"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"example.com/repo/functions/hello", "example.com/repo/functions/hello/internal/greeting", "example.com/repo/shared/word",
		framework + "/funcframework", framework + "/functions",
	}
	if diff := cmp.Diff([][]string{want, want}, [][]string{listed, built.Packages}); diff != "" {
		t.Errorf("packages, as listed and as built (-want +got):\n%s", diff)
	}
	env, err := Environment(t.Context(), work)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range built.Targets {
		if err := Refuses(t.Context(), built.Binary, target); err != nil {
			t.Error(err)
		}
		if err := Answers(t.Context(), built.Binary, target, env, Probe{Path: "/", Status: 503}); err != nil {
			t.Error(err)
		}
	}
	if err := Answers(t.Context(), built.Binary, "Hello", env, Probe{Path: "/", Status: 200}); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("another answer than the probe's: %v", err)
	}
	if err := Refuses(t.Context(), built.Binary, "Nobody"); err != nil {
		t.Errorf("%v", err) // the function refuses before anybody looks for the target
	}
	if err := Answers(t.Context(), built.Binary, "Nobody", env, Probe{Path: "/"}); err == nil {
		t.Error("a function that is not there answers")
	}
}

// TestRehearsalRefuses spoils an upload in the ways there are, and wants the rehearsal to fail with what is
// wrong.
func TestRehearsalRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		spoil func(t *testing.T, upload string)
		want  string
	}{
		"a test package at the root": {
			func(t *testing.T, upload string) { write(t, "package hello_test\n", upload, "hello_test.go") },
			"hello_test.go: package hello_test, and hello beside it",
		},
		"a program behind a constraint": {
			func(t *testing.T, upload string) {
				write(t, "//go:build ignore\n\npackage main\n\nfunc main() {}\n", upload, "generate.go")
			},
			"generate.go: package main, and hello beside it",
		},
		"a workspace": {
			func(t *testing.T, upload string) {
				write(t, "go 1.26.0\n\nuse (\n\t.\n\t../../shared/word\n)\n", upload, "go.work")
			},
			"go.work: a workspace",
		},
		"a vendor folder of before the module changed": {
			func(t *testing.T, upload string) {
				replace(t, "example.com/repo/shared/word v0.0.0\n", "example.com/repo/shared/word v0.0.1\n", upload, "go.mod")
			},
			"inconsistent vendoring",
		},
		"a vendor folder of before the code changed": {
			func(t *testing.T, upload string) {
				replace(t, "serve)\n\tfunctions", "serve)\n\t_ = greeting.Later\n\tfunctions", upload, "function.go")
			},
			"undefined: greeting.Later",
		},
		"a package that would have to be fetched": {
			func(t *testing.T, upload string) {
				if err := os.RemoveAll(filepath.Join(upload, "vendor", "example.com")); err != nil {
					t.Fatal(err)
				}
			},
			"cannot find module providing package example.com/repo/shared/word",
		},
		"no vendor folder": {
			func(t *testing.T, upload string) {
				if err := os.RemoveAll(filepath.Join(upload, "vendor")); err != nil {
					t.Fatal(err)
				}
			},
			"vendor: lacks " + serving,
		},
		"nothing says that functions register themselves": {
			func(t *testing.T, upload string) {
				write(t, "package hello\n\nimport _ \""+serving+"\"\n", upload, "function.go")
			},
			"no file of the root package imports " + registering,
		},
		"a module path without a dot": {
			func(t *testing.T, upload string) {
				replace(t, "module example.com/", "module example/", upload, "go.mod")
			},
			"has no dot",
		},
		"a go.mod that cannot be written": {
			func(t *testing.T, upload string) {
				if err := os.Chmod(filepath.Join(upload, "go.mod"), 0o444); err != nil {
					t.Fatal(err)
				}
			},
			"go.mod: is not writable",
		},
		"the embedded store": {
			func(t *testing.T, upload string) {
				write(t, "package bbolt\n", upload, "vendor", "go.etcd.io", "bbolt", "db.go")
				replace(t, "require (\n", "require (\n\tgo.etcd.io/bbolt v1.5.0\n", upload, "go.mod")
				appendTo(t, "# go.etcd.io/bbolt v1.5.0\n## explicit; go 1.26\ngo.etcd.io/bbolt\n", upload, "vendor", "modules.txt")
				replace(t, "import (\n", "import (\n\t_ \"go.etcd.io/bbolt\"\n", upload, "function.go")
			},
			"links go.etcd.io/bbolt",
		},
		"what serves tests": {
			func(t *testing.T, upload string) {
				replace(t, "import (\n", "import (\n\t_ \"testing\"\n", upload, "function.go")
			},
			"links testing",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			work := t.TempDir()
			upload, err := Upload(t.Context(), repository(t), "hello", work)
			if err != nil {
				t.Fatal(err)
			}
			tt.spoil(t, upload)
			// An archive would mend the modes of what is in it, so the rehearsal begins after unpacking.
			if _, err := rehearse(t.Context(), upload, work); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("want an error with %q, got %v", tt.want, err)
			}
		})
	}
}

func replace(t *testing.T, old, text string, at ...string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(at...))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte(old)) {
		t.Fatalf("%s has no %q", filepath.Join(at...), old)
	}
	write(t, strings.Replace(string(data), old, text, 1), at...)
}

func appendTo(t *testing.T, text string, at ...string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(at...))
	if err != nil {
		t.Fatal(err)
	}
	write(t, string(data)+text, at...)
}

func TestRegistered(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		src  string
		want []string
	}{
		"boot":      {`import "github.com/isectech/service-networking/shared/platform/boot"; func init() { boot.HTTP("A", f); boot.Event("B", f) }`, []string{"A", "B"}},
		"renamed":   {`import fw "` + registering + `"; func init() { fw.HTTP("A", f) }`, []string{"A"}},
		"others":    {`import "example.com/boot"; func init() { boot.HTTP("A", f) }`, nil},
		"blank":     {`import _ "` + registering + `"; func init() { x.HTTP("A", f); HTTP("B", f) }`, nil},
		"constants": {`import "` + registering + `"; const A, B = "a", 1; func init() { functions.HTTP(A, f); functions.HTTP(B, f) }`, []string{"a"}},
		"no name":   {`import "` + registering + `"; func init() { functions.HTTP(name, f); functions.HTTP("A") }`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x; "+tt.src, 0)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, registered([]*ast.File{tree})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

package stage

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/test/devtest"
)

// repository returns a copy of testdata/repo for a test to change.
func repository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "repo"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, text string, at ...string) {
	t.Helper()
	name := filepath.Join(at...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func zipped(t *testing.T, root, name, out string) (path string, data []byte) {
	t.Helper()
	path, err := Zip(t.Context(), root, name, out)
	if err != nil {
		t.Fatal(err)
	}
	if data, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	return path, data
}

// names returns what a zip contains.
func names(t *testing.T, data []byte) []string {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range z.File {
		found = append(found, f.Name)
	}
	return found
}

func TestZipIsMadeOfTheSourcesAlone(t *testing.T) {
	t.Parallel()
	here := repository(t)
	path, data := zipped(t, here, "hello", t.TempDir())
	want := []string{
		"function.go", "go.mod", "go.sum",
		"internal/greeting/greeting.go", "internal/greeting/text.txt",
		"vendor/example.com/repo/shared/word/word.go",
		"vendor/github.com/GoogleCloudPlatform/functions-framework-go/funcframework/funcframework.go",
		"vendor/github.com/GoogleCloudPlatform/functions-framework-go/functions/functions.go",
		"vendor/modules.txt",
	}
	if diff := cmp.Diff(want, names(t, data)); diff != "" {
		t.Errorf("contents (-want +got):\n%s", diff)
	}

	// Elsewhere, at another time, with things lying about that no build on Cloud Run needs or stands.
	there := repository(t)
	fn := filepath.Join(there, "functions", "hello")
	write(t, "package word\n\nconst Status = 200\n", fn, "vendor", "example.com", "repo", "shared", "word", "word.go")
	write(t, "# example.com/repo/shared/word v0.0.0\n", fn, "vendor", "modules.txt")
	write(t, "package hello_test\n\nimport _ \"example.com/nowhere\"\n", fn, "hello_test.go")
	write(t, "//go:build ignore\n\npackage main\n\nfunc main() {}\n", fn, "generate.go")
	write(t, "package hello\n\nfunc init() { panic(1) }\n", fn, "other_windows.go")
	write(t, "go 1.26.0\n\nuse .\n", fn, "go.work")
	write(t, "list\n", fn, "deps.txt")
	write(t, "secret\n", fn, ".env")
	write(t, "package main\n\nfunc main() {}\n", fn, "cmd", "tool", "main.go")
	write(t, "package word\n\nimport _ \"testing\"\n", there, "shared", "word", "word_test.go")
	if err := os.Chtimes(filepath.Join(fn, "function.go"), time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(fn, "function.go"), 0o700); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	for range 2 {
		again, same := zipped(t, there, "hello", out)
		if filepath.Base(again) != filepath.Base(path) || !bytes.Equal(same, data) {
			t.Errorf("%s and %s differ: %v", path, again, names(t, same))
		}
	}

	// What is shared is part of it, and a new zip takes the old one's place.
	write(t, "unrelated\n", out, "hello-0123456789abcdef.zip")
	write(t, "package word\n\nconst Status = 200\n", there, "shared", "word", "word.go")
	changed, _ := zipped(t, there, "hello", out)
	if filepath.Base(changed) == filepath.Base(path) {
		t.Errorf("%s has the name of other contents", changed)
	}
	if _, err := os.Stat(filepath.Join(out, filepath.Base(path))); err == nil {
		t.Errorf("%s is still there", path)
	}
	if _, err := os.Stat(filepath.Join(out, "hello-0123456789abcdef.zip")); err != nil {
		t.Error(err)
	}
}

func TestUploadTouchesNoModuleFile(t *testing.T) {
	t.Parallel()
	root := repository(t)
	// The function's go.mod lacks what another module has come to import.
	write(t, "package word\n\nimport _ \"example.com/repo/shared/more\"\n\nconst Status = 503\n", root, "shared", "word", "word.go")
	write(t, "module example.com/repo/shared/more\n\ngo 1.26.0\n", root, "shared", "more", "go.mod")
	write(t, "package more\n", root, "shared", "more", "more.go")
	if path, err := Zip(t.Context(), root, "hello", t.TempDir()); err == nil {
		t.Errorf("made %s of a module that is not tidy", path)
	}
}

// TestFunctions stages the repository's own functions, as far as that goes without building them.
func TestFunctions(t *testing.T) {
	t.Parallel()
	root := devtest.Root(t)
	found, err := Functions(root)
	if err != nil || len(found) < 2 {
		t.Fatalf("found the functions %q, %v", found, err)
	}
	for _, name := range found {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, data := zipped(t, root, name, t.TempDir())
			contents := names(t, data)
			if !slices.IsSorted(contents) {
				t.Error("the names are not sorted")
			}
			for _, entry := range contents {
				for _, bad := range forbidden {
					if bad != "testing" && strings.HasPrefix(entry, "vendor/"+bad+"/") {
						t.Errorf("contains %s", entry)
					}
				}
				if strings.HasSuffix(entry, "_test.go") || entry == "go.work" {
					t.Errorf("contains %s", entry)
				}
			}
		})
	}
}

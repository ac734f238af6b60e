package laws

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

var laws = map[string]Law{
	"DocComments":     DocComments,
	"PackageNames":    PackageNames,
	"Ambient":         Ambient,
	"NoSleep":         NoSleep,
	"HTTPOnly":        HTTPOnly,
	"EntryFiles":      EntryFiles,
	"EntryImports":    EntryImports,
	"Finished":        Finished,
	"SmallInterfaces": SmallInterfaces,
	"FunctionsApart":  FunctionsApart,
	"NoCloud":         NoCloud,
	"NothingEmbedded": NothingEmbedded,
	"SpansAsked":      SpansAsked,
	"TestingApart":    TestingApart,
	"Replaced":        Replaced,
	"OneVersion":      OneVersion,
	"Explained":       Explained,
	"Records":         Records,
	"Changelog":       Changelog,
	"Configured":      Configured,
	"Documents":       Documents,
}

// root is the folder that go.work lies in.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.work above the test")
		}
		dir = parent
	}
}

// TestRepository holds the repository to every law.
func TestRepository(t *testing.T) {
	t.Parallel()
	dir := root(t)
	tree, err := Load(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.GoList(t.Context(), dir); err != nil {
		t.Error(err) // the laws see what is left: the imports of our own files
	}
	for name, law := range laws {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found, err := law(tree)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range found {
				t.Error(v)
			}
		})
	}
}

// TestNoCredentials looks at every file that is committed or could be.
func TestNoCredentials(t *testing.T) {
	t.Parallel()
	dir := root(t)
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("which files belong to the repository is git's to say: %v", err)
		}
		t.Skipf("not a git checkout, so nothing says which files belong to it: %v", err)
	}
	var names []string
	for name := range bytes.SplitSeq(bytes.TrimRight(out, "\x00"), []byte{0}) {
		names = append(names, string(name))
	}
	slices.Sort(names)
	found, err := Credentials(os.DirFS(dir), slices.Compact(names))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Error(v)
	}
}

// lawful is the smallest tree that breaks no law. A test adds the files that do.
func lawful() map[string]string {
	return map[string]string{
		"go.work": "go 1.26.0\nuse (\n\t./shared/a\n\t./functions/f\n)\n",
		"shared/a/go.mod": "module " + Prefix + "shared/a\ngo 1.26.0\n" +
			"require example.com/lib v1.0.0\n",
		"shared/a/a.go": "// Package a is an idea.\npackage a\n\nimport _ \"example.com/lib\"\n",
		"functions/f/go.mod": "module " + Prefix + "functions/f\ngo 1.26.0\n" +
			"require " + Prefix + "shared/a v0.0.0\n" +
			"require example.com/lib v1.0.0 // indirect\n" +
			"replace " + Prefix + "shared/a => ../../shared/a\n",
		"functions/f/function.go": "// Package f is a function.\npackage f\n\nimport (\n\t\"time\"\n\t_ \"" + Prefix + "shared/a\"\n" +
			"\t_ \"" + framework + "/funcframework\"\n\t_ \"" + framework + "/functions\"\n)\n\nvar now = time.Now\n",
		"docs/architecture.md": "The modules `shared/a` and `functions/f`, see [decisions](decisions/0001-begin.md#context).\n",
		"docs/dependencies.md": "# Dependencies\n\n## Libraries\n\n| `example.com/lib` | why |\n\n## Tools\n\n| `example.com/tool` | why |\n",
		"docs/decisions/0001-begin.md": "# 1. Begin\n\nDate: 2026-01-04\n\n## Context\n\nx\n\n## Decision\n\nx\n\n" +
			"## Consequences\n\nx\n",
		"docs/configuration.md": "| `PORT` | 8080 |\n",
		"CHANGELOG.md":          "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- x\n\n## [0.1.0] - 2026-01-04\n",
		"Makefile":              "test: ## x\n\ttrue\n",
		"README.md":             "Run `make test`.\n",
	}
}

func TestLaws(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		law   Law
		files map[string]string
		want  []string // where, and a part of what
	}{
		"doc comment missing": {
			law:   DocComments,
			files: map[string]string{"shared/a/b/b.go": "package b\n", "shared/a/b/c.go": "// Something.\npackage b\n"},
			want:  []string{"shared/a/b: no file has a package comment"},
		},
		"doc comment only in a test": {
			law:   DocComments,
			files: map[string]string{"shared/a/b/b.go": "package b\n", "shared/a/b/b_test.go": "// Package b is.\npackage b\n"},
			want:  []string{"shared/a/b: no file has a package comment"},
		},
		"doc comment in the only test": {
			law:   DocComments,
			files: map[string]string{"shared/a/b/b_test.go": "// Package b is.\npackage b\n"},
		},
		"package named util": {
			law:   PackageNames,
			files: map[string]string{"shared/a/util/x.go": "package text\n", "shared/a/b/b.go": "package common\n"},
			want:  []string{"shared/a/b/b.go:1: package common", "shared/a/util/x.go:1: package text in util"},
		},
		"clock and environment": {
			law: Ambient,
			files: map[string]string{
				"shared/a/b.go":      "package a\n\nimport (\n\tclock \"time\"\n\t\"os\"\n)\n\nvar now = clock.Now\nvar e = os.Getenv(\"A\")\nvar d = clock.Since\n",
				"shared/a/c.go":      "package a\n\nvar time struct{ Now int }\nvar x = time.Now\n",
				"shared/a/a_test.go": "package a\n\nimport \"time\"\n\nvar start = time.Now()\n",
				"functions/f/g.go":   "package f\n\nimport \"os\"\n\nvar env = os.LookupEnv\n",
			},
			want: []string{
				"functions/f/g.go:5: os.LookupEnv",
				"shared/a/b.go:10: time.Since",
				"shared/a/b.go:8: time.Now",
				"shared/a/b.go:9: os.Getenv",
			},
		},
		"environment in what serves tests": {
			law:   Ambient,
			files: map[string]string{"shared/a/atest/a.go": "package atest\n\nimport (\n\t\"os\"\n\t_ \"testing\"\n)\n\nvar e = os.Getenv(\"CI\")\n"},
		},
		"what serves tests is shipped": {
			law: TestingApart,
			files: map[string]string{
				"shared/a/atest/a.go":   "package atest\n\nimport _ \"testing\"\n",
				"shared/a/b.go":         "package a\n\nimport _ \"" + Prefix + "shared/a/atest\"\n",
				"functions/f/g_test.go": "package f\n\nimport _ \"testing\"\n",
			},
			want: []string{"functions/f: ships what serves tests: functions/f → shared/a → shared/a/atest → testing"},
		},
		"spans that nobody asked for": {
			law: SpansAsked,
			files: map[string]string{
				"shared/platform/tracing/otlp/o.go": "package otlp\n\nimport _ \"go.opentelemetry.io/otel/sdk/trace\"\n",
				"shared/platform/go.mod":            "module " + Prefix + "shared/platform\ngo 1.26.0\n",
				"go.work":                           "go 1.26.0\nuse (\n\t./shared/a\n\t./shared/platform\n\t./functions/f\n\t./functions/g\n)\n",
				"shared/a/b.go":                     "package a\n\nimport _ \"" + Prefix + "shared/platform/tracing/otlp\"\n",
				"functions/g/go.mod":                "module " + Prefix + "functions/g\ngo 1.26.0\n",
				"functions/g/function.go":           "package g\n\nimport _ \"" + Prefix + "shared/platform/tracing/otlp\"\n",
			},
			want: []string{"functions/f: links what records spans without asking for it: functions/f → shared/a → " +
				"shared/platform/tracing/otlp → go.opentelemetry.io/otel/sdk/trace"},
		},
		"sleep, in a test too": {
			law: NoSleep,
			files: map[string]string{
				"shared/a/a_test.go": "package a\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n",
				"shared/a/b_test.go": "package a\n\nimport (\n\t\"testing/synctest\"\n\t\"time\"\n)\n\n" +
					"func g() {\n\tsynctest.Test(nil, func() { time.Sleep(1) })\n\tsynctest.Wait()\n\ttime.Sleep(1)\n}\n",
			},
			want: []string{"shared/a/a_test.go:5: time.Sleep", "shared/a/b_test.go:11: time.Sleep"},
		},
		"CloudEvent": {
			law: HTTPOnly,
			files: map[string]string{"functions/f/g.go": "package f\n\nimport \"" + framework + "/functions\"\n\n" +
				"func init() {\n\tfunctions.HTTP(\"F\", nil)\n\tfunctions.CloudEvent(\"G\", nil)\n}\n"},
			want: []string{"functions/f/g.go:7: functions.CloudEvent"},
		},
		"long entry file": {
			law:   EntryFiles,
			files: map[string]string{"functions/f/function.go": "package f\n" + strings.Repeat("\n", 39)},
			want:  []string{"functions/f/function.go: an entry file"},
		},
		"entry file without the framework": {
			law: EntryImports,
			files: map[string]string{
				"functions/f/function.go": "package f\n\nimport _ \"" + framework + "/funcframework\"\n",
				"functions/f/g.go":        "package f\n\nimport _ \"" + framework + "/functions\"\n",
			},
			want: []string{"functions/f/function.go:1: does not import " + framework + "/functions"},
		},
		"unfinished": {
			law:   Finished,
			files: map[string]string{"shared/a/b.go": "package a\n\nvar x = 1 // good enough for now\n// TODO: more\n"},
			want:  []string{"shared/a/b.go:3: unfinished", "shared/a/b.go:4: unfinished"},
		},
		"seven methods": {
			law: SmallInterfaces,
			files: map[string]string{
				"shared/a/b.go": "package a\n\ntype Big interface{ A(); B(); C(); D(); E(); F(); G() }\ntype Six interface{ A(); B(); C(); D(); E(); F() }\n" +
					"type None interface{}\ntype Number interface{ ~int | ~string }\ntype Sum interface { Six; Closer }\n",
				"shared/a/c.go":    "package a\n\ntype Closer interface { Close() error }\n",
				"functions/f/g.go": "package f\n\nimport \"" + Prefix + "shared/a\"\n\ntype More interface { a.Six; error }\ntype Fine interface { a.Closer; error }\n",
			},
			want: []string{
				"functions/f/g.go:5: interface More has 7",
				"shared/a/b.go:3: interface Big has 7",
				"shared/a/b.go:5: interface None has no methods",
				"shared/a/b.go:7: interface Sum has 7",
			},
		},
		"a function imports another": {
			law: FunctionsApart,
			files: map[string]string{
				"functions/f/g.go":      "package f\n\nimport (\n\t_ \"" + Prefix + "functions/f/internal/x\"\n\t_ \"" + Prefix + "functions/ff\"\n)\n",
				"functions/f/g_test.go": "package f\n\nimport _ \"" + Prefix + "functions/g/api\"\n",
				"shared/a/b.go":         "package a\n\nimport _ \"" + Prefix + "cmd/isectl/x\"\n",
			},
			want: []string{
				"functions/f/g.go:1: a function imports another: " + Prefix + "functions/ff",
				"functions/f/g_test.go:1: a function imports another: " + Prefix + "functions/g/api",
				"shared/a/b.go:1: what is shared imports",
			},
		},
		"a decision reaches the cloud": {
			law: NoCloud,
			files: map[string]string{
				"go.work":                              "go 1.26.0\nuse (\n\t./shared/auth\n\t./shared/a\n\t./functions/f\n)\n",
				"shared/auth/go.mod":                   "module " + Prefix + "shared/auth\ngo 1.26.0\n",
				"shared/auth/x/x.go":                   "package x\n\nimport _ \"" + Prefix + "shared/a\"\n",
				"shared/auth/y/y_test.go":              "package y\n\nimport _ \"cloud.google.com/go/firestore\"\n",
				"shared/a/b.go":                        "package a\n\nimport _ \"cloud.google.com/go/firestore\"\n",
				"functions/f/internal/p/p.go":          "package p\n\nimport _ \"google.golang.org/grpc/status\"\n",
				"functions/f/internal/rediscache/r.go": "package rediscache\n\nimport _ \"google.golang.org/grpc\"\n",
			},
			want: []string{
				"functions/f/internal/p: reaches a cloud SDK: functions/f/internal/p → google.golang.org/grpc/status",
				"shared/auth/x: reaches a cloud SDK: shared/auth/x → shared/a → cloud.google.com/go/firestore",
			},
		},
		"a function links the embedded store": {
			law: NothingEmbedded,
			files: map[string]string{
				"shared/a/b.go":         "package a\n\nimport _ \"go.etcd.io/bbolt\"\n",
				"functions/f/g_test.go": "package f\n\nimport _ \"" + Prefix + "shared/store/boltstore\"\n",
			},
			want: []string{"functions/f: links what only the one-process platform may: functions/f → shared/a → go.etcd.io/bbolt"},
		},
		"replace line missing or wrong": {
			law: Replaced,
			files: map[string]string{
				"go.work": "go 1.26.0\nuse (\n\t./shared/a\n\t./functions/f\n\t./test\n)\n",
				"test/go.mod": "module " + Prefix + "test\ngo 1.26.0\nrequire " + Prefix + "shared/a v0.0.0\n" +
					"replace " + Prefix + "shared/b => ../shared/b\n",
			},
			want: []string{
				"test/go.mod: " + Prefix + "shared/a is replaced by \"\", not by \"../shared/a\"",
				"test/go.mod: " + Prefix + "shared/b is replaced by ../shared/b, where no module is",
			},
		},
		"two versions of one library": {
			law: OneVersion,
			files: map[string]string{
				"go.work":     "go 1.26.0\nuse (\n\t./shared/a\n\t./functions/f\n\t./test\n)\n",
				"test/go.mod": "module " + Prefix + "test\ngo 1.26.1\nrequire example.com/lib v1.0.1\n",
			},
			want: []string{
				"test/go.mod: example.com/lib is v1.0.1, and v1.0.0 in shared/a",
				"test/go.mod: go is 1.26.1, and 1.26.0 in shared/a",
			},
		},
		"module and library not explained": {
			law: Explained,
			files: map[string]string{
				"go.work":     "go 1.26.0\nuse (\n\t./shared/a\n\t./functions/f\n\t./test\n)\n",
				"test/go.mod": "module " + Prefix + "test\ngo 1.26.0\nrequire example.com/tool v1.0.0\n",
				"docs/dependencies.md": "# Dependencies\n\n## Libraries\n\n| `example.com/lib` | why |\n| `example.com/gone` | why |\n\n" +
					"## Tools\n\n| `example.com/tool` | why |\n",
			},
			want: []string{
				"docs/architecture.md: says nothing of the module `test`",
				"docs/dependencies.md: does not say why test requires `example.com/tool`",
				"docs/dependencies.md: explains `example.com/gone`",
			},
		},
		"decision records": {
			law: Records,
			files: map[string]string{
				"docs/decisions/0003-skip.md": "# 2. Skip\n\nDate: soon\n\n## Context\n\n## Decision\n",
				"docs/decisions/notes.md":     "",
			},
			want: []string{
				`docs/decisions/0003-skip.md: does not begin with "# 3. "`,
				`docs/decisions/0003-skip.md: has no line "Date: YYYY-MM-DD"`,
				"docs/decisions/0003-skip.md: has no part Consequences",
				"docs/decisions/0003-skip.md: the next number is 0002",
				"docs/decisions/notes.md: is not named",
			},
		},
		"changelog": {
			law:   Changelog,
			files: map[string]string{"CHANGELOG.md": "## [0.1.0] - 2026-01-04\n\n### New\n\n## [Unreleased]\n"},
			want: []string{
				`CHANGELOG.md: heading "## [0.1.0] - 2026-01-04"`,
				`CHANGELOG.md: heading "## [Unreleased]"`,
				`CHANGELOG.md: heading "### New"`,
			},
		},
		"variable not listed": {
			law:   Configured,
			files: map[string]string{"shared/a/b.go": "package a\n\ntype C struct {\n\tP int `env:\"PORT, default=1\"`\n\tQ int `json:\"q\" env:\"QUEUE\"`\n}\n"},
			want:  []string{"shared/a/b.go:5: docs/configuration.md does not list QUEUE"},
		},
		"links and targets": {
			law: Documents,
			files: map[string]string{
				"README.md": "[a](docs/none.md) [b](#x) [c](https://example.com) `make fly`\n\n```\n$ make run\n[x](y)\n```\nTo\nmake sense.\n",
				"docs/x.md": "[readme](../README.md#a) [b](b.md)\n",
			},
			want: []string{
				"README.md: links to docs/none.md",
				"README.md: names make fly",
				"README.md: names make run",
				"docs/x.md: links to b.md",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := lawful()
			maps.Copy(files, tt.files)
			tree, err := Load(mapFS(files))
			if err != nil {
				t.Fatal(err)
			}
			found, err := tt.law(tree)
			if err != nil {
				t.Fatal(err)
			}
			assertFound(t, found, tt.want)
		})
	}
}

// assertFound wants each violation to begin as the one of want in its place does.
func assertFound(t *testing.T, found []Violation, want []string) {
	t.Helper()
	var got []string
	for _, v := range found {
		got = append(got, v.String())
	}
	slices.Sort(got)
	begins := slices.Clone(got)
	for i := range begins {
		if i < len(want) && strings.HasPrefix(begins[i], want[i]) {
			begins[i] = want[i]
		}
	}
	if diff := cmp.Diff(want, begins); diff != "" {
		t.Errorf("violations (-want +got):\n%s", diff)
	}
}

// TestLawful keeps the tests above honest: without what they add, no law is broken.
func TestLawful(t *testing.T) {
	t.Parallel()
	tree, err := Load(mapFS(lawful()))
	if err != nil {
		t.Fatal(err)
	}
	for name, law := range laws {
		found, err := law(tree)
		if err != nil {
			t.Fatal(name, err)
		}
		for _, v := range found {
			t.Errorf("%s: %s", name, v)
		}
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	begin := "-----BEGIN "
	files := map[string]string{
		"key.go":   "package a\n\nvar k = `" + begin + "EC PRIVATE KEY-----\n" + strings.Repeat("MHcC", 16) + "`\n",
		"parts.go": "package a\n\nvar k = \"" + begin + "PRIVATE KEY-----\\n\" +\n\t\"" + strings.Repeat("MHcC", 16) + "\"\n",
		"jwk.json": `{"kty":"EC","d":"` + strings.Repeat("a", 43) + `"}`,
		"api.txt":  "AI" + "za" + strings.Repeat("b", 35),
		"seed.go":  "package a\n\nvar k = \"" + begin + "PRIVATE KEY-----\\n-----END PRIVATE KEY-----\"\n",
		"fine.pem": begin + "CERTIFICATE-----\n",
		"fine.go":  "package a\n\nvar d = map[string]string{\"d\": \"short\"}\n",
	}
	names := slices.Sorted(maps.Keys(files))
	found, err := Credentials(mapFS(files), append(names, "gone.txt"))
	if err != nil {
		t.Fatal(err)
	}
	assertFound(t, found, []string{
		"api.txt:1: looks like a Google API key",
		"jwk.json:1: looks like a private JSON Web Key",
		"key.go:3: looks like a private key",
		"parts.go:3: looks like a private key",
	})
}

func mapFS(files map[string]string) fs.FS {
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

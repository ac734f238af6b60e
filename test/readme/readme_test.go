package readme

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/test/devtest"
)

func TestParse(t *testing.T) {
	t.Parallel()
	markdown := strings.Join([]string{
		"# Title", "$ not a command", "",
		"```sh", "make run", "```",
		"```console",
		"$ A=1",
		"$ cat <<END \\", "> | tr a b", ">", "> END",
		"a…",
		"> quoted output", "",
		"last",
		"```",
		"text",
		"```console", "$ isectl validate   # exit status 1", "no", "```",
	}, "\n")
	got, err := Parse(markdown)
	if err != nil {
		t.Fatal(err)
	}
	want := []Step{
		{Line: 8, Command: "A=1"},
		{Line: 9, Command: "cat <<END \\\n| tr a b\n\nEND", Want: "a…\n> quoted output\n\nlast\n"},
		{Line: 20, Command: "isectl validate   # exit status 1", Want: "no\n", Status: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	for _, broken := range []string{"```console\noutput\n```\n", "```console\n$ a\n"} {
		if steps, err := Parse(broken); err == nil {
			t.Errorf("Parse(%q) = %v, not an error", broken, steps)
		}
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		want, got string
		matches   bool
	}{
		"same":                     {"a\nb\n", "a\nb\n", true},
		"spaces at the end":        {"a\n", "a \r\n\n", true},
		"nothing":                  {"", "", true},
		"something for nothing":    {"", "a\n", false},
		"nothing for something":    {"a\n", "", false},
		"within a line":            {`{"id":"…","n":…}`, `{"id":"x.y","n":3}`, true},
		"not beyond a line":        {"a…c\n", "a\nc\n", false},
		"lines":                    {"a\n…\nz\n", "a\nb\nc\nz\n", true},
		"no lines":                 {"a\n…\nz\n", "a\nz\n", true},
		"a line too many":          {"a\n", "a\nb\n", false},
		"patterns mean nothing":    {"a.c [x]* $\n", "abc x\n", false},
		"patterns mean themselves": {"a.c [x]* $\n", "a.c [x]* $\n", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Matches(tt.want, tt.got); got != tt.matches {
				t.Errorf("Matches(%q, %q) = %v", tt.want, tt.got, got)
			}
		})
	}
}

// bash skips a test where there is none, except in CI.
func bash(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the README's commands need bash: %v", err)
		}
		t.Skipf("the README's commands need bash: %v", err)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	bash(t)
	steps := []Step{
		{Command: "A=one; cd sub"},
		{Command: "echo $A; pwd | sed 's/.*sub/in sub/'; echo err >&2", Want: "one\nin sub\nerr\n"},
		{Command: "false | true # exit status 1", Status: 1},
		{Command: "read line # exit status 1", Status: 1},
		{Command: "if then", Want: "…", Status: 1},
		{Command: "echo said", Want: "meant"},
		{Command: "(exit 3)"},
		{Command: "exit 4"},
		{Command: "echo never", Want: "never"},
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o750); err != nil {
		t.Fatal(err)
	}
	outcomes, err := Run(t.Context(), dir, []string{"PATH=" + os.Getenv("PATH")}, steps)
	if err != nil {
		t.Fatal(err)
	}
	good := make([]bool, len(outcomes))
	for i, o := range outcomes {
		good[i] = o.Err() == nil
		// A syntax error's status is the shell's own choice.
		if o.Command == "if then" {
			good[i] = o.Ran && o.Exited != 0
		}
	}
	want := []bool{true, true, true, true, true, false, false, false, false}
	if diff := cmp.Diff(want, good); diff != "" {
		t.Errorf("steps that went as written (-want +got):\n%s\n%+v", diff, outcomes)
	}
}

func TestRunEnds(t *testing.T) {
	t.Parallel()
	bash(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := Run(ctx, t.TempDir(), []string{"PATH=" + os.Getenv("PATH")}, []Step{{Command: "tail -f /dev/null | cat"}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run = %v, not the context's end", err)
	}
}

// TestREADME does what the README tells a newcomer to do: with the platform running, one command after the
// other, in a folder that looks like a fresh checkout after `make run`.
func TestREADME(t *testing.T) {
	t.Parallel()
	bash(t)
	root := devtest.Root(t)
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := checkout(t, root)
	platform := devtest.Start(t, filepath.Join(dir, "bin", "isectl"), filepath.Join(dir, ".local"))

	// The README shows the address that `make run` has by default.
	address := strings.TrimPrefix(platform.URL, "http://")
	steps, err := Parse(strings.ReplaceAll(string(text), "127.0.0.1:8080", address))
	if err != nil {
		t.Fatalf("README.md: %v", err)
	}
	if len(steps) == 0 {
		t.Fatal("README.md shows no command with its output")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	outcomes, err := Run(ctx, dir, []string{
		"PATH=" + filepath.Join(dir, "bin") + string(os.PathListSeparator) + os.Getenv("PATH"),
		"HOME=" + dir,
		"LANG=C.UTF-8",
		"LOCAL_DIR=" + platform.LocalDir,
		"PORT=" + address[strings.LastIndex(address, ":")+1:],
	}, steps)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range outcomes {
		if err := o.Err(); err != nil {
			t.Errorf("README.md: %v", err)
		}
	}
}

// checkout makes a folder with the repository's visible top-level entries and bin/isectl.
func checkout(t *testing.T, root string) string {
	t.Helper()
	dir := t.TempDir()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || e.Name() == "bin" {
			continue
		}
		if err := os.Symlink(filepath.Join(root, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(devtest.Build(t), filepath.Join(dir, "bin", "isectl")); err != nil {
		t.Fatal(err)
	}
	return dir
}

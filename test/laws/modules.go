package laws

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// Replaced wants each module to find the repository's others where they lie, so that it builds without the
// workspace, as a function is packaged.
func Replaced(t *Tree) ([]Violation, error) {
	dirs := map[string]string{}
	for _, m := range t.Modules {
		dirs[m.Path()] = m.Dir
	}
	var found []Violation
	for _, m := range t.Modules {
		targets := map[string]string{}
		for _, r := range m.File.Replace {
			targets[r.Old.Path] = r.New.Path
		}
		for _, r := range m.File.Require {
			dir, ours := dirs[r.Mod.Path]
			if !ours {
				continue
			}
			want, err := filepath.Rel(m.Dir, dir)
			if err != nil {
				return nil, err
			}
			if got := targets[r.Mod.Path]; got != filepath.ToSlash(want) {
				found = append(found, Violation{
					path.Join(m.Dir, "go.mod"),
					fmt.Sprintf("%s is replaced by %q, not by %q", r.Mod.Path, got, want),
				})
			}
		}
		for old, target := range targets {
			if _, err := fs.Stat(t.FS, path.Join(m.Dir, target, "go.mod")); err != nil {
				found = append(found, Violation{path.Join(m.Dir, "go.mod"), fmt.Sprintf("%s is replaced by %s, where no module is", old, target)})
			}
		}
	}
	return found, nil
}

// OneVersion wants every module to require the same version of what it shares with another, and the same
// Go. Otherwise the workspace tests a combination that no function is built from.
func OneVersion(t *Tree) ([]Violation, error) {
	type choice struct{ version, dir string }
	first := map[string]choice{}
	var found []Violation
	agree := func(m Module, what, version string) {
		c, seen := first[what]
		if !seen {
			first[what] = choice{version, m.Dir}
		} else if c.version != version {
			found = append(found, Violation{
				path.Join(m.Dir, "go.mod"),
				fmt.Sprintf("%s is %s, and %s in %s: make tidy", what, version, c.version, c.dir),
			})
		}
	}
	for _, m := range t.Modules {
		if m.File.Go == nil {
			found = append(found, Violation{path.Join(m.Dir, "go.mod"), "no go line"})
			continue
		}
		agree(m, "go", m.File.Go.Version)
		for _, r := range m.File.Require {
			if !strings.HasPrefix(r.Mod.Path, Prefix) { // ours are replaced, whatever version they are given
				agree(m, r.Mod.Path, r.Mod.Version)
			}
		}
	}
	return found, nil
}

// Explained wants docs/architecture.md to show every module, and docs/dependencies.md to say of every
// library that a module requires directly why it is there, and of no other.
func Explained(t *Tree) ([]Violation, error) {
	architecture, err := fs.ReadFile(t.FS, "docs/architecture.md")
	if err != nil {
		return nil, err
	}
	dependencies, err := fs.ReadFile(t.FS, "docs/dependencies.md")
	if err != nil {
		return nil, err
	}
	_, libraries, _ := strings.Cut(string(dependencies), "\n## Libraries\n")
	libraries, _, _ = strings.Cut(libraries, "\n## ")
	explained := map[string]bool{}
	for line := range strings.Lines(libraries) {
		if match := tableName.FindStringSubmatch(line); match != nil {
			explained[match[1]] = false // not yet seen in a go.mod
		}
	}

	var found []Violation
	for _, m := range t.Modules {
		if !strings.Contains(string(architecture), "`"+m.Dir+"`") {
			found = append(found, Violation{"docs/architecture.md", "says nothing of the module `" + m.Dir + "`"})
		}
		for _, r := range m.File.Require {
			if r.Indirect || strings.HasPrefix(r.Mod.Path, Prefix) {
				continue
			}
			if _, ok := explained[r.Mod.Path]; !ok {
				found = append(found, Violation{"docs/dependencies.md", "does not say why " + m.Dir + " requires `" + r.Mod.Path + "`"})
			}
			explained[r.Mod.Path] = true
		}
	}
	for name, required := range explained {
		if !required {
			found = append(found, Violation{"docs/dependencies.md", "explains `" + name + "`, which no module requires"})
		}
	}
	return found, nil
}

var tableName = regexp.MustCompile("^\\| `([^`]+)` \\|")

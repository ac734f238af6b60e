package laws

import (
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
)

// DocComments wants every package to say what it is for.
func DocComments(t *Tree) ([]Violation, error) {
	var found []Violation
	for _, p := range t.Packages {
		files := slices.DeleteFunc(slices.Clone(p.Files), func(f File) bool { return f.Test })
		if len(files) == 0 {
			files = p.Files // nothing but tests
		}
		if !slices.ContainsFunc(files, documented) {
			found = append(found, Violation{p.Dir, "no file has a package comment"})
		}
	}
	return found, nil
}

func documented(f File) bool {
	text := f.AST.Doc.Text()
	want := "Package " + f.AST.Name.Name
	if f.AST.Name.Name == "main" {
		want = "Command "
		if f.AST.Doc != nil && strings.HasPrefix(text, path.Base(path.Dir(f.Path))+" ") {
			return true // "isectl is …"
		}
	}
	return strings.HasPrefix(text, want)
}

// bagNames say nothing about what is inside, so anything ends up there.
var bagNames = []string{"base", "common", "helper", "helpers", "manager", "misc", "shared", "util", "utils"}

// PackageNames wants a package, and its folder, to be named after an idea.
func PackageNames(t *Tree) ([]Violation, error) {
	var found []Violation
	for _, p := range t.Packages {
		for _, f := range p.Files {
			name := strings.TrimSuffix(f.AST.Name.Name, "_test")
			if slices.Contains(bagNames, name) || slices.Contains(bagNames, path.Base(p.Dir)) {
				found = append(found, f.at(f.AST.Name, "package %s in %s: name it after what it is", name, path.Base(p.Dir)))
				break
			}
		}
	}
	return found, nil
}

// ambient are the standard library's ways to learn the time and the environment without being told.
var ambient = map[string][]string{
	"time": {"Now", "Since", "Until"},
	"os":   {"Getenv", "LookupEnv", "Environ", "ExpandEnv"},
}

// Ambient lets only composition roots read the clock and the environment; all else is given them.
func Ambient(t *Tree) ([]Violation, error) {
	var found []Violation
	t.eachFile(func(p Package, f File) {
		if f.Test || compositionRoot(p, f) {
			return
		}
		for pkg, names := range ambient {
			f.uses(pkg, func(sel *ast.SelectorExpr) {
				if slices.Contains(names, sel.Sel.Name) {
					found = append(found, f.at(sel, "%s.%s outside a composition root", pkg, sel.Sel.Name))
				}
			})
		}
	})
	return found, nil
}

// compositionRoot reports whether a file is one of the places where the outer world is chosen: the boot
// package, a function's entry file, a program's main package, and what serves tests.
func compositionRoot(p Package, f File) bool {
	return p.Dir == "shared/platform/boot" ||
		entryFile(f.Path) ||
		f.AST.Name.Name == "main" && strings.HasPrefix(p.Dir, "cmd/") ||
		servesTests(p)
}

// servesTests reports whether a package is for tests alone: one of the tests' own module, or one that imports
// testing, which TestingApart keeps out of everything that ships.
func servesTests(p Package) bool {
	if within(p.Dir, "test") {
		return true
	}
	return slices.ContainsFunc(p.Files, func(f File) bool { return !f.Test && slices.Contains(f.Imports(), "testing") })
}

var entryPattern = regexp.MustCompile(`^functions/[a-z0-9]+/function\.go$`)

func entryFile(p string) bool { return entryPattern.MatchString(p) }

// NoSleep refuses time.Sleep: code that waits has a timer and a context, tests that wait have
// testing/synctest, in whose bubble a sleep takes no time and is allowed.
func NoSleep(t *Tree) ([]Violation, error) {
	var found []Violation
	t.eachFile(func(_ Package, f File) {
		var bubbles []ast.Node
		f.uses("testing/synctest", func(sel *ast.SelectorExpr) {
			ast.Inspect(f.AST, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && call.Fun == sel && sel.Sel.Name == "Test" {
					bubbles = append(bubbles, call)
				}
				return true
			})
		})
		f.uses("time", func(sel *ast.SelectorExpr) {
			inBubble := func(n ast.Node) bool { return n.Pos() <= sel.Pos() && sel.End() <= n.End() }
			if sel.Sel.Name == "Sleep" && !slices.ContainsFunc(bubbles, inBubble) {
				found = append(found, f.at(sel, "time.Sleep"))
			}
		})
	})
	return found, nil
}

// HTTPOnly wants events too to arrive through functions.HTTP; docs/platform-facts.md says why.
func HTTPOnly(t *Tree) ([]Violation, error) {
	var found []Violation
	t.eachFile(func(_ Package, f File) {
		f.uses(framework+"/functions", func(sel *ast.SelectorExpr) {
			if sel.Sel.Name != "HTTP" {
				found = append(found, f.at(sel, "functions.%s: register with functions.HTTP", sel.Sel.Name))
			}
		})
	})
	return found, nil
}

// EntryFiles keeps the file that registers a function short enough to be read at a glance.
func EntryFiles(t *Tree) ([]Violation, error) {
	const limit = 40
	var found []Violation
	t.eachFile(func(_ Package, f File) {
		if !entryFile(f.Path) {
			return
		}
		if lines := strings.Count(string(f.src), "\n"); lines >= limit {
			found = append(found, Violation{f.Path, "an entry file has fewer than 40 lines"})
		}
	})
	return found, nil
}

// EntryImports wants the entry file to import what the buildpack looks for in a function's root package: the
// framework's server, which it builds in, and the package that functions register themselves with.
// Without the second its main calls an exported function instead, and does not compile.
func EntryImports(t *Tree) ([]Violation, error) {
	var found []Violation
	t.eachFile(func(_ Package, f File) {
		if !entryFile(f.Path) {
			return
		}
		for _, want := range []string{framework + "/funcframework", framework + "/functions"} {
			if !slices.Contains(f.Imports(), want) {
				found = append(found, f.at(f.AST, "does not import %s, if only for the buildpack to read", want))
			}
		}
	})
	return found, nil
}

var unfinishedWords = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b|(?i)\b(for now|placeholder)\b`)

// Finished refuses comments that say that the code beside them is not what it should be.
func Finished(t *Tree) ([]Violation, error) {
	var found []Violation
	t.eachFile(func(p Package, f File) {
		if p.Dir == "test/laws" {
			return // names the words
		}
		for _, group := range f.AST.Comments {
			for _, c := range group.List {
				if word := unfinishedWords.FindString(c.Text); word != "" {
					found = append(found, f.at(c, "unfinished by its own word: %s", word))
				}
			}
		}
	})
	return found, nil
}

func (t *Tree) eachFile(visit func(Package, File)) {
	for _, p := range t.Packages {
		for _, f := range p.Files {
			visit(p, f)
		}
	}
}

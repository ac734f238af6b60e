// Package laws holds the repository to its own rules: who may import whom, where the clock and the
// environment may be read, what has to be documented. A law is a function of the source tree that returns
// what breaks it, so each is tested twice: on a small tree that breaks it, and on the repository.
package laws

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// Prefix begins the path of every module of the repository.
const Prefix = "github.com/isectech/service-networking/"

// Tree is the repository as the laws see it.
type Tree struct {
	FS       fs.FS // the repository's root
	Modules  []Module
	Packages []Package
	// Imports has, for each package of a build and by import path, what its non-test files import.
	// Packages of other people's modules are in it too.
	Imports map[string][]string
}

// Module is one go.mod of the workspace.
type Module struct {
	Dir  string // slash-separated, below the root
	File *modfile.File
}

// Path returns the module's path.
func (m Module) Path() string { return m.File.Module.Mod.Path }

// Package is one folder's Go files.
type Package struct {
	Path  string // import path
	Dir   string // below the root
	Files []File
}

// File is one parsed Go file.
type File struct {
	Path string // below the root
	Test bool   // named _test.go
	AST  *ast.File
	fset *token.FileSet
	src  []byte
}

// Violation is one place where a law is broken.
type Violation struct {
	Where string // path:line, or a path or package
	What  string
}

// String is the violation on one line.
func (v Violation) String() string { return v.Where + ": " + v.What }

// Law returns what of the tree breaks it, nothing when it holds.
type Law func(*Tree) ([]Violation, error)

// Load reads the modules that go.work names and parses all their Go files, whatever their build constraints.
// The import graph holds what those files say; see GoList for one that reaches beyond the repository.
func Load(fsys fs.FS) (*Tree, error) {
	data, err := fs.ReadFile(fsys, "go.work")
	if err != nil {
		return nil, err
	}
	work, err := modfile.ParseWork("go.work", data, nil)
	if err != nil {
		return nil, err
	}
	t := &Tree{FS: fsys, Imports: map[string][]string{}}
	for _, use := range work.Use {
		m := Module{Dir: path.Clean(use.Path)}
		name := path.Join(m.Dir, "go.mod")
		if data, err = fs.ReadFile(fsys, name); err != nil {
			return nil, err
		}
		if m.File, err = modfile.Parse(name, data, nil); err != nil {
			return nil, err
		}
		t.Modules = append(t.Modules, m)
	}
	for _, m := range t.Modules {
		if err := t.loadModule(m); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(t.Packages, func(a, b Package) int { return cmp.Compare(a.Path, b.Path) })
	return t, nil
}

func (t *Tree) loadModule(m Module) error {
	packages := map[string]*Package{}
	err := fs.WalkDir(t.FS, m.Dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if d.IsDir() {
			if name == m.Dir {
				return nil
			}
			if base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
				return fs.SkipDir
			}
			if _, err := fs.Stat(t.FS, path.Join(name, "go.mod")); err == nil {
				return fs.SkipDir // a module within the module
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
			return nil
		}
		f, err := parse(t.FS, name)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // removed since the folder was read
			}
			return err
		}
		dir := path.Dir(name)
		p := packages[dir]
		if p == nil {
			p = &Package{Dir: dir, Path: path.Join(m.Path(), strings.TrimPrefix(dir, m.Dir))}
			packages[dir] = p
		}
		p.Files = append(p.Files, f)
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range packages {
		t.Packages = append(t.Packages, *p)
		for _, f := range p.Files {
			if !f.Test {
				t.Imports[p.Path] = append(t.Imports[p.Path], f.Imports()...)
			}
		}
	}
	return nil
}

func parse(fsys fs.FS, name string) (File, error) {
	src, err := fs.ReadFile(fsys, name)
	if err != nil {
		return File{}, err
	}
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return File{}, err
	}
	return File{Path: name, Test: strings.HasSuffix(name, "_test.go"), AST: tree, fset: fset, src: src}, nil
}

// Imports returns the import paths that the file names.
func (f File) Imports() []string {
	paths := make([]string, 0, len(f.AST.Imports))
	for _, spec := range f.AST.Imports {
		paths = append(paths, strings.Trim(spec.Path.Value, `"`+"`"))
	}
	return paths
}

// at is a violation at a node of the file.
func (f File) at(n ast.Node, format string, args ...any) Violation {
	return Violation{
		Where: fmt.Sprintf("%s:%d", f.Path, f.fset.Position(n.Pos()).Line),
		What:  fmt.Sprintf(format, args...),
	}
}

// uses yields the places where the file names something of a package: path.name, by whatever name the
// package is imported.
func (f File) uses(importPath string, yield func(sel *ast.SelectorExpr)) {
	local := ""
	for _, spec := range f.AST.Imports {
		if strings.Trim(spec.Path.Value, `"`) != importPath {
			continue
		}
		local = path.Base(importPath)
		if spec.Name != nil {
			local = spec.Name.Name
		}
	}
	if local == "" {
		return
	}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == local {
				yield(sel)
			}
		}
		return true
	})
}

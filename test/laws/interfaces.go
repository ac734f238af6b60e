package laws

import (
	"fmt"
	"go/ast"
	"strings"
)

// maxMethods is what a consumer's interface may ask for.
const maxMethods = 6

// SmallInterfaces wants one to six methods of an interface. The store's contract is the one that may have
// more, since several back ends implement it.
func SmallInterfaces(t *Tree) ([]Violation, error) {
	var found []Violation
	for _, p := range t.Packages {
		if p.Dir == "shared/store" {
			continue
		}
		for _, f := range p.Files {
			for spec := range interfaces(f) {
				n, methods := t.methods(p, f, spec.Type, map[string]bool{})
				if methods && (n == 0 || n > maxMethods) {
					found = append(found, f.at(spec, "interface %s has %s", spec.Name.Name, count(n)))
				}
			}
		}
	}
	return found, nil
}

func count(n int) string {
	if n == 0 {
		return "no methods"
	}
	return fmt.Sprintf("%d methods, more than %d", n, maxMethods)
}

func interfaces(f File) func(yield func(*ast.TypeSpec) bool) {
	return func(yield func(*ast.TypeSpec) bool) {
		for _, decl := range f.AST.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range gen.Specs {
				spec, ok := s.(*ast.TypeSpec)
				if !ok {
					continue
				}
				if _, ok := spec.Type.(*ast.InterfaceType); ok && !yield(spec) {
					return
				}
			}
		}
	}
}

// methods counts an interface's methods with those of the interfaces that it embeds; one from outside the
// repository counts as one. A constraint on types, which has no methods to count, reports false.
func (t *Tree) methods(p Package, f File, expr ast.Expr, seen map[string]bool) (n int, ok bool) {
	iface, isInterface := expr.(*ast.InterfaceType)
	if !isInterface {
		return 0, false
	}
	ok = true
	for _, field := range iface.Methods.List {
		switch typ := field.Type.(type) {
		case *ast.FuncType:
			n += len(field.Names)
		case *ast.Ident:
			n += t.embedded(p.Path, typ.Name, seen)
		case *ast.SelectorExpr:
			n += t.embeddedFrom(f, typ, seen)
		default:
			ok = false
		}
	}
	return n, ok
}

// embeddedFrom counts the methods of an interface embedded from another package.
func (t *Tree) embeddedFrom(f File, embedded *ast.SelectorExpr, seen map[string]bool) int {
	n := 1
	for _, imported := range f.Imports() {
		if !within(imported, strings.TrimSuffix(Prefix, "/")) {
			continue
		}
		f.uses(imported, func(sel *ast.SelectorExpr) {
			if sel == embedded {
				n = t.embedded(imported, sel.Sel.Name, seen)
			}
		})
	}
	return n
}

// embedded counts the methods of the named interface of one of the repository's packages.
func (t *Tree) embedded(importPath, name string, seen map[string]bool) int {
	key := importPath + "." + name
	if seen[key] {
		return 0
	}
	seen[key] = true
	for _, p := range t.Packages {
		if p.Path != importPath {
			continue
		}
		for _, f := range p.Files {
			for spec := range interfaces(f) {
				if spec.Name.Name == name {
					n, _ := t.methods(p, f, spec.Type, seen)
					return n
				}
			}
		}
	}
	return 1 // error, or a type that is no interface
}

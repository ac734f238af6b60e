package stage

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

// registers are the packages whose functions register a function under the name that they are given first.
var registers = []string{registering, "github.com/isectech/service-networking/shared/platform/boot"}

// registered returns the names under which the files of a package register functions, sorted, e.g. Register
// of boot.HTTP("Register", build): the values that FUNCTION_TARGET may have. A name may be a constant.
func registered(files []*ast.File) []string {
	constants := map[string]string{}
	for _, file := range files {
		collect(file, constants)
	}
	var names []string
	for _, file := range files {
		names = append(names, registrations(file, constants)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// collect adds the string constants that a file declares.
func collect(file *ast.File, constants map[string]string) {
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.CONST {
			continue
		}
		for _, spec := range gen.Specs {
			value, ok := spec.(*ast.ValueSpec)
			if !ok {
				continue
			}
			for i, name := range value.Names {
				if i < len(value.Values) {
					if text, ok := literal(value.Values[i]); ok {
						constants[name.Name] = text
					}
				}
			}
		}
	}
}

func literal(x ast.Expr) (string, bool) {
	lit, ok := x.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}

func registrations(file *ast.File, constants map[string]string) []string {
	local := map[string]bool{}
	for _, spec := range file.Imports {
		imported := strings.Trim(spec.Path.Value, "\"`")
		if !slices.Contains(registers, imported) {
			continue
		}
		if name := path.Base(imported); spec.Name == nil {
			local[name] = true
		} else {
			local[spec.Name.Name] = true
		}
	}
	var names []string
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) < 2 {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); !ok || !local[x.Name] {
			return true
		}
		if text, ok := literal(call.Args[0]); ok {
			names = append(names, text)
		} else if constant, ok := call.Args[0].(*ast.Ident); ok && constants[constant.Name] != "" {
			names = append(names, constants[constant.Name])
		}
		return true
	})
	return names
}

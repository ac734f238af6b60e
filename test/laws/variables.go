package laws

import (
	"go/ast"
	"io/fs"
	"reflect"
	"regexp"
	"strings"
)

var variableRow = regexp.MustCompile("(?m)^\\| `([A-Z][A-Z0-9_]*)` \\|")

// Configured wants docs/configuration.md to list every environment variable that a struct is filled from,
// wherever that struct is.
func Configured(t *Tree) ([]Violation, error) {
	page, err := fs.ReadFile(t.FS, "docs/configuration.md")
	if err != nil {
		return nil, err
	}
	listed := map[string]bool{}
	for _, match := range variableRow.FindAllStringSubmatch(string(page), -1) {
		listed[match[1]] = true
	}
	var found []Violation
	t.eachFile(func(_ Package, f File) {
		if f.Test {
			return
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			field, ok := n.(*ast.Field)
			if !ok || field.Tag == nil {
				return true
			}
			tag := reflect.StructTag(strings.Trim(field.Tag.Value, "`"))
			name, _, _ := strings.Cut(tag.Get("env"), ",")
			if name = strings.TrimSpace(name); name != "" && !listed[name] {
				found = append(found, f.at(field, "docs/configuration.md does not list %s", name))
			}
			return true
		})
	})
	return found, nil
}

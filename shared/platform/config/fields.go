package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"

	"github.com/sethvargo/go-envconfig"
)

// Variable describes one environment variable of a configuration.
type Variable struct {
	Name     string
	Default  string // "" when it has none
	Meaning  string // the desc tag
	Required bool
	Secret   bool // its value is never shown
}

// Describe lists the variables of the struct that dst points to, in the order of its fields.
func Describe(dst any) ([]Variable, error) {
	target, err := structOf(dst)
	if err != nil {
		return nil, err
	}
	var all []Variable
	err = walk(target, func(f field) error {
		all = append(all, Variable{
			Name: f.name, Default: f.fallback, Required: f.required,
			Meaning: f.meta.Tag.Get("desc"), Secret: f.secret,
		})
		return nil
	})
	return all, err
}

// Markdown renders variables as the table that the documentation carries.
func Markdown(variables []Variable) string {
	var b strings.Builder
	b.WriteString("| variable | default | meaning |\n|---|---|---|\n")
	for _, v := range variables {
		fallback := "–"
		switch {
		case v.Required:
			fallback = "required"
		case v.Default != "":
			fallback = "`" + v.Default + "`"
		}
		meaning := v.Meaning
		if v.Secret {
			meaning += " Secret: never logged."
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", v.Name, fallback, strings.ReplaceAll(meaning, "|", `\|`))
	}
	return b.String()
}

// field is one variable's place in a struct.
type field struct {
	meta     reflect.StructField
	value    reflect.Value
	name     string
	fallback string
	required bool
	secret   bool
}

// secretive is implemented by the types whose values are never shown.
type secretive interface{ secretive() }

func structOf(dst any) (reflect.Value, error) {
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return reflect.Value{}, fmt.Errorf("config: want a pointer to a struct, got %T", dst)
	}
	return v.Elem(), nil
}

// walk visits the variables of a struct and of the structs inside it. A variable that occurs twice is a
// mistake, since its two meanings could not be told apart in the documentation.
func walk(target reflect.Value, visit func(field) error) error {
	return walkOnce(target, visit, map[string]bool{})
}

func walkOnce(target reflect.Value, visit func(field) error, names map[string]bool) error {
	for i := range target.NumField() {
		meta := target.Type().Field(i)
		if nested(meta) {
			if err := walkOnce(target.Field(i), visit, names); err != nil {
				return err
			}
			continue
		}
		tag, ok := meta.Tag.Lookup("env")
		if !ok {
			continue
		}
		if !meta.IsExported() {
			return fmt.Errorf("config: field %s: %w", meta.Name, envconfig.ErrPrivateField)
		}
		f := field{meta: meta, value: target.Field(i)}
		f.name, f.fallback, f.required = parseTag(tag)
		f.secret = meta.Type.Implements(reflect.TypeFor[secretive]())
		if names[f.name] {
			return fmt.Errorf("config: field %s: variable %s occurs twice", meta.Name, f.name)
		}
		names[f.name] = true
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

// nested reports whether a field is a struct of further variables rather than a value of its own.
func nested(meta reflect.StructField) bool {
	if meta.Type.Kind() != reflect.Struct || meta.Tag.Get("env") != "" || !meta.IsExported() {
		return false
	}
	p := reflect.PointerTo(meta.Type)
	return !p.Implements(reflect.TypeFor[envconfig.Decoder]()) && !p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// parseTag reads the parts of an env tag that the documentation shows; the decoder judges its form.
func parseTag(tag string) (name, fallback string, required bool) {
	name, options, _ := strings.Cut(tag, ",")
	for options != "" {
		options = strings.TrimLeft(options, " ")
		if rest, ok := strings.CutPrefix(options, "default="); ok {
			return strings.TrimSpace(name), rest, required // a default takes the rest of the tag, commas included
		}
		var option string
		option, options, _ = strings.Cut(options, ",")
		required = required || strings.TrimSpace(option) == "required"
	}
	return strings.TrimSpace(name), "", required
}

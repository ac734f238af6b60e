package register

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"

	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/registry"
)

// selection is the fields of an instance that were asked for; nil is all of them.
type selection map[string]bool

// parseSelection parses names separated by commas.
func parseSelection(names string) (selection, error) {
	if names == "" {
		return nil, nil
	}
	some := make(selection)
	for name := range strings.SplitSeq(names, ",") {
		if !instanceFields[name] {
			return nil, httpx.InvalidRequest("the request is not valid",
				httpx.FieldError{Field: "fields", Message: "an instance has no field of that name"})
		}
		some[name] = true
	}
	return some, nil
}

// of returns what is selected of an instance.
func (s selection) of(instance registry.Instance) (any, error) {
	if s == nil {
		return instance, nil
	}
	text, err := json.Marshal(instance)
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	maps.DeleteFunc(all, func(name string, _ json.RawMessage) bool { return !s[name] })
	return all, nil
}

// instanceFields are the names that an instance's fields have in JSON.
var instanceFields = jsonNames(reflect.TypeFor[registry.Instance]())

func jsonNames(t reflect.Type) map[string]bool {
	names := make(map[string]bool)
	for i := range t.NumField() {
		field := t.Field(i)
		if field.Anonymous {
			maps.Copy(names, jsonNames(field.Type))
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		names[name] = true
	}
	return names
}

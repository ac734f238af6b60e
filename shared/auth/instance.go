package auth

import "strings"

// Names resolves a service's name or alias.
type Names interface {
	Resolve(ref string) (Subject, bool)
}

// IsName reports whether an id would shadow a service's name or alias.
func IsName(names Names, service Subject, id string) bool {
	if id == service.String() || id == service.Alias() {
		return true
	}
	if names == nil {
		return false
	}
	_, ok := names.Resolve(id)
	return ok
}

// OwnerOf returns the service that an id belongs to: the one with the longest alias before a hyphen of
// the id, so that admin-tools-1 is never an instance of admin where there is a service admin-tools. It
// returns the zero Subject for an id that begins with no alias, or with a service's full name.
func OwnerOf(names Names, service Subject, id string) Subject {
	if strings.HasSuffix(id, "-") {
		return Subject{} // the suffix must be something, and the id a DNS label
	}
	for end := strings.LastIndexByte(id, '-'); end > 0; end = strings.LastIndexByte(id[:end], '-') {
		alias := id[:end]
		if alias == service.Alias() {
			return service
		}
		if names == nil {
			continue
		}
		if owner, ok := names.Resolve(alias); ok {
			if alias == owner.String() {
				return Subject{}
			}
			return owner
		}
	}
	return Subject{}
}

// OwnsID reports whether an id could be that of an instance of a service: one of its own, and nobody's name.
func OwnsID(names Names, service Subject, id string) bool {
	return ValidID(id) && !IsName(names, service, id) && OwnerOf(names, service, id) == service
}

package registry

import (
	"strings"

	"github.com/isectech/service-networking/shared/auth"
)

// Names knows the services there are. Names exist by policy alone: registering an instance never makes one.
type Names interface {
	// Resolve returns the service that a name or an alias means.
	Resolve(ref string) (auth.Subject, bool)
	// Runs reports whether a service runs in an environment.
	Runs(service auth.Subject, env auth.Environment) bool
}

// checkNames checks whose instance a registration is: the service must be known and run in the
// environment, and the id must be one of its own and nobody's name.
func (r Registration) checkNames(names Names, f *findings) {
	service, err := auth.ParseSubject(r.ServiceName)
	switch {
	case r.ServiceName == "":
		f.addf("service_name", codeRequired, "a registration names its service")
		return
	case err != nil || service.IsOperator():
		f.addf("service_name", codeInvalid, "a service name matches ^[a-z0-9][a-z0-9-]{0,62}$")
		return
	}
	if names != nil {
		known, ok := names.Resolve(r.ServiceName)
		switch {
		case !ok || known.IsOperator():
			f.addf("service_name", codeUnknownName, "there is no service %s", r.ServiceName)
			return
		case known != service:
			f.addf("service_name", codeInvalid, "this is an alias; the service's name is %s", known)
			return
		}
		if _, err := auth.ParseEnvironment(string(r.Environment)); err == nil && !names.Runs(service, r.Environment) {
			f.addf("environment", codeMismatch, "%s does not run in %s", service, r.Environment)
		}
	}
	r.checkID(service, names, f)
}

func (r Registration) checkID(service auth.Subject, names Names, f *findings) {
	id := r.ServiceID
	switch {
	case id == "":
		f.addf("service_id", codeRequired, "a registration names its instance, such as %s-001", service.Alias())
	case !auth.ValidID(id):
		f.addf("service_id", codeInvalid, "a service id matches ^[a-z0-9][a-z0-9-]{0,62}$")
	case isName(names, service, id):
		f.addf("service_id", codeNameTaken, "this is the name of a service; an instance is such as %s-001", service.Alias())
	case ownerOf(names, service, id) != service:
		f.addf("service_id", codeMismatch, "an instance of %s is called %s-<suffix>", service, service.Alias())
	}
}

// isName reports whether an id would shadow a service's name or alias.
func isName(names Names, service auth.Subject, id string) bool {
	if id == service.String() || id == service.Alias() {
		return true
	}
	if names == nil {
		return false
	}
	_, ok := names.Resolve(id)
	return ok
}

// ownerOf returns the service that an id belongs to: the one with the longest alias before a hyphen of
// the id, so that admin-tools-1 is never an instance of admin where there is a service admin-tools. It
// returns the zero Subject for an id that begins with no alias, or with a service's full name.
func ownerOf(names Names, service auth.Subject, id string) auth.Subject {
	if strings.HasSuffix(id, "-") {
		return auth.Subject{} // the suffix must be something, and the id a DNS label
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
				return auth.Subject{}
			}
			return owner
		}
	}
	return auth.Subject{}
}

// OwnsID reports whether an id could be that of an instance of a service: one of its own, and nobody's name.
func OwnsID(names Names, service auth.Subject, id string) bool {
	return auth.ValidID(id) && !isName(names, service, id) && ownerOf(names, service, id) == service
}

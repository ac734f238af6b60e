package registry

import "github.com/isectech/service-networking/shared/auth"

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
	case auth.IsName(names, service, id):
		f.addf("service_id", codeNameTaken, "this is the name of a service; an instance is such as %s-001", service.Alias())
	case auth.OwnerOf(names, service, id) != service:
		f.addf("service_id", codeMismatch, "an instance of %s is called %s-<suffix>", service, service.Alias())
	}
}

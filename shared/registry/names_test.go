package registry_test

import (
	"strings"

	"github.com/isectech/service-networking/shared/auth"
)

// names is a Names with a few services: isectech-backend-services (also backend), isectech-frontend,
// isectech-admin and isectech-admin-tools. All run in production and development, the frontend in staging too.
type names struct{}

var aliases = map[string]string{
	"backend-services": "isectech-backend-services", "backend": "isectech-backend-services",
	"frontend": "isectech-frontend", "admin": "isectech-admin", "admin-tools": "isectech-admin-tools",
}

func (names) Resolve(ref string) (auth.Subject, bool) {
	if name, ok := aliases[ref]; ok {
		return auth.MustSubject(name), true
	}
	if _, ok := aliases[strings.TrimPrefix(ref, "isectech-")]; ok && strings.HasPrefix(ref, "isectech-") && ref != "isectech-backend" {
		return auth.MustSubject(ref), true
	}
	return auth.Subject{}, false
}

func (names) Runs(service auth.Subject, env auth.Environment) bool {
	return env != auth.Staging || service.String() == "isectech-frontend"
}

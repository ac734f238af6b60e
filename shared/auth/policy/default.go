package policy

import "github.com/isectech/service-networking/shared/auth"

// Default returns the policy that the platform ships with: its five services with the shipped trust matrix
// and grants, and the platform's own functions, which call nothing but each other through the platform's
// endpoints. All of them are in the given environments; production and development when none is given.
//
// Nobody trusts the monitoring service and the admin service trusts nobody in turn: the matrix has no
// column for the one and no row for the other.
func Default(envs ...auth.Environment) *Document {
	if len(envs) == 0 {
		envs = []auth.Environment{auth.Production, auth.Development}
	}
	service := func(description string, scopes auth.Scopes, aliases ...string) ServiceEntry {
		entry := ServiceEntry{Aliases: aliases, Scopes: scopes.Names(), Description: description}
		for _, env := range envs {
			entry.Environments = append(entry.Environments, string(env))
		}
		return entry
	}
	const (
		frontend   = "isectech-frontend"
		gateway    = "isectech-api-gateway"
		backend    = "isectech-backend-services"
		admin      = "isectech-admin"
		monitoring = "isectech-monitoring"

		calls = auth.APIRead | auth.APIWrite | auth.ServiceDiscover
	)
	return (&Document{
		Services: map[string]ServiceEntry{
			frontend:   service("Web front end", calls),
			gateway:    service("API gateway", calls),
			backend:    service("Backend services", calls, "backend"),
			admin:      service("Administration console", auth.ServiceDiscover),
			monitoring: service("Monitoring", auth.APIRead|auth.MetricsRead|auth.ServiceDiscover),

			"isectech-register":    service("The platform's registry", auth.ServiceDiscover),
			"isectech-healthcheck": service("The platform's health checks", auth.ServiceDiscover|auth.MetricsRead),
			"isectech-rotatecerts": service("The platform's certificate rotation", auth.ServiceDiscover),
			"isectech-canarygate":  service("The platform's canary gate", auth.ServiceDiscover|auth.MetricsRead),
			"isectech-authz":       service("The platform's authorizer", auth.ServiceDiscover),
		},
		Edges: []Edge{
			{Caller: frontend, Targets: []string{frontend, gateway}},
			{Caller: gateway, Targets: []string{frontend, gateway, backend, admin}},
			{Caller: backend, Targets: []string{gateway, backend, admin}},
			{Caller: monitoring, Targets: []string{backend, admin}},
		},
	}).Clone()
}

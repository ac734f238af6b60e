package local

import (
	"net/http"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/platform/bootstrap"
	"github.com/isectech/service-networking/shared/platform/guard"
	"github.com/isectech/service-networking/shared/platform/httpx"
)

// ServicesPath is where `isectl service add` reaches a running local platform, which alone has the
// store and writes the secrets. Elsewhere the command writes them with its own rights.
func ServicesPath() []string { return []string{"internal", "local", "services"} }

// NewService is the body of a request to ServicesPath.
type NewService struct {
	Name  string              `json:"name"`
	Entry policy.ServiceEntry `json:"entry"`
}

// serviceAdder adds services for operators.
type serviceAdder struct {
	boot  *bootstrap.Platform
	guard *guard.Guard
}

// addErrors answers what is wrong with a new service.
func addErrors() httpx.Table {
	return append(guard.Errors(),
		httpx.Mapping{Is: bootstrap.ErrNotAService, Make: refused("name")},
		httpx.Mapping{Is: policy.ErrInvalid, Make: refused("entry")},
	)
}

func refused(field string) func(error) *httpx.Error {
	return func(err error) *httpx.Error {
		return httpx.InvalidRequest("no policy takes a service like this", httpx.FieldError{Field: field, Message: err.Error()})
	}
}

// add is the handler of ServicesPath.
func (a *serviceAdder) add(w http.ResponseWriter, r *http.Request) error {
	p, _, err := a.guard.Caller(r, guard.Access{AnyOf: []auth.Scopes{auth.AdminWrite}, Write: true})
	if err != nil {
		return err
	}
	var in NewService
	if err := httpx.DecodeJSON(r, &in); err != nil {
		return err
	}
	name, err := auth.ParseSubject(in.Name)
	if err != nil {
		return httpx.InvalidRequest("the name is no service name", httpx.FieldError{Field: "name", Message: err.Error()})
	}
	as := *a.boot
	as.Actor, as.Cause = p.Subject, httpx.RequestID(r.Context())
	parts, err := as.AddService(r.Context(), name, in.Entry)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, map[string]any{"parts": parts})
}

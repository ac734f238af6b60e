package authn

import (
	"errors"
	"net/http"

	"github.com/isectech/service-networking/shared/auth"
)

// certificate judges the client certificate that came with r. The service that it names is one's name and no
// alias, and runs in the environment that it names. A service that the policy does not know is left to the
// decision, as a token's is.
func (a *Authenticator) certificate(r *http.Request, services Services) (auth.Principal, error) {
	if a.Certificates == nil { // a credential that is not checked must not be passed over
		return auth.Principal{}, auth.Refuse(auth.UntrustedProxy, "client certificates are not accepted at this address")
	}
	id, ok, err := a.Certificates.Read(r)
	switch {
	case err != nil:
		return auth.Principal{}, err
	case !ok: // and yet there was something that spoke of one
		return auth.Principal{}, auth.Refuse(auth.UntrustedProxy, "the request tells of a client certificate and names none")
	}
	if known, ok := services.Resolve(id.Service.String()); ok {
		if known != id.Service {
			return auth.Principal{}, auth.Refuse(auth.IdentityMismatch, "the client certificate names a service by an alias")
		}
		if !services.Runs(id.Service, id.Environment) {
			return auth.Principal{}, auth.Refuse(auth.IdentityMismatch,
				"the client certificate is of "+string(id.Environment)+", where "+id.Service.String()+" does not run")
		}
	}
	return auth.Principal{
		Subject:     id.Service,
		Environment: id.Environment,
		Scopes:      services.Grant(id.Service, id.Environment),
		Method:      auth.MethodMTLS,
		Certificate: id.Thumbprint,
		Serial:      id.Serial,
	}, nil
}

// bound checks that a token which is bound to a client certificate (RFC 8705 §3) came with it. A proxy that
// does not say which certificate it saw has not shown that one.
func bound(found []auth.Principal) error {
	thumbprint := ""
	for _, p := range found {
		if p.Method == auth.MethodMTLS {
			thumbprint = p.Certificate
		}
	}
	for _, p := range found {
		if p.Method == auth.MethodJWT && p.Certificate != "" && p.Certificate != thumbprint {
			return auth.Refuse(auth.IdentityMismatch, "the access token is bound to a client certificate that did not come with it")
		}
	}
	return nil
}

// certificateFault is what is wrong with a client certificate.
type certificateFault struct{ error }

func (f certificateFault) Unwrap() error { return f.error }

// OfCertificate reports whether a request was refused for its client certificate, whatever else it carried.
func OfCertificate(err error) bool {
	_, ok := errors.AsType[certificateFault](err)
	return ok
}

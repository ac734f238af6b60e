package authz

import (
	"net/http"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authn"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/guard"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/trust"
)

// introspect says what a token is worth at this moment (RFC 7662): to the one it was issued to, the one it was
// issued for, and to operators. To everyone else every token is inactive, and nobody is told why one is.
func (s *Service) introspect(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	p, st, err := s.guard.Caller(r, guard.Access{})
	if err != nil {
		return err
	}
	form, err := httpx.Form(r)
	if err != nil {
		return err
	}
	if form["token"] == "" {
		return httpx.InvalidRequest("the request is malformed", httpx.FieldError{Field: "token", Message: "is missing"})
	}
	claims, err := s.guard.Tokens.Verify(r.Context(), form["token"])
	switch {
	case auth.ReasonOf(err) != "":
		return writeInactive(w)
	case err != nil:
		return err
	}
	told := claims.Subject == p.Subject || claims.Audience == p.Subject.String() ||
		guard.Scopes(p, st).Has(auth.AdminRead) && s.trust.Writable(st)
	scopes, active := worth(claims, st)
	s.recordIntrospection(r, claims, told, active)
	if !told || !active {
		return writeInactive(w)
	}
	return httpx.WriteJSON(w, http.StatusOK, introspectionOf(claims, scopes))
}

func writeInactive(w http.ResponseWriter) error {
	return httpx.WriteJSON(w, http.StatusOK, map[string]bool{"active": false})
}

// worth returns which scopes of a good token its bearer may still use, and whether it is let through at all.
func worth(c token.Claims, st *trust.State) (auth.Scopes, bool) {
	d := st.Policy.Decide(policy.Question{
		Caller: c.Subject, Environment: c.Environment, Held: c.Scopes,
		Revoked: st.Revoked(authn.PrincipalOf(&c)), Quarantined: st.Quarantined(c.Subject),
	})
	return d.Scopes, d.Allow
}

// introspectionOf has the members of RFC 7662 §2.2 and our own.
func introspectionOf(c token.Claims, scopes auth.Scopes) map[string]any {
	name := c.Subject.String()
	body := map[string]any{
		"active": true, "token_type": "Bearer", "iss": auth.Issuer, "sub": name, "client_id": name, "service_name": name,
		"aud": c.Audience, "jti": c.ID, "scope": scopes.String(), "scopes": scopes.Names(),
		"iat": c.IssuedAt.Unix(), "exp": c.ExpiresAt.Unix(),
	}
	if !c.NotBefore.IsZero() {
		body["nbf"] = c.NotBefore.Unix()
	}
	if c.ServiceID != "" {
		body["service_id"] = c.ServiceID
	}
	if c.Environment != "" {
		body["environment"] = c.Environment
	}
	if c.Thumbprint != "" {
		body["cnf"] = map[string]string{"x5t#S256": c.Thumbprint}
	}
	return body
}

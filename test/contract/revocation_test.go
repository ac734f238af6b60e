package contract

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

const (
	revokePath     = "/internal/auth/revoke"
	introspectPath = "/internal/auth/introspect"
	quarantinePath = "/internal/auth/quarantine"
)

// What is revoked at the authorizer is refused there at once, and by the registry, which is another function with
// a view of its own, within the bound.
func TestRevocation(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		revoke func(p *Platform, raw, jti string) Request
		signed bool // whether it is the request signature that is lost, and not the token
	}{
		"by its owner": {func(_ *Platform, raw, _ string) Request {
			return Request{Token: raw, Body: "token=" + raw, Type: form}
		}, false},
		"by its owner, who signs": {func(_ *Platform, raw, _ string) Request {
			return Request{Sign: backend, Body: "token=" + raw, Type: form}
		}, false},
		"jti": {func(_ *Platform, _, jti string) Request {
			return Request{Body: `{"jti":"` + jti + `","reason":"leaked"}`}
		}, false},
		"service": {func(*Platform, string, string) Request { return Request{Body: `{"service_name":"backend"}`} }, false},
		"kid": {func(p *Platform, _, _ string) Request {
			return Request{Body: `{"kid":"` + p.Issuer.Signer.Public().ID + `"}`}
		}, false},
		"API key": {func(*Platform, string, string) Request {
			return Request{Body: `{"api_key_id":"k1","service_name":"backend"}`}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := Start(t)
			claims := p.Claims(backend, auth.PlatformAudience, auth.ServiceDiscover)
			raw := p.Mint(t, claims)
			credential := func(path string) Request {
				if tc.signed {
					return Request{Path: path, Sign: backend}
				}
				return Request{Path: path, Token: raw}
			}
			for _, path := range []string{validatePath, servicesPath} {
				p.Do(t, credential(path)).Want(t, http.StatusOK, "", "")
			}
			r := tc.revoke(p, raw, claims.ID)
			r.Method, r.Path = http.MethodPost, revokePath
			if r.Token == "" && r.Sign == "" {
				r.Token = p.Operator(t)
			}
			done := p.Do(t, r)
			done.Want(t, http.StatusOK, "", "")
			if done.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("Cache-Control %q", done.Header.Get("Cache-Control"))
			}
			p.Do(t, credential(validatePath)).Want(t, http.StatusUnauthorized, "authentication_failed", "revoked")
			p.Clock.Advance(time.Second)
			p.Do(t, credential(servicesPath)).Want(t, http.StatusUnauthorized, "authentication_failed", "revoked")
			if tc.signed {
				a := p.Do(t, Request{Method: http.MethodPost, Path: tokenPath, Sign: backend, Body: "grant_type=client_credentials", Type: form})
				a.Want(t, http.StatusUnauthorized, "invalid_client", "revoked")
				return
			}
			if name == "kid" {
				return // nobody holds a token any more; the next are by another key
			}
			inactive := p.Do(t, Request{Method: http.MethodPost, Path: introspectPath, Token: p.Operator(t), Body: "token=" + raw, Type: form})
			inactive.Want(t, http.StatusOK, "", "")
			if strings.TrimSpace(inactive.Text) != `{"active":false}` {
				t.Errorf("introspected as %s", inactive.Text)
			}
			// Its service comes back with the next token.
			again := p.Do(t, Request{Method: http.MethodPost, Path: tokenPath, Sign: backend, Body: "grant_type=client_credentials", Type: form})
			again.Want(t, http.StatusOK, "", "")
			for _, path := range []string{validatePath, servicesPath} {
				p.Do(t, Request{Path: path, Token: again.String("access_token")}).Want(t, http.StatusOK, "", "")
			}
		})
	}
}

// A service in quarantine calls nobody, is called by nobody, gets no tokens, and discovery does not know it.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	p := Start(t)
	tok := p.Discover(t, backend)
	p.register(t, tok, instance(t, "backend-services-001", "lease", `"0s"`)).Want(t, http.StatusCreated, "", "")
	seeker := p.Discover(t, gateway)
	endpoint := Request{Path: servicesPath + "/backend/endpoints/api", Token: seeker}
	record := Request{Path: servicesPath + "/backend-services-001", Token: seeker}
	p.Do(t, endpoint).Want(t, http.StatusOK, "", "")
	before := p.Do(t, record)

	p.Do(t, Request{Method: http.MethodPost, Path: quarantinePath, Token: p.Operator(t), Body: `{"service_name":"backend","reason":"odd","expires":"1h"}`}).
		Want(t, http.StatusOK, "", "")
	p.Clock.Advance(time.Second)
	none := p.Do(t, endpoint)
	none.Want(t, http.StatusNotFound, "not_found", "")
	if !strings.Contains(none.Text, `"reason":"quarantined"`) || strings.Contains(none.Text, "odd") {
		t.Errorf("resolve: %s", none.Text)
	}
	shown := p.Do(t, Request{Path: record.Path, Token: seeker, Header: http.Header{"If-None-Match": {before.Header.Get("ETag")}}})
	shown.Want(t, http.StatusOK, "", "")
	if shown.String("status") != "quarantined" || shown.Body["generation"] != before.Body["generation"] {
		t.Errorf("record: %s", shown.Text)
	}
	if a := p.Do(t, Request{Path: servicesPath + "?status=quarantined", Token: seeker}); !strings.Contains(a.Text, "backend-services-001") {
		t.Errorf("list: %s", a.Text)
	}
	if a := p.Do(t, Request{Path: servicesPath + "?status=healthy", Token: seeker}); strings.Contains(a.Text, "backend-services-001") {
		t.Errorf("list: %s", a.Text)
	}
	for what, r := range map[string]Request{
		"reads the registry":  {Path: servicesPath, Token: tok},
		"writes it":           {Method: http.MethodPut, Path: servicesPath + "/backend-services-001/heartbeat", Token: tok},
		"signs":               {Path: servicesPath, Sign: backend},
		"is validated":        {Path: validatePath, Token: tok},
		"calls":               {Path: validatePath, Token: p.Token(t, backend, gateway, auth.APIRead), Header: http.Header{"X-Target-Service": {gateway}}},
		"is called":           {Path: validatePath, Token: p.Token(t, gateway, backend, auth.APIRead), Header: http.Header{"X-Target-Service": {backend}}},
		"introspects its own": {Method: http.MethodPost, Path: introspectPath, Token: tok, Body: "token=" + tok, Type: form},
	} {
		t.Run(what, func(t *testing.T) { p.Do(t, r).Want(t, http.StatusForbidden, "quarantined", "quarantined") })
	}
	p.Do(t, Request{Method: http.MethodPost, Path: tokenPath, Sign: backend, Body: "grant_type=client_credentials", Type: form}).
		Want(t, http.StatusBadRequest, "unauthorized_client", "quarantined")

	p.Do(t, Request{Method: http.MethodDelete, Path: quarantinePath + "/isectech-backend-services", Token: p.Operator(t)}).Want(t, http.StatusNoContent, "", "")
	p.Clock.Advance(time.Second)
	p.Do(t, endpoint).Want(t, http.StatusOK, "", "")
	p.Do(t, Request{Path: servicesPath, Token: tok}).Want(t, http.StatusOK, "", "")
	if after := p.Do(t, record); after.Text != before.Text {
		t.Errorf("the record is not as it was:\n%s%s", before.Text, after.Text)
	}
}

package contract

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/auth/token"
)

const (
	gateway  = "isectech-api-gateway"
	frontend = "isectech-frontend"
	backend  = "isectech-backend-services"

	form         = "application/x-www-form-urlencoded"
	tokenPath    = "/internal/auth/token"
	validatePath = "/internal/auth/validate"
	servicesPath = "/internal/registry/services"
)

// hostile are the tokens that nobody may be let through with. Each is shown to every endpoint.
func hostile(t *testing.T, p *Platform, audience string) map[string]struct {
	raw    string
	reason auth.Reason
} {
	t.Helper()
	claims := p.Claims(backend, audience, auth.ServiceDiscover|auth.APIRead)
	header, payload := p.Issuer.Header(), p.Issuer.ClaimsJSON(t, claims)
	now := p.Clock.Now().Unix()
	with := func(name, value string) string {
		return p.Issuer.Raw(t, header, authtest.With(t, payload, name, value))
	}
	head := func(name, value string) string {
		return p.Issuer.Raw(t, authtest.With(t, header, name, value), payload)
	}
	public := p.Issuer.PublicPEM(t)
	stranger := authtest.NewAuthority(t, token.ES256)
	return map[string]struct {
		raw    string
		reason auth.Reason
	}{
		"no exp":                  {with("exp", ""), auth.MalformedToken},
		"exp of null":             {with("exp", "null"), auth.MalformedToken},
		"exp as text":             {with("exp", `"9999999999"`), auth.MalformedToken},
		"exp long past":           {with("exp", fmt.Sprint(now-31)), auth.Expired},
		"exp beyond the lifetime": {with("exp", fmt.Sprint(now+901)), auth.MalformedToken},
		"future iat":              {with("iat", fmt.Sprint(now+60)), auth.NotYetValid},
		"future nbf":              {with("nbf", fmt.Sprint(now+60)), auth.NotYetValid},
		"no jti":                  {with("jti", ""), auth.MalformedToken},
		"wrong iss":               {with("iss", `"https://evil.example"`), auth.WrongIssuer},
		"two audiences":           {with("aud", `["`+audience+`","isectech-admin"]`), ""},
		"alg none":                {authtest.Unsigned(authtest.With(t, header, "alg", `"none"`), payload), auth.BadSignature},
		"alg None":                {authtest.Unsigned(authtest.With(t, header, "alg", `"None"`), payload), auth.BadSignature},
		"HS256 by the public key": {authtest.HMAC(t, "HS256", public, authtest.With(t, header, "alg", `"HS256"`), payload), auth.BadSignature},
		"HS512 by the public key": {authtest.HMAC(t, "HS512", public, authtest.With(t, header, "alg", `"HS512"`), payload), auth.BadSignature},
		"unknown kid":             {stranger.Token(t, claims), auth.UnknownKey},
		"our kid, another key":    {stranger.Raw(t, header, payload), auth.BadSignature},
		"no kid":                  {head("kid", ""), auth.MalformedToken},
		"crit":                    {head("crit", `["exp"]`), auth.MalformedToken},
		"typ JWT":                 {head("typ", `"JWT"`), auth.MalformedToken},
		"jku of a stranger's key": {stranger.Raw(t, authtest.With(t, authtest.With(t, header, "jku", `"http://127.0.0.1:1/jwks.json"`), "kid", `"x"`), payload), auth.UnknownKey},
		"9 KiB":                   {with("padding", `"`+strings.Repeat("a", 9<<10)+`"`), auth.MalformedToken},
		"duplicate claims":        {p.Issuer.Raw(t, header, strings.Replace(payload, "{", `{"aud":"isectech-admin",`, 1)), auth.MalformedToken},
		"duplicate in the header": {p.Issuer.Raw(t, strings.Replace(header, "{", `{"alg":"none",`, 1), payload), auth.MalformedToken},
		"names that differ":       {with("service_name", `"isectech-admin"`), ""},
		"padded base64":           {p.Mint(t, claims) + "=", auth.MalformedToken},
		"a fourth part":           {p.Mint(t, claims) + ".e30", auth.MalformedToken},
		"a JSON array":            {p.Issuer.Raw(t, header, `[]`), auth.MalformedToken},
		"not a token":             {"let-me-in", auth.MalformedToken},
	}
}

func TestHostileTokens(t *testing.T) {
	t.Parallel()
	p := Start(t)
	for _, endpoint := range []struct{ path, audience string }{
		{validatePath, backend},
		{servicesPath, auth.PlatformAudience},
		{"/internal/auth/policy", auth.PlatformAudience},
		{"/internal/journal", auth.PlatformAudience},
	} {
		for name, bad := range hostile(t, p, endpoint.audience) {
			t.Run(endpoint.path+"/"+name, func(t *testing.T) {
				p.Do(t, Request{Path: endpoint.path, Token: bad.raw}).Want(t, http.StatusUnauthorized, "authentication_failed", string(bad.reason))
			})
		}
	}
	if strings.Contains(p.Logs.String(), "let-me-in") {
		t.Error("a token stands in the log")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	p := Start(t)
	good := p.Token(t, gateway, backend, auth.APIRead)
	platform := p.Discover(t, backend)
	google := http.Header{"User-Agent": {"GoogleHC/1.0"}}
	for _, tc := range []struct {
		name    string
		request Request
		status  int
		code    string
		reason  auth.Reason
	}{
		{"nothing", Request{Path: validatePath}, 401, "authentication_required", auth.NoCredentials},
		{"a probe's user agent", Request{Path: validatePath, Header: google}, 401, "authentication_required", auth.NoCredentials},
		{"a probe's user agent at the registry", Request{Path: servicesPath, Header: google}, 401, "authentication_required", auth.NoCredentials},
		{"Basic", Request{Path: validatePath, Header: http.Header{"Authorization": {"Basic dTpw"}}}, 401, "authentication_failed", auth.MalformedToken},
		{"two Authorization headers", Request{Path: validatePath, Header: http.Header{"Authorization": {"Bearer " + good, "Bearer " + good}}}, 401, "authentication_failed", auth.MalformedToken},
		{"another name", Request{Path: validatePath, Token: good, Header: http.Header{"X-Service-Name": {frontend}}}, 401, "authentication_failed", auth.IdentityMismatch},
		{"wrong audience", Request{Path: validatePath, Token: good, Header: http.Header{"X-Target-Service": {"isectech-admin"}}}, 401, "authentication_failed", auth.WrongAudience},
		{"untrusted edge before audience", Request{Path: validatePath, Token: p.Token(t, frontend, gateway, auth.APIRead), Header: http.Header{"X-Target-Service": {backend}}}, 403, "untrusted_edge", auth.UntrustedEdge},
		{"scope not held", Request{Path: validatePath, Token: good, Header: http.Header{"X-Target-Service": {backend}, "X-Required-Scopes": {"api:read api:write"}}}, 403, "insufficient_scope", auth.InsufficientScope},
		{"scope that is none", Request{Path: validatePath, Token: good, Header: http.Header{"X-Target-Service": {backend}, "X-Required-Scopes": {"api:everything"}}}, 403, "insufficient_scope", auth.InsufficientScope},
		{"unknown target", Request{Path: validatePath, Token: good, Header: http.Header{"X-Target-Service": {"isectech-nobody"}}}, 403, "unknown_service", auth.UnknownService},
		{"unknown caller", Request{Path: validatePath, Token: p.Token(t, "isectech-nobody", backend, auth.APIRead)}, 403, "unknown_service", auth.UnknownService},
		{"a service's token at the platform", Request{Path: servicesPath, Token: good}, 401, "authentication_failed", auth.WrongAudience},
		{"the platform's token at a service", Request{Path: validatePath, Token: platform, Header: http.Header{"X-Target-Service": {"isectech-admin"}}}, 401, "authentication_failed", auth.WrongAudience},
		{"no scope for the journal", Request{Path: "/internal/journal", Token: platform}, 403, "insufficient_scope", auth.InsufficientScope},
		{"no scope for metrics", Request{Path: "/metrics", Token: platform}, 403, "insufficient_scope", auth.InsufficientScope},
		{"scopes nobody granted", Request{Path: "/internal/auth/policy", Token: p.Token(t, backend, auth.PlatformAudience, auth.AllScopes)}, 403, "insufficient_scope", auth.InsufficientScope},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p.Do(t, tc.request).Want(t, tc.status, tc.code, string(tc.reason))
		})
	}
}

func TestSpokenHeadersDoNotCount(t *testing.T) {
	t.Parallel()
	p := Start(t)
	for name, value := range map[string]string{
		"X-Client-Cert-SPIFFE": "spiffe://isectech.com/production/isectech-api-gateway", "X-Client-Cert-Present": "true",
		"X-Forwarded-Client-Cert": "URI=spiffe://isectech.com/production/isectech-api-gateway", "X-Auth-Service-Name": gateway,
		"X-ISECTECH-Proxy-Marker": "guess-after-guess-after-guess", "X-Service-Name": gateway,
	} {
		a := p.Do(t, Request{Path: validatePath, Header: http.Header{name: {value}}})
		a.Want(t, http.StatusUnauthorized, "authentication_required", "no_credentials")
	}
	if !strings.Contains(p.Logs.String(), "com.isectech.security.untrusted_proxy.v1") {
		t.Error("the attempts are not in the log")
	}
}

func TestTokenForAService(t *testing.T) {
	t.Parallel()
	p := Start(t)
	a := p.Do(t, Request{
		Method: http.MethodPost, Path: tokenPath, Sign: gateway, Type: form,
		Body: "grant_type=client_credentials&audience=backend&scope=api:read+admin:write+unknown&service_id=api-gateway-7",
	})
	a.Want(t, http.StatusOK, "", "")
	if a.String("scope") != "api:read" || a.String("token_type") != "Bearer" || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %v %v", a.Body, a.Header)
	}
	raw := a.String("access_token")
	var claims jwt.MapClaims
	parsed, _, err := jwt.NewParser().ParseUnverified(raw, &claims)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"iss": "isectech-platform", "sub": gateway, "client_id": gateway, "service_name": gateway, "aud": backend,
		"service_id": "api-gateway-7", "environment": "production", "scope": "api:read",
	} {
		if claims[name] != want {
			t.Errorf("claim %s is %v, want %v", name, claims[name], want)
		}
	}
	if parsed.Header["typ"] != "at+jwt" || parsed.Header["alg"] != "ES256" {
		t.Errorf("header %v", parsed.Header)
	}
	v := p.Do(t, Request{Path: validatePath, Token: raw, Header: http.Header{
		"X-Target-Service": {backend}, "X-Required-Scopes": {"api:read"}, "X-Service-Name": {"api-gateway"},
	}})
	v.Want(t, http.StatusOK, "", "allowed")
	if v.Body["valid"] != true || v.String("decision") != "allow" || v.Header.Get("X-Auth-Service-Name") != gateway ||
		v.Header.Get("X-Auth-Service-ID") != "api-gateway-7" || v.Header.Get("X-Auth-Scopes") != "api:read" || v.Header.Get("X-Auth-Method") != "jwt" {
		t.Errorf("got %s %v", v.Text, v.Header)
	}
	e := p.Do(t, Request{Path: "/internal/auth/decisions/" + v.String("decision_id"), Token: p.Operator(t)})
	e.Want(t, http.StatusOK, "", "allowed")
	if rules, _ := e.Body["rules"].([]any); len(rules) == 0 || e.String("caller") != gateway {
		t.Errorf("explanation %s", e.Text)
	}
	p.Do(t, Request{Path: "/internal/auth/decisions/" + v.String("decision_id") + "x", Token: p.Operator(t)}).Want(t, http.StatusNotFound, "not_found", "")
}

func TestTokenEndpointRefuses(t *testing.T) {
	t.Parallel()
	p := Start(t)
	const grant = "grant_type=client_credentials"
	for _, tc := range []struct {
		name    string
		request Request
		status  int
		code    string
		reason  auth.Reason
	}{
		{"no credentials", Request{Body: grant}, 401, "invalid_client", auth.NoCredentials},
		{"a token instead of a signature", Request{Body: grant, Token: p.Discover(t, frontend)}, 401, "invalid_client", auth.NoCredentials},
		{"forbidden edge", Request{Body: grant + "&audience=" + backend, Sign: frontend}, 400, "invalid_target", auth.UntrustedEdge},
		{"unknown target", Request{Body: grant + "&audience=isectech-nobody", Sign: frontend}, 400, "invalid_target", auth.UnknownService},
		{"no scope left", Request{Body: grant + "&scope=admin:write", Sign: frontend}, 400, "invalid_scope", ""},
		{"no grant", Request{Body: "scope=api:read", Sign: frontend}, 400, "invalid_request", ""},
		{"unknown grant", Request{Body: "grant_type=password", Sign: frontend}, 400, "unsupported_grant_type", ""},
		{"repeated parameter", Request{Body: grant + "&scope=api:read&scope=api:write", Sign: frontend}, 400, "invalid_request", ""},
		{"JSON", Request{Body: `{"grant_type":"client_credentials"}`, Type: "application/json", Sign: frontend}, 400, "invalid_request", ""},
		{"another client_id", Request{Body: grant + "&client_id=" + gateway, Sign: frontend}, 401, "invalid_client", auth.IdentityMismatch},
		{"an environment it is not in", Request{Body: grant + "&environment=staging", Sign: frontend}, 400, "invalid_request", ""},
		{"another's instance", Request{Body: grant + "&service_id=admin-1", Sign: frontend}, 400, "invalid_request", ""},
		{"an invalid token beside the signature", Request{Body: grant, Sign: frontend, Token: "x.y.z"}, 401, "invalid_client", auth.MalformedToken},
		{"another's token beside the signature", Request{Body: grant, Sign: frontend, Token: p.Discover(t, gateway)}, 401, "invalid_client", auth.IdentityMismatch},
		{"body changed after signing", Request{Body: grant, Sign: frontend, Edit: func(r *http.Request) {
			r.Body = http.NoBody
			r.ContentLength = 0
		}}, 401, "invalid_client", auth.BadSignature},
		{"a query added after signing", Request{Body: grant, Sign: frontend, Edit: func(r *http.Request) { r.URL.RawQuery = "audience=x" }}, 401, "invalid_client", auth.BadSignature},
		{"an unknown key", Request{Body: grant, Sign: frontend, Edit: func(r *http.Request) { r.Header.Set(signature.HeaderKeyID, "k9") }}, 401, "invalid_client", auth.UnknownKey},
		{"an unknown service", Request{Body: grant, Sign: frontend, Edit: func(r *http.Request) { r.Header.Set(signature.HeaderService, "isectech-nobody") }}, 401, "invalid_client", auth.UnknownKey},
		{"another's name over one's own key", Request{Body: grant, Sign: frontend, Edit: func(r *http.Request) { r.Header.Set(signature.HeaderService, gateway) }}, 401, "invalid_client", auth.BadSignature},
		{"a header missing", Request{Body: grant, Sign: frontend, Edit: func(r *http.Request) { r.Header.Del(signature.HeaderNonce) }}, 401, "invalid_client", auth.BadSignature},
		{"timestamp 6 minutes old", Request{Body: grant, Edit: p.signAt(t, frontend, grant, -6*time.Minute)}, 401, "invalid_client", auth.Expired},
		{"timestamp 6 minutes ahead", Request{Body: grant, Edit: p.signAt(t, frontend, grant, 6*time.Minute)}, 401, "invalid_client", auth.NotYetValid},
		{"2 MiB", Request{Body: strings.Repeat("a", 2<<20)}, 413, "too_large", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := tc.request
			r.Method, r.Path = http.MethodPost, tokenPath
			if r.Type == "" {
				r.Type = form
			}
			a := p.Do(t, r)
			a.Want(t, tc.status, tc.code, string(tc.reason))
			if a.Status != http.StatusRequestEntityTooLarge && a.String("error_description") == "" {
				t.Errorf("no error_description: %s", a.Text)
			}
		})
	}
}

// signAt signs with a clock that is off.
func (p *Platform) signAt(t *testing.T, service, body string, off time.Duration) func(*http.Request) {
	t.Helper()
	key := p.APIKey(t, service)
	key.Now = func() time.Time { return p.Clock.Now().Add(off) }
	return func(r *http.Request) {
		if err := key.SignHTTP(r, []byte(body)); err != nil {
			t.Error(err)
		}
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	p := Start(t)
	for _, call := range []Request{
		{Method: http.MethodPost, Path: tokenPath, Body: "grant_type=client_credentials", Type: form, Sign: frontend},
		{Path: validatePath, Sign: frontend},
		{Path: servicesPath, Sign: frontend},
	} {
		var signed http.Header
		call.Edit = func(r *http.Request) { signed = r.Header.Clone() }
		p.Do(t, call).Want(t, http.StatusOK, "", "")
		call.Sign, call.Edit = "", func(r *http.Request) { r.Header = signed }
		a := p.Do(t, call)
		if a.Status != http.StatusUnauthorized || a.String("reason") != string(auth.Replayed) {
			t.Errorf("%s again: %d %s", call.Path, a.Status, a.Text)
		}
	}
}

func TestForwardAuth(t *testing.T) {
	t.Parallel()
	p := Start(t)
	ask := func(marker string, edit func(http.Header)) Answer {
		// What the client signed is the request to the service, which the proxy asks about.
		signed, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://backend.isectech.com/api/v1/things?b=2&a=1", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.APIKey(t, gateway).SignHTTP(signed, []byte(`{"n":1}`)); err != nil {
			t.Fatal(err)
		}
		h := signed.Header
		h.Set("X-ISECTECH-Proxy-Marker", marker)
		h.Set("X-Forwarded-Method", "POST")
		h.Set("X-Forwarded-Uri", "/api/v1/things?b=2&a=1")
		h.Set("X-Forwarded-Host", "backend.isectech.com")
		h.Set("X-Target-Service", backend)
		if edit != nil {
			edit(h)
		}
		return p.Do(t, Request{Path: validatePath, Header: h})
	}
	ask(Marker, nil).Want(t, http.StatusOK, "", "allowed")
	ask("not-the-marker-at-all", nil).Want(t, http.StatusUnauthorized, "authentication_failed", "bad_signature")
	ask(Marker, func(h http.Header) { h.Set("X-Forwarded-Method", "GET") }).Want(t, http.StatusUnauthorized, "", "bad_signature")
	ask(Marker, func(h http.Header) { h.Set("X-Forwarded-Uri", "/api/v1/things") }).Want(t, http.StatusUnauthorized, "", "bad_signature")
	ask(Marker, func(h http.Header) { h.Set("X-Content-SHA256", strings.Repeat("0", 64)) }).Want(t, http.StatusUnauthorized, "", "bad_signature")
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	p := Start(t)
	ask := func(tok, body string) Answer {
		return p.Do(t, Request{Method: http.MethodPost, Path: "/internal/auth/authorize", Token: tok, Body: body})
	}
	a := ask(p.Operator(t), `{"explain":true,"questions":[
		{"caller":"isectech-api-gateway","target":"backend","scopes":["api:read"]},
		{"caller":"frontend","target":"isectech-backend-services","method":"GET","path":"/x","scopes":[]},
		{"caller":"isectech-monitoring","target":"isectech-admin","scopes":["admin:read"]}]}`)
	a.Want(t, http.StatusOK, "", "")
	var answer struct {
		Decisions []struct {
			Decision, Reason string
			Rules            []json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(a.Text), &answer); err != nil {
		t.Fatal(err)
	}
	want := []string{"allow allowed", "deny untrusted_edge", "deny insufficient_scope"}
	for i, d := range answer.Decisions {
		if d.Decision+" "+d.Reason != want[i] || len(d.Rules) == 0 {
			t.Errorf("question %d: %s %s, want %s (%d rules)", i, d.Decision, d.Reason, want[i], len(d.Rules))
		}
	}
	ask(p.Discover(t, gateway), `[{"caller":"isectech-api-gateway","target":"backend"}]`).Want(t, http.StatusOK, "", "")
	ask(p.Discover(t, gateway), `[{"caller":"isectech-frontend","target":"backend"}]`).Want(t, http.StatusForbidden, "insufficient_scope", "")
	ask(p.Operator(t), `{"questions":[],"extra":1}`).Want(t, http.StatusBadRequest, "invalid_request", "")
}

func TestPublicDocuments(t *testing.T) {
	t.Parallel()
	p := Start(t)
	keys := p.Do(t, Request{Path: "/.well-known/jwks.json"})
	keys.Want(t, http.StatusOK, "", "")
	if strings.Contains(keys.Text, `"d"`) || !strings.Contains(keys.Text, `"kid"`) {
		t.Errorf("JWKS %s", keys.Text)
	}
	meta := p.Do(t, Request{Path: "/.well-known/oauth-authorization-server"})
	meta.Want(t, http.StatusOK, "", "")
	if meta.String("token_endpoint") != p.URL+tokenPath || meta.String("issuer") == "" {
		t.Errorf("metadata %s", meta.Text)
	}
	for _, member := range []string{"token", "introspection", "revocation"} { // RFC 8414 §2: or else a client's secret is meant
		if methods, _ := meta.Body[member+"_endpoint_auth_methods_supported"].([]any); len(methods) == 0 {
			t.Errorf("metadata does not say how the %s endpoint is asked", member)
		}
	}
	health := p.Do(t, Request{Path: "/internal/auth/health"})
	health.Want(t, http.StatusOK, "", "")
	if _, told := health.Body["dependencies"]; told {
		t.Error("the dependencies are told to strangers")
	}
}

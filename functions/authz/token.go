package authz

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authn"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/trust"
)

// The grants there are.
const (
	grantClientCredentials = "client_credentials"
	grantJWTBearer         = "urn:ietf:params:oauth:grant-type:jwt-bearer" //nolint:gosec // a name from RFC 7523, not a secret
)

// grant is a caller that proved itself at the token endpoint, and what it asks for.
type grant struct {
	subject     auth.Subject
	scopes      auth.Scopes // at most
	environment auth.Environment
	serviceID   string
	method      auth.Method
	certificate string // thumbprint of the client certificate that the token is bound to, if any
	revoked     bool   // something that the request rests on
}

// token is the OAuth 2.0 token endpoint (RFC 6749 §3.2).
func (s *Service) token(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache") // RFC 6749 §5.1
	answer, err := s.issue(w, r)
	if err != nil {
		return oauth(r.Context(), err)
	}
	return httpx.WriteJSON(w, http.StatusOK, answer)
}

func (s *Service) issue(w http.ResponseWriter, r *http.Request) (map[string]any, error) {
	// Who asks is settled before what is asked, by the request as it was sent.
	st, principals, err := s.client(r)
	if err != nil {
		return nil, err
	}
	who := auth.Principal{Method: auth.MethodNone}
	if len(principals) > 0 {
		who = principals[0]
	}
	answer, err := s.exchange(w, r, st, principals, &who)
	if err != nil {
		s.recordNoToken(r, who, err)
	}
	return answer, err
}

// exchange makes a token of what the caller shows, and notes in who whom that proves.
func (s *Service) exchange(
	w http.ResponseWriter, r *http.Request, st *trust.State, principals []auth.Principal, who *auth.Principal,
) (map[string]any, error) {
	form, err := readForm(r)
	if err != nil {
		return nil, err
	}
	var g grant
	switch form["grant_type"] {
	case grantClientCredentials:
		g, err = s.clientCredentials(st, principals, form)
	case grantJWTBearer:
		if len(principals) == 0 {
			who.Method = auth.MethodJWT
		}
		g, err = s.jwtBearer(r, st, principals, form)
	case "":
		err = oauthError("invalid_request", "grant_type is missing")
	default:
		err = oauthError("unsupported_grant_type", "grant_type is none of "+grantClientCredentials+", "+grantJWTBearer)
	}
	if err != nil {
		return nil, err
	}
	if err := g.named(st, form); err != nil {
		return nil, err
	}
	if g.certificate, err = binding(principals); err != nil {
		return nil, err
	}
	g.revoked = st.Revoked(principals...)
	who.Subject, who.Environment, who.Method = g.subject, g.environment, g.method
	return s.mint(w, r, st, g, form)
}

// client returns who the request's own credentials prove, which is nobody where it carries none. What only a proxy
// may say, it says no more.
func (s *Service) client(r *http.Request) (st *trust.State, principals []auth.Principal, err error) {
	if authn.Present(r) {
		st, principals, err = s.guard.Authenticate(r)
		if auth.ReasonOf(err) != auth.NoCredentials { // what looked like one may have been taken off
			return st, principals, err
		}
	} else {
		s.guard.Clean(r)
	}
	st, err = s.trust.State(r.Context())
	return st, nil, err
}

// binding returns the thumbprint of the certificate that the client authenticated with, to which the token is
// bound (RFC 8705 §3). A certificate that a proxy names without its digest gets none: it would be good without it.
func binding(principals []auth.Principal) (string, error) {
	for _, p := range principals {
		if p.Method != auth.MethodMTLS {
			continue
		}
		if p.Certificate == "" {
			return "", auth.Refuse(auth.UntrustedProxy, "the proxy tells of a client certificate without its digest, to which the token would be bound")
		}
		return p.Certificate, nil
	}
	return "", nil
}

// clientCredentials is the grant of a service that showed its certificate or signed the request with its API
// key. The certificate, where there is one, says which environment it is of; a key is good wherever its service
// runs.
func (s *Service) clientCredentials(st *trust.State, principals []auth.Principal, form httpx.Values) (grant, error) {
	i := slices.IndexFunc(principals, func(p auth.Principal) bool {
		return p.Method == auth.MethodMTLS || p.Method == auth.MethodAPIKey // in this order, if both
	})
	if i < 0 { // an access token alone would renew itself for ever
		return grant{}, auth.Refuse(auth.NoCredentials, "the request is neither signed with an API key nor made with a client certificate")
	}
	p := principals[i]
	g := grant{
		subject: p.Subject, environment: p.Environment, method: p.Method,
		// Whoever holds the key, when the request does not say which instance it is.
		serviceID: p.Subject.Alias() + "-" + cmp.Or(p.KeyID, "certificate"),
	}
	if env := form["environment"]; env != "" {
		var err error
		if g.environment, err = auth.ParseEnvironment(env); err != nil {
			return grant{}, oauthError("invalid_request", "environment: want production, staging or development")
		}
	}
	if p.Method == auth.MethodMTLS && g.environment != p.Environment {
		return grant{}, auth.Refuse(auth.IdentityMismatch, "environment: the client certificate is of "+string(p.Environment))
	}
	entry, known := st.Policy.Service(p.Subject)
	if !known { // a certificate outlives a service; its keys do not
		return grant{}, auth.Refuse(auth.UnknownService, "the policy does not know "+p.Subject.String())
	}
	if !entry.In(g.environment) {
		return grant{}, oauthError("invalid_request", "environment: the service does not run in "+string(g.environment))
	}
	g.scopes = st.Policy.Grant(p.Subject, g.environment)
	return g, nil
}

// named checks whom the request says it is from by what it has proved, and takes from it which instance of a
// service that is.
func (g *grant) named(st *trust.State, form httpx.Values) error {
	if id := form["client_id"]; id != "" && id != g.subject.String() {
		if named, ok := st.Resolve(id); !ok || named != g.subject {
			return auth.Refuse(auth.IdentityMismatch, "client_id does not name the service of the request's credentials")
		}
	}
	id := form["service_id"]
	switch {
	case id == "":
		return nil
	case g.subject.IsOperator():
		return oauthError("invalid_request", "service_id: an operator has no instances")
	case !auth.OwnsID(st, g.subject, id):
		return oauthError("invalid_request", "service_id: want "+g.subject.Alias()+"-<suffix>")
	}
	g.serviceID = id
	return nil
}

// jwtBearer is the grant of whoever shows an ID token that the policy maps (RFC 7523). Other credentials
// on the request, and X-Service-Name, must name the same.
func (s *Service) jwtBearer(r *http.Request, st *trust.State, principals []auth.Principal, form httpx.Values) (grant, error) {
	if s.deps.Assertions == nil {
		return grant{}, oauthError("unsupported_grant_type", "this deployment exchanges no ID tokens")
	}
	if !form.Has("assertion") {
		return grant{}, oauthError("invalid_request", "assertion is missing")
	}
	mail, err := s.deps.Assertions.Verify(r.Context(), form["assertion"])
	switch {
	case auth.ReasonOf(err) != "":
		return grant{}, &oauthRefusal{code: "invalid_grant", cause: err}
	case err != nil:
		return grant{}, err
	}
	g, err := s.mapped(mail, st)
	if err != nil {
		return grant{}, err
	}
	if env := form["environment"]; env != "" && g.environment != "" && env != string(g.environment) {
		return grant{}, auth.Refuse(auth.IdentityMismatch, "environment: the service account is of "+string(g.environment))
	}
	shown := append([]auth.Principal{{Subject: g.subject, Environment: g.environment}}, principals...)
	return g, authn.Agree(shown, r.Header, st)
}

// mapped is the grant of the e-mail address that an ID token proves.
func (s *Service) mapped(mail string, st *trust.State) (grant, error) {
	if scopes, ok := st.Policy.Operator(mail); ok {
		subject, err := auth.ParseSubject("operator:" + mail)
		if err != nil {
			return grant{}, oauthError("invalid_grant", "the ID token's e-mail address cannot name an operator")
		}
		if !s.trust.Writable(st) {
			return grant{}, auth.Refuse(auth.PolicyUnavailable, staleDetail)
		}
		return grant{subject: subject, scopes: scopes, method: auth.MethodJWT}, nil
	}
	if service, env, ok := st.Policy.ServiceAccount(mail); ok {
		return grant{
			subject: service, scopes: st.Policy.Grant(service, env), environment: env, method: auth.MethodJWT,
			serviceID: service.Alias() + "-account",
		}, nil
	}
	return grant{}, &oauthRefusal{code: "invalid_grant", cause: auth.Refuse(auth.UnknownService, "the policy maps the ID token's e-mail address to nobody")}
}

// mint issues the token that a grant allows.
func (s *Service) mint(w http.ResponseWriter, r *http.Request, st *trust.State, g grant, form httpx.Values) (map[string]any, error) {
	audience := auth.PlatformAudience
	if ref := form["audience"]; ref != "" && ref != audience {
		target, ok := st.Resolve(ref)
		if !ok {
			return nil, &oauthRefusal{code: "invalid_target", cause: auth.Refuse(auth.UnknownService, "the policy knows no service of the name in audience")}
		}
		audience = target.String()
	}
	d := st.Policy.Decide(policy.Question{
		Caller: g.subject, Environment: g.environment, Target: auth.MustSubject(audience), Audience: audience, Held: g.scopes,
		AnyRequest: true, // the token is for requests yet to come
		Revoked:    g.revoked, Quarantined: st.Quarantined(g.subject) || st.Quarantined(auth.MustSubject(audience)),
	})
	if !d.Allow {
		return nil, noToken(d.Reason, g.subject, audience, st)
	}
	asked := auth.AllScopes
	if form.Has("scope") {
		asked, _ = auth.ParseScopes(form["scope"])
	}
	scopes := d.Scopes & asked
	if scopes == 0 {
		return nil, &oauthRefusal{
			code: "invalid_scope", cause: auth.Refuse(auth.InsufficientScope, "none of the scopes asked for is granted"),
			privileged: form.Has("scope") && asked&adminScopes != 0,
		}
	}
	if err := s.takeForToken(w, r, st, g); err != nil {
		return nil, err
	}
	key, err := s.signers.current(r.Context())
	if err != nil {
		return nil, err
	}
	now := s.deps.Now().Truncate(time.Second)
	if last, ok := st.IssuedAfter(g.subject); ok && !now.After(last) { // or it would be revoked as it is issued
		now = last.Add(time.Second)
	}
	claims := token.Claims{
		Issuer: auth.Issuer, Subject: g.subject, Audience: audience, ServiceID: g.serviceID, Environment: g.environment,
		Scopes: scopes, IssuedAt: now, NotBefore: now, ExpiresAt: now.Add(s.cfg.TokenLifetime.Duration()), ID: token.NewID(),
		Thumbprint: g.certificate,
	}
	raw, err := key.signer.Sign(claims)
	if err != nil {
		return nil, err
	}
	s.guard.Metrics.AuthAttempt(string(g.method), string(auth.Allowed))
	s.deps.Logger.LogAttrs(r.Context(), slog.LevelInfo, "access token issued",
		slog.String("auth_method", string(g.method)), slog.String("service_name", g.subject.String()),
		slog.String("service_id", g.serviceID), slog.String("environment", string(g.environment)),
		slog.String("audience", audience), slog.Any("scopes", scopes.Names()), slog.String("jti", claims.ID))
	return map[string]any{
		"access_token": raw,
		"token_type":   "Bearer",
		"expires_in":   int64(s.cfg.TokenLifetime.Duration() / time.Second),
		"scope":        scopes.String(),
		"audience":     audience,
	}, nil
}

// noToken is the refusal of a token that the policy does not allow.
func noToken(reason auth.Reason, subject auth.Subject, audience string, st *trust.State) error {
	switch {
	case reason == auth.Revoked:
		return auth.Refuse(reason, "a credential of the request has been revoked")
	case reason == auth.Quarantined && st.Quarantined(subject):
		return &oauthRefusal{code: "unauthorized_client", cause: auth.Refuse(reason, subject.String()+" is in quarantine")}
	case reason == auth.Quarantined:
		return &oauthRefusal{code: "invalid_target", cause: auth.Refuse(reason, audience+" is in quarantine")}
	default:
		return &oauthRefusal{code: "invalid_target", cause: auth.Refuse(reason, subject.String()+" may not call "+audience)}
	}
}

// maxForm bounds the form of a token request.
const maxForm = 16 << 10

// readForm reads the parameters of a token request: from the body alone, each at most once, and one without a value
// as if it had been left out (RFC 6749 §3.2).
func readForm(r *http.Request) (httpx.Values, error) {
	r.Body = http.MaxBytesReader(nil, r.Body, maxForm)
	form, err := httpx.Form(r)
	if e, ok := errors.AsType[*httpx.Error](err); ok && e.Status == http.StatusUnsupportedMediaType {
		return nil, oauthError("invalid_request", e.Message)
	}
	if err != nil {
		return nil, err
	}
	if form.Has("client_secret") || form.Has("client_assertion") {
		return nil, auth.Refuse(auth.BadSignature, "clients authenticate by signing the request, not by a secret in it")
	}
	maps.DeleteFunc(form, func(_, value string) bool { return value == "" })
	return form, nil
}

// oauthRefusal is a refusal with an error code of RFC 6749, RFC 7523 or RFC 8707.
type oauthRefusal struct {
	code       string
	cause      error
	privileged bool // an admin scope was asked for
}

func (o *oauthRefusal) Error() string { return o.code + ": " + o.cause.Error() }
func (o *oauthRefusal) Unwrap() error { return o.cause }

func oauthError(code, description string) error {
	return &oauthRefusal{code: code, cause: errors.New(description)}
}

// oauth turns any error of the token endpoint into the answer that RFC 6749 §5.2 asks for. A failed
// client authentication is invalid_client, whatever was wrong with it; what is no matter of OAuth keeps the
// code that it has everywhere.
func oauth(ctx context.Context, err error) error {
	var o *oauthRefusal
	reason := auth.ReasonOf(err)
	status, code := http.StatusBadRequest, ""
	switch {
	case errors.As(err, &o):
		code = o.code
	case reason != "" && reason.Status() != http.StatusServiceUnavailable && reason.Status() != http.StatusTooManyRequests:
		status, code = http.StatusUnauthorized, "invalid_client"
	default:
		e := httpx.AsError(ctx, err)
		return e.With("error_description", e.Message)
	}
	description := err.Error()
	if detail := refusalDetail(err); detail != "" {
		description = detail
	} else if o != nil {
		description = o.cause.Error()
	}
	e := httpx.OAuth(status, code, description).Because(err)
	if reason != "" {
		e = e.With("reason", reason)
	}
	switch {
	case status != http.StatusUnauthorized:
	case reason == auth.NoCredentials: // of which nothing is invalid (RFC 6750 §3.1)
		e = e.WithHeader("WWW-Authenticate", `Bearer realm="isectech"`)
	default:
		e = e.WithHeader("WWW-Authenticate", `Bearer realm="isectech", error="invalid_token"`)
	}
	return e
}

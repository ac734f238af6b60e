package authz

import (
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authn"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/platform/guard"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/platform/trust"
)

// The headers that ask, and those that answer beside the body, for proxies that only read headers.
const (
	headerTargetService  = "X-Target-Service"
	headerRequiredScopes = "X-Required-Scopes"

	headerAuthMethod      = "X-Auth-Method"
	headerAuthServiceName = "X-Auth-Service-Name"
	headerAuthServiceID   = "X-Auth-Service-Id"
	headerAuthScopes      = "X-Auth-Scopes"
)

// validatePath is where proxies ask; some append the target of the request that they ask about.
const validatePath = "/internal/auth/validate"

// verdict is the answer to one question, with the evidence it rests on.
type verdict struct {
	evidence
	detail    string
	principal auth.Principal
	unknown   []string // what was required and is no scope
	quota     quota
	explain   bool // the answer lists the rules considered
}

// validate judges the request's own credentials and, when it names a target, whether the caller may
// call it. It serves as forward-auth: 200 lets through, any other status does not. Whoever asks about its own
// request may have the decision explained.
func (s *Service) validate(w http.ResponseWriter, r *http.Request) error {
	return s.validated(w, r, r.URL.RawQuery != "" && r.URL.Query().Get("explain") == "true")
}

func (s *Service) validated(w http.ResponseWriter, r *http.Request, explain bool) error {
	st, principals, original, err := s.guard.AuthenticateFor(r)
	v := verdict{evidence: evidence{At: s.deps.Now().UnixMilli()}}
	v.explain = explain && original.Path == "" // or else a proxy asks, and its client may have written the query
	if st != nil {
		v.PolicyVersion = st.Policy.Version()
	}
	switch reason := auth.ReasonOf(err); {
	case err == nil:
		v.principal = principals[0]
		if err := s.judge(&v, r, st, principals, original); err != nil {
			return err
		}
	case reason != "":
		v.Reason, v.detail, v.AuthMethod = reason, refusalDetail(err), guard.MethodOf(r)
	default:
		return err
	}
	return s.answer(w, r, &v)
}

// validateAppended is validate for a proxy that asks with the method, the host and the target of the request it
// asks about, the target behind our own path: HTTP ext_authz of Envoy.
func (s *Service) validateAppended(w http.ResponseWriter, r *http.Request) error {
	authn.Appended(r, validatePath)
	return s.validated(w, r, false)
}

// judge fills in a verdict on an authenticated caller.
func (s *Service) judge(v *verdict, r *http.Request, st *trust.State, credentials []auth.Principal, original authn.Original) error {
	p := v.principal
	v.Caller, v.Environment, v.Audience, v.AuthMethod = p.Subject.String(), p.Environment, p.Audience, p.Method
	v.Method, v.Path, v.Held = original.Method, original.Path, p.Scopes
	var target auth.Subject
	targets := r.Header[headerTargetService]
	switch {
	case len(targets) > 1:
		return httpx.InvalidRequest("the request is malformed", httpx.FieldError{Field: headerTargetService, Message: "is repeated"})
	case len(targets) == 1:
		var err error
		if target, err = named(targets[0], st); err != nil {
			return httpx.InvalidRequest("the request is malformed", httpx.FieldError{Field: headerTargetService, Message: "is no service's name"})
		}
		v.Target = target.String()
		var unknown []string
		v.Required, unknown = auth.ParseScopes(strings.Join(r.Header[headerRequiredScopes], " "))
		v.UnknownScopes = len(unknown) > 0
		v.unknown = unknown
	default:
		v.Audience = "" // without a target it is not judged
	}
	q := v.about(p.Subject, target)
	q.Revoked = st.Revoked(credentials...)
	q.Quarantined = v.isolated(q, st)
	d := st.Policy.Decide(q)
	v.Reason = d.Reason
	if d.Allow && v.UnknownScopes {
		v.Reason = auth.InsufficientScope
	}
	if v.Reason == auth.Allowed && v.Required&adminScopes != 0 && !s.trust.Writable(st) {
		v.Reason = auth.PolicyUnavailable
	}
	if v.Reason == auth.Allowed {
		var within bool
		if v.quota, within = s.take(r.Context(), p.Subject, p.Environment, d.Limit); !within {
			v.Reason = auth.RateLimited
		}
	}
	if v.principal.Scopes = d.Scopes; d.Scopes&adminScopes != 0 && !s.trust.Writable(st) {
		v.principal.Scopes &^= adminScopes
	}
	v.detail = detailOf(v.evidence)
	if v.Reason != auth.Allowed {
		s.guard.Refused(r, p, v.Required&adminScopes != 0, auth.Refuse(v.Reason, v.detail))
		return nil
	}
	s.guard.Metrics.AuthAttempt(string(p.Method), string(auth.Allowed))
	return nil
}

// adminScopes are denied to everyone once the policy has not been read for a minute.
const adminScopes = auth.AdminRead | auth.AdminWrite

// staleDetail says so.
const staleDetail = "the policy could not be read for over a minute"

// detailOf says in a sentence what a denial means.
func detailOf(e evidence) string {
	switch e.Reason {
	case auth.Allowed:
		return ""
	case auth.UnknownService:
		if e.Target != "" {
			return "the policy does not know " + e.Caller + " or does not know " + e.Target
		}
		return "the policy does not know " + e.Caller
	case auth.Revoked:
		return "the credential, or everything that " + e.Caller + " was issued by then, has been revoked"
	case auth.Quarantined:
		return e.Isolated + " is in quarantine"
	case auth.UntrustedEdge:
		return e.Caller + " may not call " + e.Target
	case auth.WrongAudience:
		return "the token is for " + e.Audience + ", not for " + e.Target
	case auth.InsufficientScope:
		return "the call needs scopes that the caller does not hold here"
	case auth.PolicyUnavailable:
		return staleDetail
	case auth.RateLimited:
		return tooMany
	default:
		return "refused: " + string(e.Reason)
	}
}

// refusalDetail is what of a refusal the caller may be shown.
func refusalDetail(err error) string {
	if r, ok := errors.AsType[*auth.Refusal](err); ok {
		return r.Detail
	}
	return ""
}

// answer writes a verdict, and the one line of log that every denial and a share of the allows gets.
func (s *Service) answer(w http.ResponseWriter, r *http.Request, v *verdict) error {
	id, err := s.seal(r.Context(), v.evidence)
	if err != nil && v.Reason == auth.Allowed {
		return err
	}
	s.record(r, v, id)
	var explained policy.Explanation
	if v.explain {
		var err error
		if explained, err = s.explain(r, v.evidence); err != nil {
			return err
		}
	}
	if v.Reason != auth.Allowed {
		refused := httpx.Refused(v.Reason, v.detail)
		if v.Reason == auth.RateLimited {
			refused = httpx.RateLimited(v.quota.header())
		}
		refused.Fields["valid"], refused.Fields["decision"] = false, effect(v.Reason)
		refused.Fields["policy_version"] = v.PolicyVersion
		if refused.Err = err; err == nil { // or else no key was in reach to make an id with: a denial it is all the same
			refused.Fields["decision_id"] = id
		}
		if v.Reason == auth.InsufficientScope {
			refused.Fields["required"] = v.required()
		}
		if v.explain {
			refused.Fields["rules"] = explained.Rules
		}
		return refused
	}
	v.quota.tell(w.Header())
	v.tellProxy(w.Header())
	var rules []byte
	if v.explain {
		if rules, err = json.Marshal(explained.Rules); err != nil {
			return err
		}
	}
	httpx.AppendJSON(w, http.StatusOK, func(b []byte) []byte { return v.append(b, id, rules) })
	return nil
}

// record logs a decision. An allow that gets no line gets no access line either.
func (s *Service) record(r *http.Request, v *verdict, id string) {
	level, decision := slog.LevelWarn, "deny"
	if v.Reason == auth.Allowed {
		if rand.Float64() >= s.cfg.AllowLogRate { //nolint:gosec // a sample of log lines needs no secrecy
			telemetry.Quiet(r.Context())
			return
		}
		level, decision = slog.LevelInfo, "allow"
	}
	s.deps.Logger.LogAttrs(r.Context(), level, "authorization decision",
		slog.String("decision", decision), slog.String("reason", string(v.Reason)), slog.String("detail", v.detail),
		slog.String("auth_method", string(v.AuthMethod)), slog.String("service_name", v.Caller),
		slog.String("environment", string(v.Environment)), slog.String("target", v.Target),
		slog.String("method", clip(v.Method, maxLoggedWord)), slog.String("path", clip(v.Path, maxLoggedPath)), slog.Any("scopes", v.Held.Names()),
		slog.Any("required", clipAll(v.required())), slog.Int64("policy_version", v.PolicyVersion), slog.String("decision_id", id))
}

package guard

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authn"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/security"
	"github.com/isectech/service-networking/shared/platform/trust"
)

// adminScopes are those of operators.
const adminScopes = auth.AdminRead | auth.AdminWrite

// maxHeaders bounds the names of headers in a line.
const maxHeaders = 512

// refuse counts, logs and tells of a refusal; it returns the error that answers the request.
func (g *Guard) refuse(r *http.Request, o security.Observation, err error) error {
	reason := auth.ReasonOf(err)
	if reason == "" {
		return err
	}
	g.count(r.Context(), o.Method, reason, err.Error())
	if authn.OfCertificate(err) {
		o.Method = auth.MethodMTLS
	}
	if _, elsewhere := errors.AsType[told](err); !elsewhere {
		g.tell(r, o, err)
	}
	return err
}

// Refused counts and tells of the refusal of a caller whose credentials are good, by a function that judges it itself.
// privileged says that what was asked for takes an admin scope.
func (g *Guard) Refused(r *http.Request, p auth.Principal, privileged bool, refusal error) {
	o := observed(p)
	o.Privileged = privileged
	g.Metrics.AuthAttempt(string(p.Method), string(auth.ReasonOf(refusal)))
	g.tell(r, o, refusal)
}

// Lacks is the refusal of a caller for want of scopes, by a function that knows only later what is needed. It is
// counted, logged and told of.
func (g *Guard) Lacks(r *http.Request, p auth.Principal, required auth.Scopes) error {
	o := observed(p)
	o.Privileged = required&adminScopes != 0
	refusal := auth.Refuse(auth.InsufficientScope, "the caller does not hold the scope")
	return g.refuse(r, o, httpx.InsufficientScope(required).Because(refusal))
}

// NotOwner counts, logs and tells of a caller that would change what is another's.
func (g *Guard) NotOwner(r *http.Request, p auth.Principal) {
	_ = g.refuse(r, observed(p), errNotOwner) // has its own error
}

var errNotOwner = auth.Refuse(auth.UntrustedEdge, "what the caller would change is another service's, or of another environment")

func (g *Guard) tell(r *http.Request, o security.Observation, refusal error) {
	if g.Security == nil {
		return
	}
	o.At, o.Source, o.Reason = g.Security.Now(), g.source(r), auth.ReasonOf(refusal)
	if said, ok := errors.AsType[*auth.Refusal](refusal); ok {
		o.Detail = said.Detail
	}
	g.Security.Refused(r.Context(), o)
}

// used tells that a caller's credentials were good.
func (g *Guard) used(r *http.Request, now time.Time, p auth.Principal) {
	if g.Security == nil {
		return
	}
	o := observed(p)
	o.At = now
	o.Source.Address, o.Source.Proven = g.Hops.Client(r)
	g.Security.Used(r.Context(), o)
}

func observed(p auth.Principal) security.Observation {
	return security.Observation{Subject: p.Subject, Environment: p.Environment, Method: p.Method, TokenID: p.TokenID}
}

// unproven is what is known of a request whose credentials are not good: nothing but what it claims.
func unproven(r *http.Request, st *trust.State) security.Observation {
	o := security.Observation{Method: MethodOf(r)}
	if claimed := r.Header.Values(authn.HeaderServiceName); st != nil && len(claimed) == 1 {
		o.Claimed, _ = st.Resolve(claimed[0])
	}
	return o
}

// source says where a cleaned request came from.
func (g *Guard) source(r *http.Request) security.Source {
	if a, ok := g.Hops.Client(r); ok {
		return security.Source{Address: a, Proven: true}
	}
	return security.Source{Address: authn.Peer(r)}
}

// Clean takes off r what only a proven proxy may say, and reports whether one said it. It is for requests that carry
// no credentials: to judge a request cleans it, which works once.
func (g *Guard) Clean(r *http.Request) bool {
	proven, stripped := g.Hops.Clean(r)
	if len(stripped) > 0 {
		headers := strings.Join(stripped, " ")
		headers = headers[:min(len(headers), maxHeaders)] // half of each name may be the caller's own
		g.Logger.LogAttrs(r.Context(), slog.LevelWarn, "proxy headers from an unproven hop were stripped",
			slog.String("event", security.UntrustedProxy.Type()), slog.String("incident_severity", string(security.High)),
			slog.String("headers", headers))
		o := unproven(r, nil)
		o.Headers = headers
		g.tell(r, o, auth.Refuse(auth.UntrustedProxy, "headers that only a proxy of ours may send were taken off the request"))
	}
	return proven
}

func (g *Guard) count(ctx context.Context, method auth.Method, reason auth.Reason, detail string) {
	g.Metrics.AuthAttempt(string(method), string(reason))
	if reason != auth.NoCredentials {
		g.Logger.LogAttrs(ctx, slog.LevelWarn, "request refused",
			slog.String("auth_method", string(method)), slog.String("reason", string(reason)), slog.String("detail", detail))
	}
}

// privileged reports whether only admin scopes let anyone in.
func (a Access) privileged() bool {
	for _, want := range a.AnyOf {
		if want&adminScopes == 0 {
			return false
		}
	}
	return len(a.AnyOf) > 0
}

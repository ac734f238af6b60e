// Package guard stands before the platform's own endpoints: it authenticates the caller with every
// credential on the request, decides by the policy whether it may call, and says why not.
package guard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authn"
	"github.com/isectech/service-networking/shared/auth/clientcert"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/security"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/platform/trust"
)

// Guard lets callers of one function through, or refuses them.
type Guard struct {
	Hops         authn.Hops
	Trust        *trust.Source
	Tokens       authn.Tokens
	Signatures   authn.Signatures
	Certificates *clientcert.Reader // nil: client certificates are refused
	Security     *security.Monitor  // nil: nobody is told
	Metrics      *telemetry.ServiceMetrics
	Logger       *slog.Logger
}

// Access is what an endpoint demands.
type Access struct {
	AnyOf []auth.Scopes // the caller holds all of at least one of these
	Write bool          // the call changes something
}

// Caller returns who calls and the trust it was judged by, or the error to answer with.
func (g *Guard) Caller(r *http.Request, a Access) (auth.Principal, *trust.State, error) {
	st, principals, err := g.Authenticate(r)
	if err != nil {
		return auth.Principal{}, nil, err
	}
	p := principals[0]
	if err := g.authorize(r, principals, st, a); err != nil {
		return auth.Principal{}, nil, err
	}
	return p, st, nil
}

// Authenticate returns the caller as each credential of r shows it; see authn.Authenticator.
func (g *Guard) Authenticate(r *http.Request) (*trust.State, []auth.Principal, error) {
	g.Clean(r)
	digest, err := bodyDigest(r)
	if err != nil {
		return nil, nil, err
	}
	return g.authenticate(r, authn.Direct(r, digest))
}

// AuthenticateFor is Authenticate for an endpoint that is asked about other requests: from a proven
// proxy the signature is that of the forwarded request. That request is returned where there is one.
func (g *Guard) AuthenticateFor(r *http.Request) (*trust.State, []auth.Principal, authn.Original, error) {
	original, forwarded := authn.Original{}, false
	if g.Clean(r) {
		var err error
		if original, forwarded, err = authn.Forwarded(r); err != nil {
			return nil, nil, authn.Original{}, g.refuse(r, unproven(r, nil), err)
		}
	}
	sign := original
	if !forwarded {
		digest, err := bodyDigest(r)
		if err != nil {
			return nil, nil, original, err
		}
		sign = authn.Direct(r, digest)
	}
	st, principals, err := g.authenticate(r, sign)
	return st, principals, original, err
}

func (g *Guard) judge(r *http.Request, original authn.Original) (*trust.State, []auth.Principal, error) {
	ctx := r.Context()
	now := g.Trust.Now()
	st, err := g.Trust.StateAt(ctx, now)
	if err != nil {
		return nil, nil, g.refuse(r, unproven(r, nil), unavailable(err))
	}
	a := authn.Authenticator{
		Tokens: g.Tokens, Signatures: g.Signatures, Certificates: g.Certificates, At: token.Moment{Now: now, Keys: st.Keys},
	}
	principals, err := a.Authenticate(r, original, st)
	if err != nil {
		return st, nil, g.refuse(r, unproven(r, st), unavailable(err))
	}
	httpx.SetPrincipal(ctx, principals[0])
	g.used(r, now, principals[0])
	return st, principals, nil
}

// authorize decides whether a caller with these credentials may call the platform, and counts it.
func (g *Guard) authorize(r *http.Request, credentials []auth.Principal, st *trust.State, a Access) error {
	p := credentials[0]
	scopes, err := mayCall(credentials, st, a)
	if err == nil && (a.Write || a.needs(scopes)&adminScopes != 0) && !g.Trust.Writable(st) {
		err = auth.Refuse(auth.PolicyUnavailable, "the policy could not be read for over a minute")
	}
	if err != nil {
		o := observed(p)
		o.Privileged = a.privileged()
		return g.refuse(r, o, err)
	}
	g.Metrics.AuthAttempt(string(p.Method), string(auth.Allowed))
	return nil
}

// MayCall decides whether a principal may use the platform's own endpoints so, and returns what the policy
// of st lets it do there.
func MayCall(p auth.Principal, st *trust.State, a Access) (auth.Scopes, error) {
	return mayCall([]auth.Principal{p}, st, a)
}

// mayCall is MayCall for a caller that shows several credentials, of which none may be revoked. Its scopes are
// those of the first.
func mayCall(credentials []auth.Principal, st *trust.State, a Access) (auth.Scopes, error) {
	p := credentials[0]
	d := st.Policy.Decide(policy.Question{
		Caller: p.Subject, Environment: p.Environment, Target: policy.Platform(), Audience: p.Audience, Held: p.Scopes,
		Revoked: st.Revoked(credentials...), Quarantined: st.Quarantined(p.Subject),
	})
	if !d.Allow {
		return 0, auth.Refuse(d.Reason, refusals[d.Reason])
	}
	if len(a.AnyOf) > 0 && a.needs(d.Scopes) == 0 {
		refusal := auth.Refuse(auth.InsufficientScope, "the caller does not hold the scope")
		return d.Scopes, httpx.InsufficientScope(a.AnyOf[0]).Because(refusal)
	}
	return d.Scopes, nil
}

// refusals say what a refusal means to its caller, where its reason does not say all of it.
var refusals = map[auth.Reason]string{
	auth.Revoked:        "the credential, or everything that the caller was issued by then, has been revoked",
	auth.Quarantined:    "the caller is in quarantine",
	auth.UnknownService: "the policy does not know the caller",
	auth.UntrustedEdge:  "the caller may not use the platform's own endpoints from its environment",
	auth.WrongAudience:  "the token is not for the platform's own endpoints",
}

// needs returns the first of the sets that a caller of these scopes gets in by; none where it holds none.
func (a Access) needs(scopes auth.Scopes) auth.Scopes {
	for _, want := range a.AnyOf {
		if scopes.Has(want) {
			return want
		}
	}
	return 0
}

// Scopes returns what a principal may do on the platform by the policy of st.
func Scopes(p auth.Principal, st *trust.State) auth.Scopes {
	scopes, _ := MayCall(p, st, Access{}) // none for whoever may not call
	return scopes
}

// MethodOf names the credential that a request was refused with.
func MethodOf(r *http.Request) auth.Method {
	switch {
	case r.Header.Get("Authorization") != "":
		return auth.MethodJWT
	case signature.Present(r.Header):
		return auth.MethodAPIKey
	case clientcert.Present(r):
		return auth.MethodMTLS
	default:
		return auth.MethodNone
	}
}

// bodyDigest returns the digest of the body of a signed request, and leaves the body to be read again.
func bodyDigest(r *http.Request) (string, error) {
	if !signature.Present(r.Header) {
		return "", nil
	}
	body, err := httpx.ReadBody(r, 0) // bounded by httpx.Wrap
	if err != nil {
		return "", err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:]), nil
}

// unavailable makes a refusal of a failure to reach what the judgement needs: doubt denies.
func unavailable(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case auth.ReasonOf(err) != "", errors.As(err, &tooLarge), errors.Is(err, context.Canceled):
		return err
	default:
		return &unreachable{err}
	}
}

// unreachable is a refusal with the cause that only the log may see.
type unreachable struct{ cause error }

func (u *unreachable) Error() string { return u.cause.Error() }
func (u *unreachable) Unwrap() []error {
	return []error{auth.Refuse(auth.PolicyUnavailable, "what is needed to judge the request is out of reach"), u.cause}
}

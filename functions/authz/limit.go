package authz

import (
	"context"
	"net/http"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/ratelimit"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/trust"
)

// Limiter counts what callers ask; ratelimit.Memory and redis.Limits do. It always has an answer.
type Limiter interface {
	Take(ctx context.Context, key ratelimit.Key, limit ratelimit.Limit) ratelimit.Decision
}

// MaxLimited bounds the callers that one instance counts for itself: more than a policy can hold, in each of
// its environments.
const MaxLimited = 1 << 17

// defaultQuota is the name of the limit that counts all of a caller's requests that no edge has a rate for.
const defaultQuota = "default"

// quota is how a caller stands after its request was counted. The zero one is of a request that was not.
type quota struct {
	name  string
	limit ratelimit.Limit
	ratelimit.Decision
}

// take counts a request that everything else lets through, and reports whether its rate does too. own is the
// rate that the policy has for it; without one RATE_LIMIT holds.
func (s *Service) take(ctx context.Context, caller auth.Subject, env auth.Environment, own *policy.Limit) (quota, bool) {
	q := quota{name: defaultQuota, limit: s.cfg.RateLimit}
	key := ratelimit.Key{Caller: caller, Environment: env}
	if own != nil {
		q.limit = ratelimit.Limit{Requests: own.Requests, Per: own.Per}
		if !own.Target.IsZero() {
			q.name, key.Target, key.Rate = own.Target.String(), own.Target, q.limit
		}
	}
	if q.limit.IsZero() {
		return quota{}, true
	}
	q.Decision = s.deps.Limits.Take(ctx, key, q.limit)
	return q, q.Allowed
}

// takeForToken is take for a token, which counts against the caller's own rate whatever it is for.
func (s *Service) takeForToken(w http.ResponseWriter, r *http.Request, st *trust.State, g grant) error {
	own := st.Policy.Decide(policy.Question{Caller: g.subject, Environment: g.environment}).Limit
	q, ok := s.take(r.Context(), g.subject, g.environment, own)
	if !ok {
		return httpx.RateLimited(q.header()).Because(auth.Refuse(auth.RateLimited, tooMany))
	}
	q.setHeaders(w.Header())
	return nil
}

// tooMany says why a request was refused.
const tooMany = "too many requests"

// header is the quota as the RateLimit header fields have it.
func (q quota) header() httpx.Quota {
	reset := q.ResetAfter
	if !q.Allowed {
		reset = q.RetryAfter
	}
	return httpx.Quota{Policy: q.name, Limit: q.limit.Requests, Window: q.limit.Per, Remaining: q.Remaining, Reset: reset}
}

// tell says how the caller stands; nothing where nobody counts.
func (q quota) tell(h http.Header) {
	if !q.limit.IsZero() {
		q.header().SetStanding(h)
	}
}

// setHeaders is tell with the limit beside it.
func (q quota) setHeaders(h http.Header) {
	if !q.limit.IsZero() {
		q.header().SetHeaders(h)
	}
}

package policy

import (
	"cmp"

	"github.com/isectech/service-networking/shared/auth"
)

// Question is what a decision is about: an authenticated caller, what it asks for, and what is known
// about it at the moment. Names are canonical; Policy.Resolve makes them so.
type Question struct {
	Caller      auth.Subject
	Environment auth.Environment // the caller's; an operator's is not looked at
	Target      auth.Subject     // zero: whom the caller wants is not judged, nor what for
	Audience    string           // of the token; empty for a credential without one
	Method      string           // of the request; empty: unknown
	Path        string           // as sent, without the query; empty: unknown
	Held        auth.Scopes      // what the credential carries
	Required    auth.Scopes      // what the request needs

	// AnyRequest asks whether some request might be let through, whatever its method and path. The token
	// endpoint does, which issues tokens for requests that are yet to come.
	AnyRequest bool

	Revoked     bool // the credential, or everything of the caller
	Quarantined bool // the caller or the target
	RateLimited bool // the caller has used up what it may ask
}

// Decision answers a Question. Its fields are in an order in which it travels in registers.
type Decision struct {
	Reason        auth.Reason `json:"reason"`
	PolicyVersion int64       `json:"policy_version"`
	Allow         bool        `json:"allow"`
	// Scopes are those held that the policy lets the caller use for this request. They are empty when the
	// request was refused before its scopes were judged.
	Scopes auth.Scopes `json:"-"`
	// Limit is the rate that the request counts against, of one that passed all before its rate; nil where
	// the policy says none and the platform's own holds.
	Limit *Limit `json:"-"`
}

// stage is a place in the order of judgement.
type stage uint8

// The order of judgement. The first stage that fails gives the reason.
const (
	stageCaller     stage = iota // the policy knows the caller
	stageRevocation              // nothing of it is revoked
	stageQuarantine              // neither side is quarantined
	stageTarget                  // the policy knows the target
	stageEdge                    // the trust matrix lets the caller reach the target so
	stageAudience                // the token was issued for the target
	stageScope                   // the scopes held and still granted suffice
	stageRate                    // the caller keeps within its rate
	stageEnd                     // nothing failed
)

var reasons = [...]auth.Reason{
	stageCaller:     auth.UnknownService,
	stageRevocation: auth.Revoked,
	stageQuarantine: auth.Quarantined,
	stageTarget:     auth.UnknownService,
	stageEdge:       auth.UntrustedEdge,
	stageAudience:   auth.WrongAudience,
	stageScope:      auth.InsufficientScope,
	stageRate:       auth.RateLimited,
	stageEnd:        auth.Allowed,
}

// facts are what the policy has to say about a question.
type facts struct {
	callerKnown, targetKnown bool
	open                     bool        // the caller may reach the target with this request
	ceiling                  auth.Scopes // what it may use there at most
	limit                    *Limit      // what it counts against
}

// Decide answers a question. It depends on nothing but the policy and the question, and without rules
// about methods and paths between the two services it takes one lookup and allocates nothing.
func (p *Policy) Decide(q Question) Decision { return p.decide(&q) }

func (p *Policy) decide(q *Question) Decision {
	f := p.look(q)
	return p.decision(q, f, judgeInOrder(q, f))
}

// look looks up what the policy has to say.
func (p *Policy) look(q *Question) facts {
	switch q.Target {
	case auth.Subject{}:
		c, ok := p.callers[q.Caller]
		return facts{callerKnown: ok, ceiling: c.grantIn(q.Environment), limit: c.limit}
	case platform:
		c, ok := p.callers[q.Caller]
		return facts{
			callerKnown: ok, targetKnown: true, open: c.in(q.Environment), ceiling: c.grantIn(q.Environment), limit: c.limit,
		}
	}
	e, ok := p.edges[pair{q.Caller, q.Target}]
	if !ok {
		_, callerKnown := p.callers[q.Caller]
		target, targetKnown := p.callers[q.Target]
		return facts{callerKnown: callerKnown, targetKnown: targetKnown && !target.operator}
	}
	f := facts{callerKnown: true, targetKnown: true}
	if e.conditional {
		r := read(q)
		f.open, f.ceiling, f.limit = judge(p.rules[e.first:e.last], &r)
		f.limit = cmp.Or(f.limit, e.own)
	} else if i, ok := environmentIndex(q.Environment); ok {
		f.open, f.ceiling, f.limit = e.open&(1<<i) != 0, e.scopes[i], e.limits[i]
	}
	return f
}

// judgeInOrder returns the first stage that fails, or stageEnd.
func judgeInOrder(q *Question, f facts) stage {
	switch {
	case !f.callerKnown:
		return stageCaller
	case q.Revoked:
		return stageRevocation
	case q.Quarantined:
		return stageQuarantine
	}
	if !q.Target.IsZero() {
		switch {
		case !f.targetKnown:
			return stageTarget
		case !f.open:
			return stageEdge
		case q.Audience != "" && q.Audience != q.Target.String():
			return stageAudience
		case !(q.Held & f.ceiling).Has(q.Required):
			return stageScope
		}
	}
	if q.RateLimited {
		return stageRate
	}
	return stageEnd
}

// decision puts the outcome of judgeInOrder into words.
func (p *Policy) decision(q *Question, f facts, s stage) Decision {
	var usable auth.Scopes
	if s >= stageScope {
		usable = q.Held & f.ceiling
	}
	if s < stageRate {
		f.limit = nil
	}
	return Decision{Allow: s == stageEnd, Reason: reasons[s], PolicyVersion: p.version, Scopes: usable, Limit: f.limit}
}

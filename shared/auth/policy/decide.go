package policy

import "github.com/isectech/service-networking/shared/auth"

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

// facts are what the policy has to say about a question. They travel in registers.
type facts struct {
	is      fact
	ceiling auth.Scopes // what the caller may use there at most
	limit   *Limit      // what it counts against
}

// fact is a set of what is the case.
type fact uint8

const (
	callerKnown fact = 1 << iota
	targetKnown
	open // the caller may reach the target with this request
)

func (f fact) has(one fact) bool { return f&one != 0 }

// when returns f where something is the case, and nothing otherwise.
func (f fact) when(is bool) fact {
	if is {
		return f
	}
	return 0
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
	if q.Target.IsZero() || q.Target == platform {
		c := p.callers.get(pair{caller: q.Caller})
		if c == nil {
			return facts{is: targetKnown}
		}
		if !c.in(q.Environment) {
			return facts{is: callerKnown | targetKnown, limit: c.limit}
		}
		return facts{is: callerKnown | targetKnown | open, ceiling: c.grant, limit: c.limit}
	}
	e := p.edges.get(pair{q.Caller, q.Target})
	if e == nil {
		c, t := p.callers.get(pair{caller: q.Caller}), p.callers.get(pair{caller: q.Target})
		return facts{is: callerKnown.when(c != nil) | targetKnown.when(t != nil && !t.operator)}
	}
	if e.closer {
		return p.lookCloser(e, q)
	}
	i, ok := environmentIndex(q.Environment)
	if !ok || e.open&(1<<i) == 0 {
		return facts{is: callerKnown | targetKnown}
	}
	return facts{is: callerKnown | targetKnown | open, ceiling: e.scopes[i]}
}

// judgeInOrder returns the first stage that fails, or stageEnd.
func judgeInOrder(q *Question, f facts) stage {
	switch {
	case !f.is.has(callerKnown):
		return stageCaller
	case q.Revoked:
		return stageRevocation
	case q.Quarantined:
		return stageQuarantine
	}
	if !q.Target.IsZero() {
		switch {
		case !f.is.has(targetKnown):
			return stageTarget
		case !f.is.has(open):
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

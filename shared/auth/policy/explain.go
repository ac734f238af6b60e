package policy

import (
	"fmt"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
)

// Outcome is what became of a rule in a decision.
type Outcome string

// The outcomes there are.
const (
	Passed     Outcome = "passed"      // the question meets the rule
	Failed     Outcome = "failed"      // the question does not meet the rule; it gives the reason
	NotJudged  Outcome = "not_judged"  // the rule was not reached, or the question says nothing to judge
	Applied    Outcome = "applied"     // the edge covers the request and has its effect
	NotApplied Outcome = "not_applied" // the edge does not cover the request
)

// Rule is one rule that was considered, with what it saw.
type Rule struct {
	Rule    string  `json:"rule"`
	Path    string  `json:"path,omitempty"` // of the part of the document that it comes from
	Outcome Outcome `json:"outcome"`
	Detail  string  `json:"detail"`
}

// Explanation is a decision with the rules it came from, in the order of judgement.
type Explanation struct {
	Decision
	Rules []Rule `json:"rules"`
	Fix   string `json:"fix,omitempty"` // of a denial: what would turn this rule's outcome
}

var stageNames = [...]string{
	stageCaller:     "caller_known",
	stageRevocation: "not_revoked",
	stageQuarantine: "not_quarantined",
	stageTarget:     "target_known",
	stageEdge:       "trusted_edge",
	stageAudience:   "audience",
	stageScope:      "scopes",
	stageRate:       "rate_limit",
}

// Explain answers a question as Decide does, and says how the answer came about. The decision is made by
// the very code of Decide; the rest only puts into words what it saw.
func (p *Policy) Explain(q Question) Explanation {
	f := p.look(&q)
	failed := judgeInOrder(&q, f)
	x := explainer{p: p, q: &q, f: f, request: &request{Question: &q}}
	x.request.read()
	x.request.under(nil)
	e := Explanation{Decision: p.decision(&q, f, failed)}
	for s := range stageEnd {
		r := Rule{Rule: stageNames[s], Path: x.path(s), Outcome: Passed}
		switch {
		case s > failed:
			r.Path, r.Outcome, r.Detail = "", NotJudged, "The question was refused before."
		case q.Target.IsZero() && s >= stageTarget && s <= stageScope:
			r.Path, r.Outcome, r.Detail = "", NotJudged, "The question names no target."
		case s == failed:
			r.Outcome, r.Detail = Failed, x.detail(s, false)
		default:
			r.Detail = x.detail(s, true)
		}
		e.Rules = append(e.Rules, r)
		if s == stageEdge && r.Outcome != NotJudged {
			e.Rules = append(e.Rules, x.edges()...)
		}
	}
	if failed != stageEnd {
		e.Fix = x.fix(failed)
	}
	return e
}

// explainer puts one question into words.
type explainer struct {
	p       *Policy
	q       *Question
	f       facts
	request *request
}

// path names the part of the document that a stage looks at, where it is one.
func (x *explainer) path(s stage) string {
	switch {
	case s == stageCaller && x.f.is.has(callerKnown):
		return subjectPath(x.q.Caller)
	case s == stageTarget && x.f.is.has(targetKnown) && x.q.Target != platform:
		return subjectPath(x.q.Target)
	case s == stageScope:
		return subjectPath(x.q.Caller) + ".scopes"
	}
	return ""
}

// detail says what a stage saw.
func (x *explainer) detail(s stage, passed bool) string {
	q := x.q
	switch s {
	case stageCaller:
		return known(q.Caller, passed)
	case stageRevocation:
		return choose(passed, "Nothing of the caller is revoked.", "The credential, or everything of the caller, is revoked.")
	case stageQuarantine:
		return choose(passed, "Neither side is quarantined.", "The caller or the target is quarantined.")
	case stageTarget:
		if q.Target == platform {
			return "The target is the platform itself."
		}
		return known(q.Target, passed)
	case stageEdge:
		return x.edgeDetail(passed)
	case stageAudience:
		switch {
		case q.Audience == "":
			return "The credential has no audience."
		case passed:
			return "The token was issued for " + q.Target.String() + "."
		}
		return fmt.Sprintf("The token was issued for %s, not for %s.", quote(q.Audience), q.Target)
	case stageScope:
		return fmt.Sprintf("Required: %s. Held: %s. Granted here: %s. Usable: %s.",
			scopeText(q.Required), scopeText(q.Held), scopeText(x.f.ceiling), scopeText(q.Held&x.f.ceiling))
	case stageRate:
		return choose(passed, "The caller keeps within its rate. ", "The caller has used up its rate. ") + x.f.limit.detail(q.Caller)
	}
	return ""
}

func (x *explainer) edgeDetail(passed bool) string {
	q := x.q
	c := x.p.caller(q.Caller)
	switch {
	case c.operator:
		return choose(passed, "Every operator may address the platform.", "Operators may address the platform alone.")
	case q.Target == platform && passed:
		return fmt.Sprintf("Every service may address the platform from an environment it is in, here %s.", q.Environment)
	case q.Target == platform:
		return fmt.Sprintf("%s is not in the environment %s.", q.Caller, quote(string(q.Environment)))
	case passed:
		return fmt.Sprintf("%s may reach %s in %s so.", q.Caller, q.Target, q.Environment)
	case len(x.rules()) == 0:
		return fmt.Sprintf("No edge leads from %s to %s.", q.Caller, q.Target)
	default:
		return fmt.Sprintf("No edge from %s to %s lets this request through in the environment %s.",
			q.Caller, q.Target, quote(string(q.Environment)))
	}
}

// rules returns the edges between the caller and the target.
func (x *explainer) rules() []rule { return x.p.between(pair{x.q.Caller, x.q.Target}) }

// edges says of each edge between the caller and the target what it did.
func (x *explainer) edges() []Rule {
	var list []Rule
	for i := range x.rules() {
		r := &x.rules()[i]
		said := Rule{Rule: string(Allow), Path: r.path, Outcome: NotApplied, Detail: x.coverage(r)}
		if r.deny {
			said.Rule = string(Deny)
		}
		if r.applies(x.request) {
			said.Outcome = Applied
			switch {
			case !r.deny:
				said.Detail += " It carries " + scopeText(r.scopes) + "."
				if r.limit != nil {
					said.Detail += " Its rate is " + r.limit.RateLimit.String() + "."
				}
			case r.scopes == 0:
				said.Detail += " It closes the way."
			default:
				said.Detail += " It withholds " + scopeText(r.scopes) + "."
			}
		}
		list = append(list, said)
	}
	return list
}

// coverage says why a rule covers the request, or does not, or may.
func (x *explainer) coverage(r *rule) string {
	q := x.request
	var said []string
	add := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	switch {
	case r.envs&q.env == 0:
		return fmt.Sprintf("It has no effect in the environment %s.", quote(string(q.Environment)))
	case r.narrow == nil:
		return "It covers every method and path."
	case q.AnyRequest:
		return "Whether it covers a request depends on the method or path, and there is no request yet."
	}
	if !r.narrow.methods.all() {
		list := strings.Join(r.narrow.methods.list, ", ")
		switch {
		case x.q.Method == "":
			add("It covers %s, and the method is unknown.", list)
		case !q.methodSure:
			add("It covers %s, and the method %s is not one that everybody reads alike.", list, quote(q.Method))
		default:
			add("It covers %s; the method is %s.", list, q.Method)
		}
	}
	if len(r.narrow.prefixes) > 0 {
		list := strings.Join(r.narrow.prefixes, ", ")
		switch {
		case x.q.Path == "":
			add("It covers %s and below, and the path is unknown.", list)
		case !q.pathSure:
			add("It covers %s and below, and the path %s can be read in more than one way.", list, quote(x.q.Path))
		default:
			add("It covers %s and below; the path is %s.", list, quote(q.path))
		}
	}
	return strings.Join(said, " ")
}

func known(sub auth.Subject, is bool) string {
	if sub.IsZero() {
		return "The question names no caller."
	}
	kind := choose(sub.IsOperator(), "operator", "service")
	return choose(is, fmt.Sprintf("The policy knows the %s %s.", kind, sub), fmt.Sprintf("The policy knows no %s %s.", kind, sub))
}

func subjectPath(sub auth.Subject) string {
	if sub.IsOperator() {
		return memberPath("operators", strings.TrimPrefix(sub.String(), operatorPrefix))
	}
	return memberPath("services", sub.String())
}

func scopeText(s auth.Scopes) string {
	if s == 0 {
		return "no scope"
	}
	return s.String()
}

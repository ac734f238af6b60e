package policy

import (
	"fmt"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
)

// fix says in one sentence what would turn the outcome of the stage that failed. Later stages may still
// refuse the question then.
func (x *explainer) fix(failed stage) string {
	q := x.q
	switch failed {
	case stageCaller:
		return introduce(q.Caller)
	case stageRevocation:
		return "Use a credential issued after the revocation, or have an operator end the revocation."
	case stageQuarantine:
		return fmt.Sprintf("Have an operator lift the quarantine of %s%s.", q.Caller,
			choose(q.Target.IsZero(), "", " or "+q.Target.String()))
	case stageTarget:
		if q.Target.IsOperator() {
			return "Address a service or the platform; nobody can call an operator."
		}
		return introduce(q.Target)
	case stageEdge:
		return x.fixEdge()
	case stageAudience:
		return fmt.Sprintf("Ask for a token whose audience is %s.", q.Target)
	case stageScope:
		return x.fixScopes()
	default:
		return "Ask again when the rate limit allows it, or raise the limit."
	}
}

func introduce(sub auth.Subject) string {
	if sub.IsZero() {
		return "Say who the caller is."
	}
	return fmt.Sprintf("Add %s to the policy, as %s.", strings.TrimPrefix(sub.String(), operatorPrefix), subjectPath(sub))
}

// fixEdge names everything that stands in the way.
func (x *explainer) fixEdge() string {
	q := x.q
	caller, target := x.p.caller(q.Caller), x.p.caller(q.Target)
	if caller.operator {
		return "Let a service call, or address the platform: operators may address nothing else."
	}
	if _, ok := environmentIndex(q.Environment); !ok {
		return "Say which environment the caller is in."
	}
	var steps []string
	if !caller.in(q.Environment) {
		steps = append(steps, fmt.Sprintf("add %s to %s.environments", q.Environment, subjectPath(q.Caller)))
	}
	if q.Target != platform && q.Target != q.Caller && !target.in(q.Environment) {
		steps = append(steps, fmt.Sprintf("add %s to %s.environments", q.Environment, subjectPath(q.Target)))
	}
	if q.Target != platform && (len(steps) == 0 || len(x.rules()) == 0) {
		steps = append(steps, x.openWay()...)
	}
	sentence := strings.Join(steps, ", and ")
	return strings.ToUpper(sentence[:1]) + sentence[1:] + "."
}

// openWay returns what must be done to the edges between a caller and a target that share the environment.
func (x *explainer) openWay() []string {
	var steps, wider []string
	open := false
	for i := range x.rules() {
		switch r := &x.rules()[i]; {
		case r.applies(x.request) && r.deny && r.scopes == 0:
			steps = append(steps, "take away or narrow the deny edge "+r.path)
		case r.applies(x.request) && !r.deny:
			open = true
		case !r.deny:
			wider = append(wider, r.path)
		}
	}
	switch {
	case open:
	case len(wider) > 0:
		said := fmt.Sprintf("%s %s in %s", quote(x.q.Method), quote(x.q.Path), x.q.Environment)
		if x.q.Method == "" || x.q.Path == "" {
			said = "or say which method and path it has"
		}
		steps = append(steps, fmt.Sprintf("let %s cover this request, %s", strings.Join(wider, " or "), said))
	default:
		steps = append(steps, fmt.Sprintf("add an edge from %s to %s", x.q.Caller, x.q.Target))
	}
	return steps
}

// fixScopes names where each missing scope is lost.
func (x *explainer) fixScopes() string {
	q := x.q
	missing := q.Required &^ (q.Held & x.f.ceiling)
	grant := x.p.Grant(q.Caller, q.Environment)
	const admin = auth.AdminRead | auth.AdminWrite
	if !q.Caller.IsOperator() && missing&admin != 0 {
		return fmt.Sprintf("Let an operator do this: no service can hold %s.", missing&admin)
	}
	var steps []string
	if lacking := missing &^ grant; lacking != 0 {
		steps = append(steps, fmt.Sprintf("add %s to %s.scopes", lacking, subjectPath(q.Caller)))
	}
	if uncarried := missing & grant &^ x.f.ceiling; uncarried != 0 {
		steps = append(steps, fmt.Sprintf("let the edges from %s to %s carry %s", q.Caller, q.Target, uncarried))
	}
	if unheld := missing &^ q.Held; unheld != 0 {
		steps = append(steps, fmt.Sprintf("use a credential that holds %s", unheld))
	}
	sentence := strings.Join(steps, ", and ")
	return strings.ToUpper(sentence[:1]) + sentence[1:] + "."
}

func choose(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

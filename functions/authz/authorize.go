package authz

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/platform/guard"
	"github.com/isectech/service-networking/shared/platform/httpx"
	"github.com/isectech/service-networking/shared/platform/trust"
)

// maxQuestions bounds one batch.
const maxQuestions = 1000

// ask is one question of a batch: may the caller, with the scopes, call the target so?
type ask struct {
	Caller      string    `json:"caller"`
	Target      string    `json:"target"`
	Environment string    `json:"environment,omitzero"`
	Method      string    `json:"method,omitzero"`
	Path        string    `json:"path,omitzero"`
	Scopes      scopeList `json:"scopes,omitzero"`
}

// scopeList accepts a JSON array of scopes, or one string with spaces between them.
type scopeList []string

// UnmarshalJSON implements json.Unmarshaler.
func (l *scopeList) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte(`"`)) {
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		*l = scopeList{s}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(l))
}

// questions accepts {"questions":[…],"explain":true}, or the array alone.
type questions struct {
	Questions []ask `json:"questions"`
	Explain   bool  `json:"explain,omitzero"`
}

// authorize answers a batch of questions about whoever is named in them. A caller may ask about itself;
// asking about others takes admin:read.
func (s *Service) authorize(w http.ResponseWriter, r *http.Request) error {
	p, st, err := s.guard.Caller(r, guard.Access{})
	if err != nil {
		return err
	}
	batch, err := readQuestions(r)
	if err != nil {
		return err
	}
	others := guard.Scopes(p, st).Has(auth.AdminRead)
	decisions := make([]map[string]any, len(batch.Questions))
	for i, a := range batch.Questions {
		e, required, err := s.evidenceOf(a, p, st)
		if err != nil {
			return httpx.InvalidRequest("the request is malformed",
				httpx.FieldError{Field: fmt.Sprintf("questions[%d]", i), Message: err.Error()})
		}
		if e.Caller != p.Subject.String() {
			if !others {
				return s.guard.Lacks(r, p, auth.AdminRead)
			}
			if !s.trust.Writable(st) { // what rests on an admin scope
				return auth.Refuse(auth.PolicyUnavailable, staleDetail)
			}
		}
		if decisions[i], err = s.decide(r, st, e, required, batch.Explain); err != nil {
			return err
		}
	}
	s.recordBatch(r, st.Policy.Version(), decisions)
	return httpx.WriteJSON(w, http.StatusOK, map[string]any{"decisions": decisions, "policy_version": st.Policy.Version()})
}

func readQuestions(r *http.Request) (questions, error) {
	var batch questions
	params, err := httpx.Query(r, "explain")
	if err != nil {
		return batch, err
	}
	explain, err := params.Bool("explain")
	if err != nil {
		return batch, err
	}
	body, err := httpx.ReadJSON(r, httpx.DefaultMaxBody)
	if err != nil {
		return batch, err
	}
	var into any = &batch
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
		into = &batch.Questions
	}
	if err := httpx.UnmarshalStrict(body, into); err != nil {
		return batch, err
	}
	batch.Explain = batch.Explain || explain
	if n := len(batch.Questions); n == 0 || n > maxQuestions {
		return batch, httpx.InvalidRequest("the request is malformed", httpx.FieldError{Field: "questions", Message: "want 1 to 1000 of them"})
	}
	return batch, nil
}

// evidenceOf turns a question into what the policy is asked. The caller is taken to hold what it may be
// granted, as a fresh token of all its scopes would, in the environment of whoever asks unless it says.
func (s *Service) evidenceOf(a ask, by auth.Principal, st *trust.State) (evidence, []string, error) {
	e := evidence{
		At: s.deps.Now().UnixMilli(), PolicyVersion: st.Policy.Version(), Method: a.Method, Path: a.Path,
		Environment: cmp.Or(by.Environment, s.cfg.Environment),
	}
	caller, err := named(a.Caller, st)
	if err != nil {
		return e, nil, err
	}
	target, err := named(a.Target, st)
	if err != nil {
		return e, nil, err
	}
	if a.Environment != "" {
		if e.Environment, err = auth.ParseEnvironment(a.Environment); err != nil {
			return e, nil, err
		}
	}
	var required []string
	for _, one := range a.Scopes {
		set, unknown := auth.ParseScopes(one)
		e.Required |= set
		e.UnknownScopes = e.UnknownScopes || len(unknown) > 0
		required = append(append(required, set.Names()...), unknown...)
	}
	e.Caller, e.Target, e.Held = caller.String(), target.String(), st.Policy.Grant(caller, e.Environment)
	return e, required, nil
}

// named resolves a name or alias; a name that the policy does not know stays as it is, to be refused.
func named(ref string, st *trust.State) (auth.Subject, error) {
	if sub, ok := st.Resolve(ref); ok {
		return sub, nil
	}
	return auth.ParseSubject(ref)
}

func (s *Service) decide(r *http.Request, st *trust.State, e evidence, required []string, explain bool) (map[string]any, error) {
	q, err := e.question()
	if err != nil {
		return nil, err
	}
	q.Quarantined = e.isolated(q, st)
	d := st.Policy.Decide(q)
	e.Reason = d.Reason
	if d.Allow && e.UnknownScopes {
		e.Reason = auth.InsufficientScope
	}
	id, err := s.seal(r.Context(), e)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{
		"caller": e.Caller, "target": e.Target, "decision": effect(e.Reason), "reason": e.Reason,
		"scopes": d.Scopes.Names(), "policy_version": e.PolicyVersion, "decision_id": id,
	}
	if e.Reason == auth.InsufficientScope {
		answer["required"] = required
	}
	if explain {
		answer["rules"] = st.Policy.Explain(q).Rules
	}
	return answer, nil
}

func effect(reason auth.Reason) string {
	if reason == auth.Allowed {
		return "allow"
	}
	return "deny"
}

// decision explains a decision by its id: it is decided again, by the policy of its time.
func (s *Service) decision(w http.ResponseWriter, r *http.Request) error {
	if _, _, err := s.guard.Caller(r, guard.Access{AnyOf: []auth.Scopes{auth.AdminRead}}); err != nil {
		return err
	}
	id := r.PathValue("id")
	e, err := s.open(r.Context(), id)
	if err != nil {
		return err
	}
	answer := map[string]any{
		"decision_id": id, "decided_at": e.at(), "decision": effect(e.Reason), "reason": e.Reason,
		"auth_method": e.AuthMethod, "caller": e.Caller, "environment": e.Environment, "target": e.Target, "audience": e.Audience,
		"method": e.Method, "path": e.Path, "scopes": e.Held.Names(), "required": e.Required.Names(),
		"policy_version": e.PolicyVersion, "message": detailOf(e),
	}
	explained, err := s.explain(r, e)
	if err != nil {
		return err
	}
	answer["rules"] = explained.Rules
	if explained.Fix != "" {
		answer["fix"] = explained.Fix
	}
	return httpx.WriteJSON(w, http.StatusOK, answer)
}

// explain lists the rules that a decision considered, and what would change its outcome.
func (s *Service) explain(r *http.Request, e evidence) (policy.Explanation, error) {
	if e.Caller == "" { // refused before the policy had a say
		said := "The request's credentials were refused: "
		if e.Reason.Status() == http.StatusServiceUnavailable {
			said = "The request's credentials could not be judged: "
		}
		refused := policy.Rule{Rule: "authentication", Outcome: policy.Failed, Detail: said + string(e.Reason) + "."}
		return policy.Explanation{Rules: []policy.Rule{refused}}, nil
	}
	p, err := s.policyVersion(r.Context(), e.PolicyVersion)
	if err != nil {
		return policy.Explanation{}, err
	}
	q, err := e.question()
	if err != nil {
		return policy.Explanation{}, err
	}
	explained := p.Explain(q)
	rules := explained.Rules
	if i := slices.IndexFunc(rules, func(r policy.Rule) bool { return r.Rule == "not_quarantined" && r.Outcome == policy.Failed }); i >= 0 && e.Isolated != "" {
		rules[i].Detail = e.Isolated + " was in quarantine."
	}
	if e.Reason == auth.PolicyUnavailable {
		rules = append(rules, policy.Rule{Rule: "policy_age", Outcome: policy.Failed, Detail: staleDetail})
	}
	if e.UnknownScopes {
		rules = append(rules, policy.Rule{Rule: "scopes", Outcome: policy.Failed, Detail: "A scope was required that does not exist."})
	}
	explained.Rules = rules
	return explained, nil
}

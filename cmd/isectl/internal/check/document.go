package check

import (
	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/registry"
)

// Finding is one thing to say about a document.
type Finding struct {
	Path     string `json:"path"`     // of the field; empty for the whole document
	Severity string `json:"severity"` // error or warning
	Code     string `json:"code"`
	Message  string `json:"message"`
}

// DocumentVerdict is what a document is found to be. It is valid when no finding is an error.
type DocumentVerdict struct {
	Valid    bool      `json:"valid"`
	Findings []Finding `json:"findings"`
}

// Policy judges a policy document.
func Policy(data []byte) DocumentVerdict {
	_, findings, err := policy.Parse(data)
	verdict := DocumentVerdict{Valid: err == nil, Findings: []Finding{}}
	for _, f := range findings {
		verdict.Findings = append(verdict.Findings, Finding{f.Path, string(f.Severity), f.Code, f.Message})
	}
	return verdict
}

// Service judges a registration by the services of a policy. Endpoints on this machine are accepted where
// the platform accepts them: in development, where loopback is allowed.
func Service(data []byte, p *policy.Policy, allowLoopback bool) DocumentVerdict {
	_, found := registry.DecodeAndCheck(data, registry.Rules{Names: names{p}, AllowLoopback: allowLoopback})
	verdict := DocumentVerdict{Valid: len(found) == 0, Findings: []Finding{}}
	for _, f := range found {
		verdict.Findings = append(verdict.Findings, Finding{f.Field, "error", f.Code, f.Message})
	}
	return verdict
}

// names are the services of a policy.
type names struct{ policy *policy.Policy }

// Resolve returns the service that a name or an alias means.
func (n names) Resolve(ref string) (auth.Subject, bool) { return n.policy.Resolve(ref) }

// Runs reports whether a service runs in an environment.
func (n names) Runs(service auth.Subject, env auth.Environment) bool {
	entry, ok := n.policy.Service(service)
	return ok && entry.In(env)
}

package policy_test

import (
	"cmp"
	"math/big"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
)

// oracle decides by reading the document over again, with lists and strings, in the words of the package
// comment. It shares no code with the engine.
//
//nolint:gocyclo // One judgement read from top to bottom is easier to believe than its parts.
func oracle(doc *policy.Document, version int64, q policy.Question) policy.Decision {
	refuse := func(reason auth.Reason) policy.Decision {
		return policy.Decision{Reason: reason, PolicyVersion: version}
	}
	caller, target := q.Caller.String(), q.Target.String()
	mail, isOperator := strings.CutPrefix(caller, "operator:")
	service, isService := doc.Services[caller]
	if isOperator {
		_, isOperator = doc.Operators[mail]
	}
	if !isService && !isOperator {
		return refuse(auth.UnknownService)
	}
	if q.Revoked {
		return refuse(auth.Revoked)
	}
	if q.Quarantined {
		return refuse(auth.Quarantined)
	}
	granted := service.Scopes
	here := slices.Contains(service.Environments, string(q.Environment))
	if isOperator {
		granted, here = doc.Operators[mail].Scopes, true
	} else if !here {
		granted = nil
	}
	usable := granted
	rate := service.RateLimit
	if isOperator {
		rate = doc.Operators[mail].RateLimit
	}
	limit := naiveLimit(rate, auth.Subject{})

	if target != "" && target != auth.PlatformAudience {
		callee, known := doc.Services[target]
		if !known {
			return refuse(auth.UnknownService)
		}
		if isOperator || !here || !slices.Contains(callee.Environments, string(q.Environment)) {
			return refuse(auth.UntrustedEdge)
		}
		usable = nil
		open := false
		var rates []policy.RateLimit
		for _, e := range doc.Edges {
			if e.Effect != policy.Deny && naiveCovers(e, q) {
				open = true
				if e.RateLimit != nil {
					rates = append(rates, *e.RateLimit)
				}
				for _, scope := range granted {
					if len(e.Scopes) == 0 || slices.Contains(e.Scopes, scope) {
						usable = append(usable, scope)
					}
				}
			}
		}
		for _, e := range doc.Edges {
			if e.Effect == policy.Deny && naiveCovers(e, q) {
				if len(e.Scopes) == 0 {
					open = false
				}
				usable = slices.DeleteFunc(usable, func(scope string) bool { return slices.Contains(e.Scopes, scope) })
			}
		}
		if !open {
			return refuse(auth.UntrustedEdge)
		}
		if len(rates) > 0 {
			slices.SortFunc(rates, func(a, b policy.RateLimit) int {
				return cmp.Or(new(big.Int).Mul(big.NewInt(a.Requests), big.NewInt(int64(b.Per))).
					Cmp(new(big.Int).Mul(big.NewInt(b.Requests), big.NewInt(int64(a.Per)))), cmp.Compare(a.Requests, b.Requests))
			})
			limit = naiveLimit(&rates[0], q.Target)
		}
	}
	if target == auth.PlatformAudience && !here {
		return refuse(auth.UntrustedEdge)
	}
	if target != "" && q.Audience != "" && q.Audience != target {
		return refuse(auth.WrongAudience)
	}

	d := policy.Decision{PolicyVersion: version}
	for _, scope := range q.Held.Names() {
		if slices.Contains(usable, scope) {
			one, _ := auth.ParseScope(scope)
			d.Scopes |= one
		}
	}
	sufficient := true
	for _, scope := range q.Required.Names() {
		sufficient = sufficient && slices.Contains(usable, scope) && slices.Contains(q.Held.Names(), scope)
	}
	switch {
	case target != "" && !sufficient:
		d.Reason = auth.InsufficientScope
	case q.RateLimited:
		d.Reason, d.Limit = auth.RateLimited, limit
	default:
		d.Allow, d.Reason, d.Limit = true, auth.Allowed, limit
	}
	return d
}

func naiveLimit(rate *policy.RateLimit, target auth.Subject) *policy.Limit {
	if rate == nil {
		return nil
	}
	return &policy.Limit{RateLimit: *rate, Target: target}
}

// same compares decisions by what their limits say rather than by where they lie.
func same(a, b policy.Decision) bool {
	if (a.Limit == nil) != (b.Limit == nil) || a.Limit != nil && *a.Limit != *b.Limit {
		return false
	}
	a.Limit, b.Limit = nil, nil
	return a == b
}

// agree compares the engine with the oracle.
func agree(t interface{ Fatalf(string, ...any) }, doc *policy.Document, p *policy.Policy, q policy.Question) {
	if want, got := oracle(doc, p.Version(), q), p.Decide(q); !same(got, want) {
		t.Fatalf("%+v\ngot  %+v %+v\nwant %+v %+v", q, got, got.Limit, want, want.Limit)
	}
}

// naiveCovers reports whether an edge has its effect on a question between services of one environment.
func naiveCovers(e policy.Edge, q policy.Question) bool {
	targets := append([]string{e.Target}, e.Targets...)
	if e.Caller != q.Caller.String() || !slices.Contains(targets, q.Target.String()) {
		return false
	}
	if len(e.Environments) > 0 && !slices.Contains(e.Environments, string(q.Environment)) {
		return false
	}
	inDoubt := e.Effect == policy.Deny
	if q.AnyRequest {
		return !inDoubt || len(e.Methods)+len(e.PathPrefixes) == 0
	}
	if len(e.Methods) > 0 {
		sure := q.Method != "" && q.Method == strings.ToUpper(q.Method)
		if sure && !slices.Contains(e.Methods, q.Method) || !sure && !inDoubt {
			return false
		}
	}
	if len(e.PathPrefixes) > 0 {
		clean, sure := naivePath(q.Path)
		under := slices.ContainsFunc(e.PathPrefixes, func(prefix string) bool {
			return prefix == "/" || clean == prefix || strings.HasPrefix(clean, prefix+"/")
		})
		if sure && !under || !sure && !inDoubt {
			return false
		}
	}
	return true
}

// naivePath decodes and cleans a path with the standard library, after refusing what is ambiguous by the
// looks of it.
func naivePath(p string) (string, bool) {
	decoded, err := url.PathUnescape(p)
	if err != nil || !strings.HasPrefix(p, "/") || strings.Contains(decoded, ";") || strings.ContainsAny(p, "\\?#") {
		return "", false
	}
	for _, code := range []string{"%2f", "%2e", "%5c", "%00", "%25"} {
		if strings.Contains(strings.ToLower(p), code) {
			return "", false
		}
	}
	depth := 0
	for _, segment := range strings.Split(decoded, "/") {
		switch segment {
		case "", ".":
		case "..":
			depth--
		default:
			depth++
		}
		if depth < 0 {
			return "", false
		}
	}
	return path.Clean(decoded), true
}

// TestOracleShippedPolicy compares the engine with the oracle over the whole space of the shipped policy:
// every caller, target, environment, audience and flag; and every pair of scopes held and required.
func TestOracleShippedPolicy(t *testing.T) {
	t.Parallel()
	doc := shipped(t)
	p := compile(t, doc)
	subjects := []string{"isectech-unheard-of", "operator:" + ops, "operator:eve@isectech.com", auth.PlatformAudience, ""}
	for name := range doc.Services {
		subjects = append(subjects, name)
	}
	var questions int
	compare := func(t *testing.T, q policy.Question) {
		questions++
		agree(t, doc, p, q)
	}
	for _, caller := range subjects {
		for _, target := range subjects {
			q := policy.Question{Caller: subject(caller), Target: subject(target), Environment: auth.Production}
			for held := range auth.AllScopes + 1 {
				for required := range auth.AllScopes + 1 {
					q.Held, q.Required = held, required
					compare(t, q)
				}
			}
			for _, env := range append(auth.Environments(), "", "PRODUCTION") {
				for _, audience := range []string{"", target, auth.PlatformAudience, "isectech-frontend", "frontend"} {
					for flags := range 16 {
						for _, held := range []auth.Scopes{0, auth.APIRead, auth.AllScopes} {
							compare(t, policy.Question{
								Caller: subject(caller), Target: subject(target), Environment: env, Audience: audience,
								Held: held, Required: auth.APIRead,
								Revoked: flags&1 != 0, Quarantined: flags&2 != 0, RateLimited: flags&4 != 0, AnyRequest: flags&8 != 0,
							})
						}
					}
				}
			}
		}
	}
	t.Logf("%d questions", questions)
}

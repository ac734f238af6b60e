package policy_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
)

const (
	ops   = "ops@isectech.com"
	robot = "frontend@isectech-prod.iam.gserviceaccount.com"
)

// shipped is the default policy with an operator and a service account.
func shipped(t testing.TB) *policy.Document {
	t.Helper()
	doc := policy.Default()
	doc.Operators = map[string]policy.Operator{ops: {Scopes: []string{"admin:read", "admin:write"}}}
	doc.ServiceAccounts = map[string]policy.Account{robot: {Service: "isectech-frontend", Environment: "production"}}
	return doc
}

func compile(t testing.TB, doc *policy.Document) *policy.Policy {
	t.Helper()
	p, err := policy.Compile(doc, 7)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// subject parses a subject; "" is the zero one.
func subject(name string) auth.Subject {
	if name == "" {
		return auth.Subject{}
	}
	return auth.MustSubject(name)
}

// TestTrustMatrix holds the shipped policy to the trust matrix and grants of the contracts, cell by cell.
func TestTrustMatrix(t *testing.T) {
	t.Parallel()
	p := compile(t, policy.Default())
	columns := []string{"isectech-frontend", "isectech-api-gateway", "isectech-backend-services", "isectech-admin", "isectech-monitoring"}
	const calls = auth.APIRead | auth.APIWrite | auth.ServiceDiscover
	tests := []struct {
		caller string
		trusts string // a column each: y or n
		grant  auth.Scopes
	}{
		{"isectech-frontend", "yynnn", calls},
		{"isectech-api-gateway", "yyyyn", calls},
		{"isectech-backend-services", "nyyyn", calls},
		{"isectech-monitoring", "nnyyn", auth.APIRead | auth.MetricsRead | auth.ServiceDiscover},
		{"isectech-admin", "nnnnn", auth.ServiceDiscover},
		{"isectech-register", "nnnnn", auth.ServiceDiscover},
		{"isectech-healthcheck", "nnnnn", auth.ServiceDiscover | auth.MetricsRead},
		{"isectech-rotatecerts", "nnnnn", auth.ServiceDiscover},
		{"isectech-canarygate", "nnnnn", auth.ServiceDiscover | auth.MetricsRead},
		{"isectech-authz", "nnnnn", auth.ServiceDiscover},
	}
	for _, tt := range tests {
		t.Run(tt.caller, func(t *testing.T) {
			t.Parallel()
			caller := auth.MustSubject(tt.caller)
			for _, env := range []auth.Environment{auth.Production, auth.Development} {
				if got := p.Grant(caller, env); got != tt.grant {
					t.Errorf("grant in %s: %s, want %s", env, got, tt.grant)
				}
				for i, target := range columns {
					want := policy.Decision{Reason: auth.UntrustedEdge, PolicyVersion: 7}
					if tt.trusts[i] == 'y' {
						want = policy.Decision{Allow: true, Reason: auth.Allowed, PolicyVersion: 7, Scopes: tt.grant}
					}
					got := p.Decide(policy.Question{
						Caller: caller, Environment: env, Target: auth.MustSubject(target), Held: auth.AllScopes,
					})
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("to %s in %s (-want +got):\n%s", target, env, diff)
					}
				}
			}
			got := p.Decide(policy.Question{
				Caller: caller, Environment: auth.Production, Target: policy.Platform(),
				Audience: auth.PlatformAudience, Held: tt.grant, Required: auth.ServiceDiscover,
			})
			if !got.Allow {
				t.Errorf("to the platform: %s", got.Reason)
			}
			if got := p.Grant(caller, auth.Staging); got != 0 {
				t.Errorf("grant in staging: %s, want none", got)
			}
		})
	}
}

func TestDefault(t *testing.T) {
	t.Parallel()
	doc := shipped(t)
	if found := doc.Check(); len(found) > 0 {
		t.Errorf("findings about the shipped policy: %v", found)
	}
	p := compile(t, policy.Default(auth.Staging))
	for s := range p.Services() {
		if diff := cmp.Diff([]auth.Environment{auth.Staging}, s.Environments); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.Subject, diff)
		}
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	p := compile(t, shipped(t))
	tests := []struct{ ref, want string }{
		{"isectech-frontend", "isectech-frontend"},
		{"frontend", "isectech-frontend"},
		{"backend", "isectech-backend-services"},
		{"backend-services", "isectech-backend-services"},
		{"isectech-backend", ""},
		{"isectech-services", ""},
		{"services", ""},
		{"operator:" + ops, ""},
		{ops, ""},
		{"Frontend", ""},
		{"", ""},
	}
	for _, tt := range tests {
		t.Run(tt.ref, func(t *testing.T) {
			t.Parallel()
			got, ok := p.Resolve(tt.ref)
			if got.String() != tt.want || ok != (tt.want != "") {
				t.Errorf("got %q, %v; want %q", got, ok, tt.want)
			}
		})
	}
}

func TestAccessors(t *testing.T) {
	t.Parallel()
	p := compile(t, shipped(t))
	if p.Version() != 7 {
		t.Errorf("version %d, want 7", p.Version())
	}

	want := policy.Service{
		Subject:      auth.MustSubject("isectech-backend-services"),
		Grant:        auth.APIRead | auth.APIWrite | auth.ServiceDiscover,
		Environments: []auth.Environment{auth.Production, auth.Development},
		Aliases:      []string{"backend-services", "backend"},
		Description:  "Backend services",
	}
	subjects := cmp.Comparer(func(a, b auth.Subject) bool { return a == b })
	got, ok := p.Service(want.Subject)
	if diff := cmp.Diff(want, got, subjects); diff != "" || !ok {
		t.Errorf("known %v (-want +got):\n%s", ok, diff)
	}
	if !got.In(auth.Development) || got.In(auth.Staging) {
		t.Errorf("In disagrees with %v", got.Environments)
	}
	got.Environments[0], got.Aliases[0] = auth.Staging, "elsewhere"
	if again, _ := p.Service(want.Subject); !cmp.Equal(want, again, subjects) {
		t.Errorf("what a caller does to its copy changes the policy: %+v", again)
	}
	if _, ok := p.Service(auth.MustSubject("operator:" + ops)); ok {
		t.Error("an operator is a service")
	}

	var names []string
	for s := range p.Services() {
		names = append(names, s.Subject.String())
	}
	if len(names) != 10 || !slices.IsSorted(names) {
		t.Errorf("services are not the ten in order: %v", names)
	}
	for range p.Services() {
		break // must not go on calling
	}

	if scopes, ok := p.Operator(ops); !ok || scopes != auth.AdminRead|auth.AdminWrite {
		t.Errorf("operator: %s, %v", scopes, ok)
	}
	for _, mail := range []string{robot, "nobody@isectech.com", "", "OPS@isectech.com", "operator:" + ops} {
		if scopes, ok := p.Operator(mail); ok || scopes != 0 {
			t.Errorf("%q is an operator with %s", mail, scopes)
		}
	}
	sub, env, ok := p.ServiceAccount(robot)
	if !ok || sub.String() != "isectech-frontend" || env != auth.Production {
		t.Errorf("service account: %s, %s, %v", sub, env, ok)
	}
	if sub, _, ok := p.ServiceAccount(ops); ok || !sub.IsZero() {
		t.Errorf("an operator's address is a service account of %s", sub)
	}
	if got := p.Grant(auth.MustSubject("operator:"+ops), ""); got != auth.AdminRead|auth.AdminWrite {
		t.Errorf("grant of an operator: %s", got)
	}
	if got := p.Grant(auth.MustSubject("isectech-unheard-of"), auth.Production); got != 0 {
		t.Errorf("grant of an unknown service: %s", got)
	}
}

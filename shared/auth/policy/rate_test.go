package policy_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
)

// TestLimit: the smallest rate of the edges that cover a request holds, then the caller's own, then none.
func TestLimit(t *testing.T) {
	t.Parallel()
	service := policy.ServiceEntry{Environments: []string{"production", "development"}, Scopes: []string{"api:read"}}
	limited := service
	limited.RateLimit = &policy.RateLimit{Requests: 5000, Per: time.Minute}
	rate := func(n int64, per time.Duration) *policy.RateLimit { return &policy.RateLimit{Requests: n, Per: per} }
	p := compile(t, &policy.Document{
		Services: map[string]policy.ServiceEntry{"a": service, "b": service, "c": limited},
		Edges: []policy.Edge{
			{Caller: "a", Target: "b"},
			{Caller: "a", Target: "b", Methods: []string{"POST"}, RateLimit: rate(60, time.Minute)},
			{Caller: "a", Target: "b", PathPrefixes: []string{"/slow"}, RateLimit: rate(1, time.Second)},
			{Caller: "a", Target: "b", PathPrefixes: []string{"/slow/er"}, RateLimit: rate(1, time.Hour)},
			{Caller: "c", Target: "a"},
			{Caller: "c", Target: "a", Environments: []string{"development"}, RateLimit: rate(policy.MaxRequests, 24*time.Hour)},
			{Caller: "c", Target: "b", Methods: []string{"GET"}},
		},
		Operators: map[string]policy.Operator{ops: {Scopes: []string{"admin:read"}, RateLimit: rate(7, time.Second)}},
	})
	own := policy.Limit{RateLimit: *limited.RateLimit}
	edge := func(n int64, per time.Duration, target string) policy.Limit {
		return policy.Limit{RateLimit: *rate(n, per), Target: subject(target)}
	}
	tests := []struct {
		name                         string
		caller, target, method, path string
		env                          auth.Environment
		required                     auth.Scopes
		want                         policy.Limit // zero: none
	}{
		{name: "no rate anywhere", caller: "a", target: "b", method: "GET", path: "/"},
		{name: "by method", caller: "a", target: "b", method: "POST", path: "/", want: edge(60, time.Minute, "b")},
		{name: "as much over time, less at once", caller: "a", target: "b", method: "POST", path: "/slow", want: edge(1, time.Second, "b")},
		{name: "the smallest", caller: "a", target: "b", method: "POST", path: "/slow/er/x", want: edge(1, time.Hour, "b")},
		{name: "own", caller: "c", target: "a", want: own},
		{name: "own, of a narrowed edge", caller: "c", target: "b", method: "GET", path: "/", want: own},
		{name: "larger, of an edge", caller: "c", target: "a", env: auth.Development, want: edge(policy.MaxRequests, 24*time.Hour, "a")},
		{name: "own, at the platform", caller: "c", target: auth.PlatformAudience, want: own},
		{name: "own, without target", caller: "c", want: own},
		{name: "an operator's", caller: "operator:" + ops, target: auth.PlatformAudience, want: policy.Limit{RateLimit: *rate(7, time.Second)}},
		{name: "none of a denial", caller: "c", target: "a", required: auth.APIWrite},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			q := policy.Question{
				Caller: subject(tt.caller), Target: subject(tt.target), Environment: tt.env, Method: tt.method, Path: tt.path,
				Held: auth.AllScopes, Required: tt.required,
			}
			if q.Environment == "" {
				q.Environment = auth.Production
			}
			for _, limited := range []bool{false, true} {
				q.RateLimited = limited
				d := p.Decide(q)
				var got policy.Limit
				if d.Limit != nil {
					got = *d.Limit
				}
				if got != tt.want {
					t.Errorf("limited %v: %+v, want %+v", limited, got, tt.want)
				}
				if wantAllow := !limited && tt.required == 0; d.Allow != wantAllow {
					t.Errorf("limited %v: %+v", limited, d)
				}
			}
		})
	}
}

func TestRateLimitText(t *testing.T) {
	t.Parallel()
	for want, l := range map[string]policy.RateLimit{
		"1000/1m": {Requests: 1000, Per: time.Minute},
		"1/24h":   {Requests: 1, Per: 24 * time.Hour},
		"5/1.5s":  {Requests: 5, Per: 1500 * time.Millisecond},
		"5/1m30s": {Requests: 5, Per: 90 * time.Second},
		"60/59m":  {Requests: 60, Per: 59 * time.Minute},
	} {
		if got := l.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	data, err := json.Marshal(policy.Edge{Caller: "a", Target: "b", RateLimit: &policy.RateLimit{Requests: 10, Per: time.Minute}})
	if diff := cmp.Diff(`{"caller":"a","target":"b","rate_limit":{"requests":10,"per":"1m"}}`, string(data)); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// aRate draws a rate, or none.
func aRate(t *rapid.T) *policy.RateLimit {
	if !rapid.Bool().Draw(t, "with a rate") {
		return nil
	}
	return &policy.RateLimit{
		Requests: rapid.SampledFrom([]int64{1, 60, 1000, policy.MaxRequests}).Draw(t, "requests"),
		Per:      rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 90 * time.Second, 24 * time.Hour}).Draw(t, "per"),
	}
}

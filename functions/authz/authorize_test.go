package authz

import (
	"strings"
	"testing"

	"github.com/isectech/service-networking/shared/auth"
)

func TestAuthorizeForm(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const one, kind = `{"caller":"frontend","target":"backend"}`, "application/json"
	for _, tc := range []struct {
		name, kind, body string
		status           int
		part             string
	}{
		{"an array", kind, ` [` + one + `]`, 200, ""},
		{"an object", kind, `{"questions":[` + one + `],"explain":true}`, 200, `"rules"`},
		{"scopes as text", kind, `[{"caller":"frontend","target":"api-gateway","scopes":"api:read api:none"}]`, 200, `"required":["api:read","api:none"]`},
		{"null scopes", kind, `[{"caller":"frontend","target":"api-gateway","scopes":null}]`, 200, ""},
		{"1000", kind, `[` + strings.Repeat(one+",", 999) + one + `]`, 200, ""},
		{"1001", kind, `[` + strings.Repeat(one+",", 1000) + one + `]`, 400, "1 to 1000"},
		{"none", kind, `[]`, 400, "1 to 1000"},
		{"null questions", kind, `{"questions":null}`, 400, "1 to 1000"},
		{"null", kind, `null`, 400, ""},
		{"null question", kind, `[null]`, 400, "questions[0]"},
		{"no name", kind, `[` + one + `,{"caller":"a b","target":"backend"}]`, 400, "questions[1]"},
		{"no environment", kind, `[{"caller":"frontend","target":"backend","environment":"moon"}]`, 400, "questions[0]"},
		{"after the array", kind, `[` + one + `],"explain":true`, 400, ""},
		{"another array", kind, `[` + one + `][` + one + `]`, 400, ""},
		{"twice", kind, `{"questions":[` + one + `],"questions":[` + one + `]}`, 400, "occurs twice"},
		{"another case", kind, `{"Questions":[` + one + `]}`, 400, "unknown member"},
		{"an unknown member", kind, `[{"caller":"frontend","target":"backend","admin":true}]`, 400, "unknown member"},
		{"a byte order mark", kind, "\ufeff[" + one + "]", 400, ""},
		{"scopes of another type", kind, `[{"caller":"frontend","target":"backend","scopes":[1]}]`, 400, ""},
		{"text", "text/plain", `[` + one + `]`, 415, ""},
		{"no type", "", `[` + one + `]`, 415, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := f.ask(t, f.operator(t), tc.kind, tc.body)
			if a.Code != tc.status || !strings.Contains(a.Body.String(), tc.part) {
				t.Errorf("%d %.300s, want %d with %s", a.Code, a.Body, tc.status, tc.part)
			}
		})
	}
}

// Whoever asks about itself asks from where it is.
func TestAuthorizeOneself(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	claims := f.Claims(gateway, auth.PlatformAudience, auth.APIRead)
	claims.Environment = auth.Development
	a := f.ask(t, f.Mint(t, claims), "application/json", `[{"caller":"api-gateway","target":"backend"}]`)
	a.want(t, 200, "", "")
	decisions, _ := a.body["decisions"].([]any)
	one, _ := decisions[0].(map[string]any)
	id, _ := one["decision_id"].(string)
	e, err := f.open(t.Context(), id)
	if err != nil || e.Environment != auth.Development {
		t.Errorf("judged in %s: %v", e.Environment, err)
	}
	f.ask(t, f.Mint(t, claims), "application/json",
		`[{"caller":"api-gateway","target":"backend"},{"caller":"frontend","target":"backend"}]`).
		want(t, 403, "insufficient_scope", auth.InsufficientScope)
}

package authz

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/isectech/service-networking/shared/auth"
)

// The longest words a caller can have judged still make an id that can be asked about.
func TestLongestDecision(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	long := func(n int) string { return strings.Repeat("<", n) }
	e := evidence{
		Caller: "operator:" + strings.Repeat("a", 240) + "@isectech.com", Environment: auth.Production,
		Target: strings.Repeat("a", 63), Audience: long(8192), Method: long(1 << 20), Path: "/" + long(8192),
		Held: auth.AllScopes, Required: auth.AllScopes, UnknownScopes: true, AuthMethod: auth.MethodAPIKey, Reason: auth.InsufficientScope,
	}
	id, err := f.seal(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.open(t.Context(), id)
	if err != nil || got.Caller != e.Caller || got.Reason != e.Reason || got.Required != e.Required {
		t.Errorf("an id of %d characters: %+v %v", len(id), got, err)
	}
	again, err := f.seal(t.Context(), e)
	if err != nil || again == id {
		t.Errorf("two decisions have one id: %v", err)
	}
	a := f.ask(t, f.operator(t), "application/json",
		`[{"caller":"frontend","target":"backend","method":"`+long(64)+`","path":"/`+long(4096)+`"}]`)
	decisions, _ := a.body["decisions"].([]any)
	one, _ := decisions[0].(map[string]any)
	asked, _ := one["decision_id"].(string)
	f.get(t, "/internal/auth/decisions/"+asked, f.operator(t)).want(t, 200, "", auth.UntrustedEdge)
}

func TestTamperedDecisions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id, err := f.seal(t.Context(), evidence{Caller: frontend, Reason: auth.Allowed})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		tampered := append([]byte(nil), raw...)
		tampered[i] ^= 1
		if _, err := f.open(t.Context(), base64.RawURLEncoding.EncodeToString(tampered)); !errors.Is(err, errDecisionID) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	for _, other := range []string{"", "x", id[:len(id)-1], id + "A", id + "=", id + "\n", strings.Repeat("A", 1<<16), id[:20]} {
		if _, err := f.open(t.Context(), other); !errors.Is(err, errDecisionID) {
			t.Errorf("%.40q: %v", other, err)
		}
	}
	f.get(t, "/internal/auth/decisions/"+id, f.Token(t, frontend, auth.PlatformAudience, auth.AllScopes)).
		want(t, 403, "insufficient_scope", auth.InsufficientScope)
	f.get(t, "/internal/auth/decisions/"+id+"A", f.operator(t)).want(t, 404, "not_found", "")
	f.get(t, "/internal/auth/decisions/%2e%2e%2fpolicy", f.operator(t)).want(t, 404, "not_found", "")
}

func FuzzOpen(f *testing.F) {
	fix := newFixture(f)
	id, err := fix.seal(f.Context(), evidence{Caller: frontend, Target: gateway, Path: "/a", Reason: auth.Allowed})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(id)
	f.Add(base64.RawURLEncoding.EncodeToString(append([]byte{decisionVersion, fieldKeyID, 1, 'x'}, make([]byte, decisionMACLength)...)))
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, other string) {
		if _, err := fix.open(t.Context(), other); other != id && !errors.Is(err, errDecisionID) {
			t.Errorf("%q: %v", other, err)
		}
	})
}

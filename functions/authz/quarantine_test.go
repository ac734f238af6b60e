package authz

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

const quarantinePath = "/internal/auth/quarantine"

func (f *fixture) quarantine(t *testing.T, body string) answer {
	t.Helper()
	return f.send(t, http.MethodPost, quarantinePath, f.operator(t), body)
}

// Both directions are closed, on every instance, and the way to new tokens with them; until it is lifted.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	other := f.other()
	caller, callee := f.Token(t, backend, gateway, auth.APIRead), f.Token(t, gateway, backend, auth.APIRead)
	bystander := f.Token(t, frontend, gateway, auth.APIRead)
	platform := f.Token(t, backend, auth.PlatformAudience, auth.ServiceDiscover)
	other.get(t, validate, caller).want(t, 200, "", auth.Allowed)

	a := f.quarantine(t, `{"service_name":"backend","reason":"strange traffic"}`)
	if a.Code != 200 || a.text("service_name") != backend || a.text("reason") != "strange traffic" || a.text("since") != "2026-01-04T12:00:00Z" ||
		a.text("actor") != "operator:"+platformtest.Operator || a.body["expires_at"] != nil {
		t.Fatalf("%d %s", a.Code, a.Body)
	}
	f.Clock.Advance(time.Second)
	for name, i := range map[string]*fixture{"here": f, "elsewhere": other} {
		for what, got := range map[string]answer{
			"calls":      i.get(t, validate, caller, "X-Target-Service", gateway),
			"is itself":  i.get(t, validate, caller),
			"is called":  i.get(t, validate, callee, "X-Target-Service", backend),
			"asks":       i.send(t, http.MethodPost, "/internal/auth/authorize", platform, `{"questions":[{"caller":"backend","target":"admin"}]}`),
			"introspect": i.introspect(t, platform, "token="+caller),
			"revoke":     i.revoke(t, platform, "token="+caller),
		} {
			if got.Code != 403 || got.text("error") != "quarantined" || got.text("reason") != "quarantined" {
				t.Errorf("%s, %s: %d %s", name, what, got.Code, got.Body)
			}
			if strings.Contains(got.Body.String(), "strange traffic") {
				t.Errorf("%s, %s: the operator's words are told: %s", name, what, got.Body)
			}
		}
		i.get(t, validate, bystander, "X-Target-Service", gateway).want(t, 200, "", auth.Allowed)
		i.get(t, validate, callee).want(t, 200, "", auth.Allowed)
		i.form(t, backend, "grant_type=client_credentials", nil).want(t, 400, "unauthorized_client", auth.Quarantined)
		i.form(t, gateway, "grant_type=client_credentials&audience=backend", nil).want(t, 400, "invalid_target", auth.Quarantined)
		i.form(t, gateway, "grant_type=client_credentials", nil).want(t, 200, "", "")
		if got := i.introspect(t, i.operator(t), "token="+caller); got.body["active"] != false {
			t.Errorf("%s: %s", name, got.Body)
		}
		asked := i.ask(t, i.operator(t), "application/json", `{"explain":true,"questions":[
			{"caller":"backend","target":"gateway-x"},{"caller":"backend","target":"admin"},{"caller":"gateway-x","target":"backend"},
			{"caller":"isectech-api-gateway","target":"backend"},{"caller":"isectech-api-gateway","target":"frontend"}]}`)
		want := []string{"quarantined", "quarantined", "unknown_service", "quarantined", "allowed"}
		decisions, _ := asked.body["decisions"].([]any)
		if len(decisions) != len(want) {
			t.Fatalf("%s", asked.Body)
		}
		for n, d := range decisions {
			if d, _ := d.(map[string]any); d["reason"] != want[n] {
				t.Errorf("%s, question %d: %v", name, n, d)
			}
		}
		// Why, can be told afterwards, with nothing but the id.
		refused := i.get(t, validate, callee, "X-Target-Service", backend)
		explained := i.get(t, "/internal/auth/decisions/"+refused.text("decision_id"), i.operator(t))
		if !strings.Contains(explained.Body.String(), backend+" was in quarantine") || explained.text("reason") != "quarantined" {
			t.Errorf("%s: %s", name, explained.Body)
		}
	}
	list := other.send(t, http.MethodGet, quarantinePath, f.operator(t), "")
	if !strings.Contains(list.Body.String(), `"service_name":"`+backend+`"`) {
		t.Errorf("list: %s", list.Body)
	}

	lift := func(name string) int {
		return f.send(t, http.MethodDelete, quarantinePath+"/"+name, f.operator(t), "").Code
	}
	if got := lift("backend"); got != 204 {
		t.Errorf("lift: %d", got)
	}
	f.get(t, validate, caller, "X-Target-Service", gateway).want(t, 200, "", auth.Allowed)
	f.Clock.Advance(time.Second)
	other.get(t, validate, callee, "X-Target-Service", backend).want(t, 200, "", auth.Allowed)
	if got := lift(backend); got != 204 {
		t.Errorf("lift again: %d", got)
	}
	if got := lift("nobody"); got != 404 {
		t.Errorf("lift nobody: %d", got)
	}
	entries, err := store.Entries(t.Context(), f.store, "quarantines/"+backend, 0, 10)
	if err != nil || len(entries) != 2 || entries[0].Actor != "operator:"+platformtest.Operator {
		t.Errorf("journal %+v, %v", entries, err)
	}
}

// A service that the policy knows no longer can still be let out, before its name comes back.
func TestLiftQuarantineOfAForgottenService(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.quarantine(t, `{"service_name":"isectech-monitoring","reason":"r"}`).want(t, 200, "", "r")
	f.edit(t, func(doc *policy.Document) {
		delete(doc.Services, "isectech-monitoring")
		doc.Edges = slices.DeleteFunc(doc.Edges, func(e policy.Edge) bool { return e.Caller == "isectech-monitoring" })
	})
	f.Clock.Advance(time.Second)
	for _, want := range []int{http.StatusNoContent, http.StatusNotFound} {
		if a := f.send(t, http.MethodDelete, quarantinePath+"/isectech-monitoring", f.operator(t), ""); a.Code != want {
			t.Errorf("%d %s, want %d", a.Code, a.Body, want)
		}
	}
}

func TestQuarantineEnds(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	at := f.Clock.Now().Add(2 * time.Minute).Format(time.RFC3339)
	for name, end := range map[string]string{
		"duration": `"expires":"2m"`, "time": `"expires":"` + at + `"`, "nanoseconds": `"duration":120000000000`,
		"expires_at": `"expires_at":"` + at + `"`, "another zone": `"expires":"` + f.Clock.Now().Add(2*time.Minute).In(time.FixedZone("", 3600)).Format(time.RFC3339) + `"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			a := f.quarantine(t, `{"service_name":"backend","reason":"r",`+end+`}`)
			if a.Code != 200 || a.text("expires_at") != at {
				t.Fatalf("%d %s", a.Code, a.Body)
			}
			caller := f.Token(t, backend, gateway, auth.APIRead)
			f.get(t, validate, caller).want(t, 403, "quarantined", auth.Quarantined)
			// It ends to the moment, with the store out of reach too.
			f.Clock.Advance(90 * time.Second)
			f.get(t, validate, caller).want(t, 403, "quarantined", auth.Quarantined)
			for _, call := range []string{storetest.CallGet, storetest.CallChanges, storetest.CallQuery} {
				f.store.Fail(call, -1, store.ErrUnavailable)
			}
			f.Clock.Advance(30*time.Second - time.Microsecond)
			f.get(t, validate, caller).want(t, 403, "quarantined", auth.Quarantined)
			f.Clock.Advance(time.Microsecond)
			f.get(t, validate, caller).want(t, 200, "", auth.Allowed)
		})
	}
}

func TestQuarantineAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.quarantine(t, `{"service_name":"backend","reason":"r"}`)
	f.Clock.Advance(time.Minute)
	if same := f.quarantine(t, `{"service_name":"isectech-backend-services","reason":"r"}`); same.Code != 200 || same.text("since") != first.text("since") {
		t.Errorf("%d %s", same.Code, same.Body)
	}
	longer := f.quarantine(t, `{"service_name":"backend","reason":"worse","expires":"1h"}`)
	if longer.Code != 200 || longer.text("since") != first.text("since") || longer.text("reason") != "worse" || longer.text("expires_at") != "2026-01-04T13:01:00Z" {
		t.Errorf("%d %s", longer.Code, longer.Body)
	}
	entries, err := store.Entries(t.Context(), f.store, "quarantines/"+backend, 0, 10)
	if err != nil || len(entries) != 2 {
		t.Errorf("%d journal entries, %v", len(entries), err)
	}
}

func TestQuarantineRefusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for body, want := range map[string]struct {
		status int
		field  string
	}{
		`{"reason":"r"}`:                                                           {400, "service_name"},
		`{"service_name":"backend"}`:                                               {400, "reason"},
		`{"service_name":"backend","reason":""}`:                                   {400, "reason"},
		`{"service_name":"nobody","reason":"r"}`:                                   {404, ""},
		`{"service_name":"isectech-services","reason":"r"}`:                        {404, ""},
		`{"service_name":"operator:` + platformtest.Operator + `","reason":"r"}`:   {404, ""},
		`{"service_name":"../backend","reason":"r"}`:                               {404, ""},
		`{"service_name":"backend","reason":"r","expires":"soon"}`:                 {400, "expires"},
		`{"service_name":"backend","reason":"r","expires":"-1s"}`:                  {400, "expires"},
		`{"service_name":"backend","reason":"r","expires":"0s"}`:                   {400, "expires"},
		`{"service_name":"backend","reason":"r","expires":1.5}`:                    {400, "expires"},
		`{"service_name":"backend","reason":"r","expires":-9223372036854775808}`:   {400, "expires"},
		`{"service_name":"backend","reason":"r","expires":9223372036854775807}`:    {400, "expires"},
		`{"service_name":"backend","reason":"r","expires":"2026-01-04T12:00:00Z"}`: {400, "expires"},
		`{"service_name":"backend","reason":"r","expires":"9999-01-04T12:00:00Z"}`: {400, "expires"},
		`{"service_name":"backend","reason":"r","expires":true}`:                   {400, "expires"},
		`{"service_name":"backend","reason":"r","expires":"1h","duration":"1h"}`:   {400, "duration"},
		`{"service_name":"backend","reason":"r","until":"1h"}`:                     {400, "until"},
		`{"service_name":"backend","reason":"` + strings.Repeat("r", 513) + `"}`:   {400, "reason"},
		`{"service_name":"backend","reason":"a\nb"}`:                               {400, "reason"},
		`{"service_name":"backend","reason":"r"}{}`:                                {400, ""},
	} {
		a := f.quarantine(t, body)
		if a.Code != want.status || want.field != "" && !strings.Contains(a.Body.String(), `"field":"`+want.field+`"`) {
			t.Errorf("%.80s: %d %s", body, a.Code, a.Body)
		}
	}
	good := `{"service_name":"backend","reason":"r"}`
	reader := f.Token(t, "operator:"+platformtest.Operator, auth.PlatformAudience, auth.AdminRead)
	service := f.Token(t, gateway, auth.PlatformAudience, auth.AllScopes)
	for _, bearer := range []string{reader, service} {
		f.send(t, http.MethodPost, quarantinePath, bearer, good).want(t, 403, "insufficient_scope", "insufficient_scope")
		f.send(t, http.MethodDelete, quarantinePath+"/backend", bearer, "").want(t, 403, "insufficient_scope", "insufficient_scope")
	}
	f.send(t, http.MethodGet, quarantinePath, service, "").want(t, 403, "insufficient_scope", "insufficient_scope")
	f.send(t, http.MethodGet, quarantinePath, reader, "").want(t, 200, "", "")
	f.send(t, http.MethodPost, quarantinePath, "", good).want(t, 401, "authentication_required", auth.NoCredentials)
	f.get(t, validate, f.Token(t, backend, gateway, auth.APIRead)).want(t, 200, "", auth.Allowed)

	// Operators stay in, whatever is in quarantine.
	for _, name := range []string{"isectech-authz", "isectech-register", gateway, frontend} {
		if a := f.quarantine(t, fmt.Sprintf(`{"service_name":%q,"reason":"r"}`, name)); a.Code != 200 && a.Code != 404 {
			t.Errorf("%s: %d %s", name, a.Code, a.Body)
		}
	}
	f.send(t, http.MethodDelete, quarantinePath+"/api-gateway", f.operator(t), "").want(t, 204, "", "")
}

package register

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type listing struct {
	Services []struct {
		ServiceID string `json:"service_id"`
	} `json:"services"`
	Next string `json:"next_page_token"`
}

func TestFilters(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for i, more := range []string{
		`"version":"1.2.0","region":"us-central1","tags":["blue","http"],"metadata":{"tier":"gold","a.b":"1"}`,
		`"version":"1.4.2","region":"us-central1","tags":["green","http"],"metadata":{"tier":"silver"}`,
		`"version":"2.0.0","tags":["blue"],"metadata":{"tier":"gold","":""}`,
		`"version":"2.0.0","tags":["blue"],"health_check":{"enabled":true},"endpoints":[{"name":"api","url":"https://api.isectech.com"}]`,
	} {
		w := f.call(t, "", http.MethodPost, "/internal/registry/register",
			fmt.Sprintf(`{"service_id":"backend-services-%d","service_name":"backend","environment":"production",%s}`, i, more))
		if i != 2 && w.Code != http.StatusCreated || i == 2 && w.Code != http.StatusBadRequest {
			t.Fatalf("%d: %d %s", i, w.Code, w.Body)
		}
	}
	for query, want := range map[string]string{
		"":                                    "013",
		"name=backend":                        "013",
		"name=admin":                          "",
		"environment=development":             "",
		"region=us-central1":                  "01",
		"version=1.4.2":                       "1",
		"version=>=1.2 <2":                    "01",
		"version=^1.4":                        "1",
		"version=~1.2.0":                      "0",
		"version=1.x || >=2":                  "013",
		"status=healthy":                      "01",
		"status=starting":                     "3",
		"tag=blue":                            "03",
		"tag=blue&tag=http":                   "0",
		"tag=blue&tag=green":                  "",
		"tag=":                                "013",
		"metadata.tier=gold":                  "0",
		"metadata.tier=gold&metadata.a.b=1":   "0",
		"metadata.tier=gold&metadata.a.b=2":   "",
		"metadata.tier=":                      "",
		"tag=http&version=<2&status=healthy":  "01",
		"name=backend&tag=http&version=1.2.0": "0",
	} {
		for _, at := range []string{services, services + "/backend"} {
			if at != services && strings.Contains(query, "name=") {
				continue
			}
			q, err := url.ParseQuery(strings.ReplaceAll(query, "+", "%2b"))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, s := range read[listing](t, f.call(t, "", http.MethodGet, at+"?"+q.Encode(), "")).Services {
				got += s.ServiceID[len(s.ServiceID)-1:]
			}
			if got != want {
				t.Errorf("%s?%s: %q, want %q", at, query, got, want)
			}
		}
	}
	var many strings.Builder
	for i := range 65 {
		fmt.Fprintf(&many, "metadata.k%d=v&", i)
	}
	for query, field := range map[string]string{
		"colour=red":                          "colour",
		"Tag=blue":                            "Tag",
		"metadata=x":                          "metadata",
		"region=a&region=b":                   "region",
		"metadata.k=a&metadata.k=b":           "metadata",
		"version=>=y":                         "version",
		"version=" + strings.Repeat(">", 129): "version",
		"status=fine":                         "status",
		"environment=moon":                    "environment",
		"limit=501":                           "limit",
		"limit=0":                             "limit",
		"page_token=x":                        "page_token",
		"fields=secret":                       "fields",
		strings.Repeat("tag=x&", 65):          "tag",
		many.String():                         "metadata",
	} {
		w := f.call(t, "", http.MethodGet, services+"?"+query, "")
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), fmt.Sprintf(`"field":%q`, field)) {
			t.Errorf("%.40s: %d %s, want a finding for %s", query, w.Code, w.Body, field)
		}
	}
}

// A registration with ?dry_run=true is judged like any other and leaves nothing behind.
func TestRehearsedRegistrations(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const path = "/internal/registry/register?dry_run=true"
	body := func(version string) string {
		return fmt.Sprintf(`{"service_id":"backend-services-1","service_name":"backend","environment":"production","version":%q}`, version)
	}
	type rehearsed struct {
		DryRun  bool   `json:"dry_run"`
		Outcome string `json:"outcome"`
		Service struct {
			ServiceName string `json:"service_name"`
			Version     string `json:"version"`
			Status      string `json:"status"`
			Generation  int64  `json:"generation"`
		} `json:"service"`
	}
	rehearse := func(version, outcome string, generation int64) {
		t.Helper()
		w := f.call(t, "", http.MethodPost, path, body(version))
		got := read[rehearsed](t, w)
		want := rehearsed{DryRun: true, Outcome: outcome}
		want.Service.ServiceName, want.Service.Version, want.Service.Status, want.Service.Generation = backend, version, "healthy", generation
		if diff := cmp.Diff(want, got); diff != "" || w.Code != http.StatusOK {
			t.Errorf("%d (-want +got):\n%s", w.Code, diff)
		}
	}
	rehearse("1", "created", 0)
	if f.generation(t, "backend-services-1") != 0 {
		t.Fatal("it is registered")
	}
	f.call(t, "", http.MethodPost, "/internal/registry/register", body("1"))
	lease := func() int64 {
		t.Helper()
		doc, err := f.Store.Get(t.Context(), leaseOf("backend-services-1"))
		if err != nil {
			t.Fatal(err)
		}
		return doc.Generation
	}
	before := lease()
	f.Clock.Advance(60e9)
	rehearse("1", "unchanged", 1)
	rehearse("2", "updated", 1)
	if got := lease(); got != before || f.generation(t, "backend-services-1") != 1 {
		t.Errorf("lease of generation %d, want %d; record of %d", got, before, f.generation(t, "backend-services-1"))
	}
	if got := read[listing](t, f.call(t, "", http.MethodGet, services+"?version=2", "")); len(got.Services) != 0 {
		t.Errorf("the snapshot has %+v", got.Services)
	}
	for body, code := range map[string]int{
		`{"service_id":"backend-services-1","service_name":"backend","environment":"production","weight":-1}`: http.StatusBadRequest,
		`{"service_id":"admin-1","service_name":"admin","environment":"production"}`:                          http.StatusForbidden,
		`{`: http.StatusBadRequest,
	} {
		if w := f.call(t, "", http.MethodPost, path, body); w.Code != code {
			t.Errorf("%s: %d, want %d", body, w.Code, code)
		}
	}
	for _, query := range []string{"?dry_run=perhaps", "?dry_run=true&dry_run=true", "?dryrun=true"} {
		if w := f.call(t, "", http.MethodPost, "/internal/registry/register"+query, body("3")); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", query, w.Code)
		}
	}
	if f.generation(t, "backend-services-1") != 1 {
		t.Error("a rehearsal was written")
	}
}

// Each instance that is left out has its reason, and what would have to change; a choice says what it was made from.
func TestExplained(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const api = `"endpoints":[{"name":"api","url":"https://api.isectech.com"}]`
	for id, more := range map[string]string{
		"ok":          api + `,"lease":"0s"`,
		"lapsed":      api + `,"lease":"10s"`,
		"starting":    api + `,"lease":"0s","health_check":{"enabled":true}`,
		"maintenance": api + `,"lease":"0s"`,
		"stopping":    api + `,"lease":"0s"`,
		"weightless":  api + `,"lease":"0s","weight":0`,
		"other":       `"lease":"0s"`,
	} {
		if w := f.call(t, "", http.MethodPost, "/internal/registry/register",
			fmt.Sprintf(`{"service_id":"backend-services-%s","service_name":"backend","environment":"production",%s}`, id, more)); w.Code != http.StatusCreated {
			t.Fatalf("%s: %d %s", id, w.Code, w.Body)
		}
	}
	for _, status := range []string{"maintenance", "stopping"} {
		if w := f.call(t, "", http.MethodPatch, services+"/backend-services-"+status, fmt.Sprintf(`{"status":%q}`, status)); w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	f.Clock.Advance(52e9)
	type answer struct {
		ServiceID   string `json:"service_id"`
		Explanation struct {
			Chosen     string `json:"chosen"`
			Why        string `json:"why"`
			Candidates []struct {
				ServiceID string `json:"service_id"`
			} `json:"candidates"`
			Excluded []struct {
				ServiceID string `json:"service_id"`
				Reason    string `json:"reason"`
				Detail    string `json:"detail"`
				Remedy    string `json:"remedy"`
			} `json:"excluded"`
		} `json:"explanation"`
	}
	got := read[answer](t, f.call(t, "", http.MethodGet, services+"/backend/endpoints/api?explain=true", ""))
	reasons := make(map[string]string)
	for _, x := range got.Explanation.Excluded {
		reasons[strings.TrimPrefix(x.ServiceID, "backend-services-")] = x.Reason
		if x.Detail == "" || x.Remedy == "" {
			t.Errorf("%+v says too little", x)
		}
		if x.Reason == "lapsed" && x.Detail != "its lease of 10s ended 42s ago, at 2026-01-04T12:00:10Z" {
			t.Errorf("lapsed: %s", x.Detail)
		}
	}
	want := map[string]string{
		"lapsed": "lapsed", "starting": "starting", "maintenance": "maintenance", "stopping": "stopping", "weightless": "weight_zero",
		"other": "no_such_endpoint",
	}
	if diff := cmp.Diff(want, reasons); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
	x := got.Explanation
	if got.ServiceID != "backend-services-ok" || x.Chosen != got.ServiceID || x.Why == "" || len(x.Candidates) != 1 {
		t.Errorf("got %+v", got)
	}
}

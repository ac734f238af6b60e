package clouddns_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/functions/register/clouddns"
	"github.com/isectech/service-networking/functions/register/clouddns/clouddnstest"
	"github.com/isectech/service-networking/shared/registry/zone"
)

func set(name, kind string, data ...string) zone.Set {
	return zone.Set{Key: zone.Key{Name: name + "." + zone.Domain, Type: kind}, TTL: 30, Data: data}
}

func open(t *testing.T) (*clouddnstest.Server, *clouddns.Zone) {
	t.Helper()
	server := clouddnstest.New()
	t.Cleanup(server.Close)
	return server, clouddns.New(clouddnstest.Project, clouddnstest.Zone, clouddns.At(server.Address)...)
}

func TestReading(t *testing.T) {
	t.Parallel()
	server, z := open(t)
	own := []zone.Set{
		set("_api._tcp.backend", "SRV", "0 1 80 x."), set("backend", "A", "10.0.0.1"), set("backend", "AAAA", "fd12::1"),
		set("ip-10-0-0-1.backend", "A", "10.0.0.1"),
	}
	for _, s := range append(own, set("x-backend", "A", "10.0.0.2"), set("a.x-backend", "A", "10.0.0.2"), set("other", "A", "10.0.0.3")) {
		server.Put(s)
	}
	under, err := z.Under(t.Context(), "backend")
	if diff := cmp.Diff(own, under); diff != "" || err != nil {
		t.Errorf("Under: %v\n%s", err, diff)
	}
	if all, err := z.All(t.Context()); err != nil || len(all) != 8 { // the SOA record too
		t.Errorf("All: %v %v", all, err)
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	one, two := set("backend", "A", "10.0.0.1"), set("backend", "A", "10.0.0.2")
	tests := map[string]struct {
		before []zone.Set
		change zone.Change
		want   error
	}{
		"an addition":                  {change: zone.Change{Additions: []zone.Set{one}}},
		"a replacement":                {before: []zone.Set{one}, change: zone.Change{Deletions: []zone.Set{one}, Additions: []zone.Set{two}}},
		"an addition of what is there": {before: []zone.Set{one}, change: zone.Change{Additions: []zone.Set{two}}, want: clouddns.ErrConflict},
		"a deletion of what is not":    {change: zone.Change{Deletions: []zone.Set{one}}, want: clouddns.ErrConflict},
		"a deletion of something else": {before: []zone.Set{two}, change: zone.Change{Deletions: []zone.Set{one}, Additions: []zone.Set{two}}, want: clouddns.ErrConflict},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, z := open(t)
			for _, s := range tt.before {
				server.Put(s)
			}
			if err := z.Apply(t.Context(), tt.change); !errors.Is(err, tt.want) {
				t.Fatalf("Apply: %v, want %v", err, tt.want)
			}
			want := tt.before
			if tt.want == nil {
				want = tt.change.Additions
			}
			if diff := cmp.Diff(want, server.Sets()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]error{
		429: clouddns.ErrUnavailable, 500: clouddns.ErrUnavailable, 503: clouddns.ErrUnavailable, 400: nil, 403: nil, 404: nil,
	} {
		server, z := open(t)
		server.Fail(status)
		_, err := z.All(t.Context())
		if err == nil || want != nil && !errors.Is(err, want) ||
			want == nil && (errors.Is(err, clouddns.ErrUnavailable) || errors.Is(err, clouddns.ErrConflict)) {
			t.Errorf("reading, %d: %v, want %v", status, err, want)
		}
	}
	quota := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"error":{"code":403,"errors":[{"reason":"rateLimitExceeded"}]}}`))
	}))
	t.Cleanup(quota.Close)
	at := func(url string) *clouddns.Zone {
		return clouddns.New(clouddnstest.Project, clouddnstest.Zone, clouddns.At(strings.TrimPrefix(url, "http://"))...)
	}
	if err := at(quota.URL).Apply(t.Context(), zone.Change{Additions: []zone.Set{set("backend", "A", "10.0.0.1")}}); !errors.Is(err, clouddns.ErrUnavailable) {
		t.Errorf("a quota used up: %v", err)
	}
	if _, err := at("127.0.0.1:1").All(t.Context()); !errors.Is(err, clouddns.ErrUnavailable) {
		t.Errorf("nobody there: %v", err)
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"rrsets":[{"name":"example.com.","type":"SOA","ttl":1,"rrdatas":["x"]}]}`))
	}))
	t.Cleanup(elsewhere.Close)
	if _, err := at(elsewhere.URL).All(t.Context()); !errors.Is(err, clouddns.ErrWrongZone) {
		t.Errorf("another domain's zone: %v", err)
	}
}

package registry_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
)

// TestAppendJSON holds the encoding by hand to that of the type, whatever an instance contains.
func TestAppendJSON(t *testing.T) {
	t.Parallel()
	// What is added to a type is to be added there and here.
	fields := func(of reflect.Type) int { return of.NumField() }
	if n := fields(reflect.TypeFor[registry.Instance]()) + fields(reflect.TypeFor[registry.Registration]()) +
		fields(reflect.TypeFor[registry.Endpoint]()) + fields(reflect.TypeFor[registry.HealthCheck]()) + fields(reflect.TypeFor[registry.Choice]()); n != 9+11+7+6+5 {
		t.Fatalf("the types have %d fields", n)
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z0-9 ./"\\<>&-]{0,12}`), rapid.Just("\u2028\xff\x00é"), rapid.Just(""))
		lists := rapid.SliceOfN(text, 0, 4)
		number := rapid.OneOf(rapid.Just(0), rapid.IntRange(-5, 70_000))
		span := rapid.Map(rapid.OneOf(rapid.Int64Range(0, 1e12), rapid.Map(rapid.Int64Range(0, 1e5), func(s int64) int64 { return s * 1e9 })),
			func(n int64) registry.Duration { return registry.Duration(n) })
		moment := rapid.Map(rapid.Int64Range(0, 4e15), func(us int64) time.Time { return time.UnixMicro(us).UTC() })
		i := registry.Instance{
			Registration: registry.Registration{
				ServiceID: text.Draw(t, "id"), ServiceName: text.Draw(t, "name"), Version: text.Draw(t, "version"),
				Environment: auth.Environment(text.Draw(t, "environment")), Region: text.Draw(t, "region"),
				HealthCheck: registry.HealthCheck{
					Enabled: rapid.Bool().Draw(t, "enabled"), Path: text.Draw(t, "path"), Interval: span.Draw(t, "interval"),
					Timeout: span.Draw(t, "timeout"), HealthyThreshold: number.Draw(t, "healthy"), UnhealthyThreshold: number.Draw(t, "unhealthy"),
				},
				Metadata: rapid.MapOfN(rapid.String(), text, 0, 12).Draw(t, "metadata"), Tags: lists.Draw(t, "tags"),
				Weight: number.Draw(t, "weight"), Lease: span.Draw(t, "lease"),
			},
			Status: registry.Status(text.Draw(t, "status")), StatusSince: moment.Draw(t, "since"), StatusReason: text.Draw(t, "reason"),
			Generation: rapid.Int64().Draw(t, "generation"), RegisteredAt: moment.Draw(t, "registered"), UpdatedAt: moment.Draw(t, "updated"),
			Lapsed: rapid.Bool().Draw(t, "lapsed"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "endpoints") {
			i.Endpoints = append(i.Endpoints, registry.Endpoint{
				Name: text.Draw(t, "endpoint"), URL: text.Draw(t, "url"), Protocol: text.Draw(t, "protocol"), Port: number.Draw(t, "port"),
				Path: text.Draw(t, "of endpoint"), Methods: lists.Draw(t, "methods"), IsPublic: rapid.Bool().Draw(t, "public"),
			})
		}
		if rapid.Bool().Draw(t, "leased") {
			end := moment.Draw(t, "end")
			i.LeaseExpiresAt = &end
		}
		want, err := json.Marshal(i, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(i.AppendJSON(nil))); diff != "" {
			t.Fatal(diff)
		}
		c := registry.Choice{ServiceID: i.ServiceID, URL: i.ServiceName, Protocol: i.Version, Port: i.Weight, Path: i.Region}
		if want, err = json.Marshal(c, jsontext.AllowInvalidUTF8(true)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(c.AppendJSON(nil))); diff != "" {
			t.Fatal(diff)
		}
	})
}

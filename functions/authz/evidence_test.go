package authz

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
)

// Whatever evidence holds is there again, each field by itself and all together.
func TestEvidence(t *testing.T) {
	t.Parallel()
	full := evidence{
		ID: 1 << 63, At: 1767528000000, KeyID: "abcdefghijkl", PolicyVersion: 1 << 40, Caller: frontend,
		Environment: auth.Production, Target: gateway, Audience: backend, Method: "GET", Path: "/a%2Fb?c=\x00",
		Held: auth.AllScopes, Required: auth.APIRead, UnknownScopes: true, Isolated: gateway,
		AuthMethod: auth.MethodJWT, Reason: auth.Quarantined,
	}
	cases := []evidence{{}, full}
	fields := reflect.TypeFor[evidence]()
	for i := range fields.NumField() {
		var one evidence
		reflect.ValueOf(&one).Elem().Field(i).Set(reflect.ValueOf(full).Field(i))
		if cmp.Equal(one, evidence{}) {
			t.Errorf("%s is not among what is tested", fields.Field(i).Name)
		}
		cases = append(cases, one)
	}
	same := full
	same.Audience = same.Target
	for _, want := range append(cases, same) {
		raw := want.append(nil)
		var got evidence
		if !got.read(raw) {
			t.Errorf("%+v cannot be read", want)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		for n := range raw { // cut short, it is other evidence or none, and never a panic
			new(evidence).read(raw[:n])
		}
	}
	for _, bad := range []string{"z\x01", "c\x05abc", "c", "i", "i\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "c\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		if new(evidence).read([]byte(bad)) {
			t.Errorf("%q was read", bad)
		}
	}
}

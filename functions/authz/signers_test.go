package authz

import (
	"slices"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/signingkeys"
	"github.com/isectech/service-networking/shared/platform/trust"
)

// begin makes the next key, and returns its record.
func (f *fixture) begin(t *testing.T) signingkeys.Record {
	t.Helper()
	report, err := f.rotation.Rotate(t.Context(), signingkeys.Request{Begin: true, Actor: "test", Cause: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return report.Keys[slices.IndexFunc(report.Keys, func(r signingkeys.Record) bool { return r.State == trust.KeyNext })]
}

// promote lets the next key sign, whose secret nobody can read any more.
func (f *fixture) promote(t *testing.T, next signingkeys.Record) {
	t.Helper()
	versions, err := f.Secrets.Versions(t.Context(), trust.SigningKeySecret)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range versions {
		if v.Number == next.SecretVersion {
			if err := f.Secrets.Destroy(t.Context(), trust.SigningKeySecret, v.Number, v.Etag); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.Clock.Advance(signingkeys.DefaultPolicy().PublishBefore + time.Second)
	if _, err := f.rotation.Rotate(t.Context(), signingkeys.Request{Actor: "test", Cause: "test"}); err != nil {
		t.Fatal(err)
	}
	f.Clock.Advance(time.Second)
}

// A key that cannot be fetched when it begins to sign keeps nobody from being judged.
func TestKeyThatCannotBeFetched(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	validate := func() answer {
		return f.get(t, "/internal/auth/validate", f.Token(t, gateway, backend, auth.APIRead), "X-Target-Service", backend)
	}
	validate().want(t, 200, "", auth.Allowed)
	f.promote(t, f.begin(t))
	a := validate()
	a.want(t, 200, "", auth.Allowed)
	f.get(t, "/internal/auth/decisions/"+a.text("decision_id"), f.operator(t)).want(t, 200, "", auth.Allowed)
	if a := f.form(t, gateway, "grant_type=client_credentials", nil); a.Code < 500 || a.text("access_token") != "" {
		t.Errorf("a token without a key: %d %s", a.Code, a.Body)
	}
}

// The next key is fetched while it waits, by the way.
func TestKeysAreFetchedAhead(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	next := f.begin(t)
	deadline := time.Now().Add(30 * time.Second)
	for f.signers.loaded(next.ID) == nil && time.Now().Before(deadline) {
		f.Clock.Advance(time.Second) // so that the store is looked at again
		f.get(t, "/internal/auth/validate", f.Token(t, gateway, backend, auth.APIRead)).want(t, 200, "", auth.Allowed)
	}
	f.promote(t, next)
	a := f.form(t, gateway, "grant_type=client_credentials", nil)
	if a.Code != 200 {
		t.Fatalf("%d %s", a.Code, a.Body)
	}
	if _, kid := headerOf(t, a.text("access_token")); kid != next.ID {
		t.Errorf("signed by %s", kid)
	}
}

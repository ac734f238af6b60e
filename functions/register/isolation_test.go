package register

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

const anEndpoint = "/internal/registry/services/backend/endpoints/api"

// Discovery outlives the store by the last quarantines and revocations that were known, and hides no one beyond
// the end of a quarantine; writing ends after a minute.
func TestIsolationWithoutTheStore(t *testing.T) {
	t.Parallel()
	f := newOverFaulty(t)
	if w := f.call(t, http.MethodPost, "/internal/registry/register", aRegistration); w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	revoked := f.Claims(backend, auth.PlatformAudience, auth.ServiceDiscover)
	revoked.ExpiresAt = revoked.IssuedAt.Add(15 * time.Minute)
	lost := "Bearer " + f.Mint(t, revoked)
	service, jti := auth.MustSubject("isectech-frontend"), trust.Revocation{Kind: trust.RevokedToken, Value: revoked.ID}
	end := f.Clock.Now().Add(10 * time.Minute)
	_, err := f.Store.Commit(t.Context(), store.Batch{Actor: "test", Cause: "test", Writes: []store.Write{
		{Ref: trust.RevocationRef(jti), Data: jti, ExpiresAt: end},
		{Ref: trust.QuarantineRef(service), Data: trust.Quarantine{Reason: "r", Actor: "test", Since: f.Clock.Now()}, ExpiresAt: end},
	}})
	if err != nil {
		t.Fatal(err)
	}
	f.Clock.Advance(time.Second)
	frontend := func() (int, string) {
		token := "Bearer " + f.Token(t, service.String(), auth.PlatformAudience, auth.ServiceDiscover)
		w := f.call(t, http.MethodGet, anEndpoint, "", "Authorization", token)
		return w.Code, w.Body.String()
	}
	check := func(when string, inQuarantine bool) {
		t.Helper()
		if w := f.call(t, http.MethodGet, anEndpoint, ""); w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", when, w.Code, w.Body)
		}
		if w := f.call(t, http.MethodGet, anEndpoint, "", "Authorization", lost); w.Code != http.StatusUnauthorized {
			t.Errorf("%s, revoked: %d %s", when, w.Code, w.Body)
		}
		if code, body := frontend(); (code == http.StatusForbidden && strings.Contains(body, "quarantined")) != inQuarantine {
			t.Errorf("%s, in quarantine: %d %s", when, code, body)
		}
	}
	check("at first", true)
	for _, call := range []string{storetest.CallGet, storetest.CallGetAll, storetest.CallQuery, storetest.CallChanges, storetest.CallCommit} {
		f.store.Fail(call, -1, store.ErrUnavailable)
	}
	f.Clock.Advance(59 * time.Second)
	check("after 59 seconds", true)
	f.Clock.Advance(time.Second)
	check("after a minute", true)
	w := f.call(t, http.MethodPut, "/internal/registry/services/backend-services-1/heartbeat", "")
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "policy_unavailable") {
		t.Errorf("writing after a minute: %d %s", w.Code, w.Body)
	}
	f.Clock.Advance(9*time.Minute - time.Second)
	check("after the quarantine's end", false)
}

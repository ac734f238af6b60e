package authz

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/signingkeys"
)

// shown is a token that was issued, as those who judge it later have to.
type shown struct {
	raw, kid string
	expires  time.Time
}

// While keys turn twice and one is revoked, no instance refuses a token that lives, and none accepts one of the
// revoked key five seconds later.
func TestRotationOverInstances(t *testing.T) {
	t.Parallel()
	first := newFixture(t)
	instances := []*fixture{first}
	for range 2 {
		other := *first
		other.Service = New(first.cfg, first.deps)
		other.handler = other.Handler()
		instances = append(instances, &other)
	}
	const step, bound = 12 * time.Second, 5 * time.Second
	random := rand.New(rand.NewPCG(1, 2)) // the same choices in every run
	var tokens []shown
	revoked, revokedAt := "", time.Time{}
	accepted, refused, kids := 0, 0, map[string]bool{}
	policy := signingkeys.DefaultPolicy()
	turns := int((3*policy.PublishBefore + time.Minute) / step)
	for turn := range turns {
		f := instances[turn%len(instances)]
		a := f.form(t, gateway, "grant_type=client_credentials&audience="+backend, nil)
		if a.Code != 200 {
			t.Fatalf("after %v no token: %s", time.Duration(turn)*step, a.Body)
		}
		raw := a.text("access_token")
		_, kid := headerOf(t, raw)
		kids[kid] = true
		tokens = append(tokens, shown{raw, kid, f.Clock.Now().Add(f.cfg.TokenLifetime.Duration())})

		now := f.Clock.Now()
		for range 4 {
			s, by := tokens[random.IntN(len(tokens))], instances[random.IntN(len(instances))]
			if !now.Before(s.expires) {
				continue
			}
			got := auth.Reason(by.get(t, "/internal/auth/validate", s.raw, "X-Target-Service", backend).text("reason"))
			switch {
			case s.kid != revoked && got != auth.Allowed:
				t.Fatalf("after %v: a token that lives is refused: %s", time.Duration(turn)*step, got)
			case s.kid == revoked && now.Sub(revokedAt) >= bound && got != auth.Revoked:
				t.Fatalf("%v after its key was revoked: %s", now.Sub(revokedAt), got)
			case s.kid == revoked:
				refused++
			default:
				accepted++
			}
		}
		// Now and then an operator asks, of whichever instance.
		if turn%10 == 0 {
			f.rotate(t, f.exchanged(t), "", "").want(t, 200, "", "")
		}
		if turn == turns-40 {
			revoked, revokedAt = kid, now
			if err := f.rotation.Revoke(t.Context(), kid, "test", "test"); err != nil {
				t.Fatal(err)
			}
		}
		if revoked == "" {
			f.Clock.Advance(step)
		} else {
			f.Clock.Advance(bound)
		}
	}
	if len(kids) < 4 || accepted < 2*turns || refused == 0 { // the first, two that followed, and one for the revoked
		t.Errorf("%d keys signed, %d tokens were accepted and %d refused", len(kids), accepted, refused)
	}
}

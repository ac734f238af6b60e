package trust_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/signingkeys"
	"github.com/isectech/service-networking/shared/platform/trust"
)

// An instance takes a token of a key that it has not seen yet, and strangers' kids cost it one look a second.
func TestUnknownKey(t *testing.T) {
	t.Parallel()
	p, faulty, s := source(t)
	st, err := s.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	leaked, _ := st.CurrentKey()
	p.Clock.Advance(time.Millisecond) // far from the end of what counts as fresh
	keys := signingkeys.Keys{Store: p.Store, Secrets: p.Secrets, Now: p.Clock.Now}
	if err := keys.Revoke(t.Context(), leaked.ID, "test", "leaked"); err != nil {
		t.Fatal(err)
	}
	after, err := trust.NewSource(p.Store, p.Clock.Now).State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	current, _ := after.CurrentKey()
	if _, err := s.Key(t.Context(), current.ID); err != nil {
		t.Errorf("the key that another instance signs with: %v", err)
	}
	reads := faulty.Calls("Get")
	const seconds = 10
	for i := range 100 * seconds {
		if _, err := s.Key(t.Context(), fmt.Sprint("stranger", i)); !errors.Is(err, token.ErrUnknownKey) {
			t.Fatal(err)
		}
		p.Clock.Advance(10 * time.Millisecond)
	}
	if got := faulty.Calls("Get") - reads; got > 2*seconds+2 { // each second one that is due and one for them
		t.Errorf("%d reads in %d seconds", got, seconds)
	}
}

package trust_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

var gateway = auth.MustSubject("isectech-api-gateway")

// setVersions says which keys of the gateway are valid; none removes the record.
func setVersions(t *testing.T, p *platformtest.Platform, versions ...int64) {
	t.Helper()
	w := store.Write{Ref: trust.APIKeysRef(gateway)}
	if len(versions) > 0 {
		w.Data = trust.APIKeys{Versions: versions}
	}
	_, err := p.Store.Commit(t.Context(), store.Batch{Writes: []store.Write{w}, Actor: "test", Cause: "test"})
	if err != nil {
		t.Fatal(err)
	}
	p.Clock.Advance(time.Second)
}

// wantKeys checks which key ids are good.
func wantKeys(t *testing.T, ring *trust.KeyRing, good string, bad ...string) {
	t.Helper()
	if good != "" {
		if _, err := ring.Key(t.Context(), gateway, good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, id := range bad {
		if _, err := ring.Key(t.Context(), gateway, id); !errors.Is(err, signature.ErrUnknownKey) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestKeyRotation(t *testing.T) {
	t.Parallel()
	p := platformtest.New(t)
	ring := trust.NewKeyRing(p.Store, p.Secrets, p.Clock.Now)
	wantKeys(t, ring, "k1", "k2")

	second := signature.NewKey()
	version, err := p.Secrets.AddVersion(t.Context(), trust.APIKeySecret(gateway), []byte(second.Encode()))
	if err != nil || version != 2 {
		t.Fatalf("version %d: %v", version, err)
	}
	wantKeys(t, ring, "k1", "k2") // a version that no record lists is no key
	setVersions(t, p, 1, 2)
	wantKeys(t, ring, "k1")
	if key, err := ring.Key(t.Context(), gateway, "k2"); err != nil || key.Encode() != second.Encode() {
		t.Errorf("k2: %v", err)
	}
	setVersions(t, p, 2)
	wantKeys(t, ring, "k2", "k1")
	setVersions(t, p)
	wantKeys(t, ring, "", "k1", "k2")
}

func TestWithdrawnKeysStayWithdrawn(t *testing.T) {
	t.Parallel()
	p := platformtest.New(t)
	faulty := storetest.NewFaulty(p.Store)
	ring := trust.NewKeyRing(faulty, p.Secrets, p.Clock.Now)
	wantKeys(t, ring, "k1")
	setVersions(t, p)
	wantKeys(t, ring, "", "k1")
	faulty.Fail(storetest.CallGet, -1, store.ErrUnavailable)
	if _, err := ring.Key(t.Context(), gateway, "k1"); err == nil {
		t.Error("a withdrawn key came back while the store was out of reach")
	}
}

func TestKeysWithoutTheStore(t *testing.T) {
	t.Parallel()
	p := platformtest.New(t)
	faulty := storetest.NewFaulty(p.Store)
	ring := trust.NewKeyRing(faulty, p.Secrets, p.Clock.Now)
	wantKeys(t, ring, "k1")
	faulty.Fail(storetest.CallGet, -1, store.ErrUnavailable)
	p.Clock.Advance(59 * time.Second)
	wantKeys(t, ring, "k1")
	p.Clock.Advance(time.Second)
	_, err := ring.Key(t.Context(), gateway, "k1")
	if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, signature.ErrUnknownKey) {
		t.Errorf("after a minute: %v", err)
	}
	faulty.Fail(storetest.CallGet, 0, nil)
	wantKeys(t, ring, "k1")
}

// An old look that ends after a newer one does not bring back what the newer one saw withdrawn.
func TestOvertakenLook(t *testing.T) {
	t.Parallel()
	p := platformtest.New(t)
	held := &holding{Store: p.Store, reading: make(chan struct{}), release: make(chan struct{})}
	ring := trust.NewKeyRing(held, p.Secrets, p.Clock.Now)
	done := make(chan error)
	go func() {
		_, err := ring.Key(t.Context(), gateway, "k1")
		done <- err
	}()
	<-held.reading // it has read the record, and is told nothing yet
	setVersions(t, p, 7)
	wantKeys(t, ring, "", "k1")
	close(held.release)
	if err := <-done; !errors.Is(err, signature.ErrUnknownKey) {
		t.Errorf("the old look: %v", err)
	}
	wantKeys(t, ring, "", "k1")
}

// holding is a store whose first read is answered late, with what it found when it was asked.
type holding struct {
	store.Store
	asked            atomic.Bool
	reading, release chan struct{}
}

func (h *holding) Get(ctx context.Context, ref store.Ref) (store.Document, error) {
	doc, err := h.Store.Get(ctx, ref)
	if h.asked.CompareAndSwap(false, true) {
		close(h.reading)
		<-h.release
	}
	return doc, err
}

func TestUnreadableKeys(t *testing.T) {
	t.Parallel()
	p := platformtest.New(t)
	ring := trust.NewKeyRing(p.Store, p.Secrets, p.Clock.Now)
	version, err := p.Secrets.AddVersion(t.Context(), trust.APIKeySecret(gateway), []byte("not a key"))
	if err != nil {
		t.Fatal(err)
	}
	setVersions(t, p, version, 9)
	for _, id := range []string{trust.KeyID(version), "k9"} { // of no form, and not there
		if _, err := ring.Key(t.Context(), gateway, id); err == nil || errors.Is(err, signature.ErrUnknownKey) {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestKeyVersion(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		id   string
		want int64
	}{
		{"k1", 1}, {"k42", 42}, {"k4611686018427387904", 1 << 62}, {"k9223372036854775808", 0},
		{"k0", 0}, {"k-1", 0}, {"k01", 0}, {"k+1", 0}, {"1", 0}, {"", 0}, {"k", 0}, {"K1", 0}, {"kk1", 0}, {"k1 ", 0},
	} {
		got, err := trust.KeyVersion(tc.id)
		if got != tc.want || (err == nil) != (tc.want > 0) {
			t.Errorf("%q: %d %v", tc.id, got, err)
		}
	}
}

package signingkeys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/secrets"
	"github.com/isectech/service-networking/shared/platform/signingkeys"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// The times that the promise is about, said again from outside.
const (
	cached  = 300 * time.Second // how old a copy of the key set may be
	unheard = 300 * time.Second // how long an instance may know the keys as they were
	skew    = 30 * time.Second
)

// vault keeps versions in memory, and fails or loses an answer when told to.
type vault struct {
	mu       sync.Mutex
	now      func() time.Time
	versions []secrets.Version
	payloads [][]byte
	fail     bool
	lose     bool
}

func (v *vault) Create(context.Context, string, map[string]string) error { return secrets.ErrExists }

func (v *vault) AddVersion(_ context.Context, _ string, payload []byte) (int64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fail {
		return 0, secrets.ErrUnavailable
	}
	n := int64(len(v.versions) + 1)
	v.versions = append(v.versions, secrets.Version{Number: n, State: secrets.Enabled, CreateTime: v.now(), Etag: fmt.Sprint(n)})
	v.payloads = append(v.payloads, payload)
	if v.lose {
		return 0, secrets.ErrUnavailable
	}
	return n, nil
}

func (v *vault) Versions(context.Context, string) ([]secrets.Version, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.versions), nil
}

func (v *vault) Destroy(_ context.Context, _ string, version int64, etag string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.versions[version-1].Etag != etag {
		return secrets.ErrConflict
	}
	v.versions[version-1].State = secrets.Destroyed
	return nil
}

// memory is as much of a store as the keys need, fast enough for thousands of rotations.
type memory struct {
	store.Store

	mu   sync.Mutex
	now  func() time.Time
	docs map[store.Ref]store.Document
	once map[string]bool
}

func (m *memory) Query(context.Context, store.Query) (store.Page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var page store.Page
	for _, doc := range m.docs {
		page.Documents = append(page.Documents, doc)
	}
	slices.SortFunc(page.Documents, func(a, b store.Document) int { return strings.Compare(a.Ref.ID, b.Ref.ID) })
	return page, nil
}

func (m *memory) Commit(_ context.Context, b store.Batch) ([]store.Document, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.once[b.Once] {
		return nil, store.ErrDuplicate
	}
	for _, w := range b.Writes {
		if !w.If.Holds(m.docs[w.Ref], m.now()) {
			return nil, store.ErrConflict
		}
	}
	m.once[b.Once] = b.Once != ""
	for _, w := range b.Writes {
		if w.Data == nil {
			delete(m.docs, w.Ref)
			continue
		}
		data, err := json.Marshal(w.Data)
		if err != nil {
			return nil, err
		}
		m.docs[w.Ref] = store.Document{Ref: w.Ref, Generation: m.docs[w.Ref].Generation + 1, UpdatedAt: m.now(), Data: data}
	}
	return nil, nil
}

// view is what the store said of the keys from a time on.
type view struct {
	from     time.Time
	verifies []string // the key set
	current  string
	revoked  []string
}

// minted is a token, as far as its verification depends on keys.
type minted struct {
	kid     string
	at      time.Time
	expires time.Time
}

// rotation is a platform whose keys turn, with everything that anyone may have seen of them.
type rotation struct {
	clock  *platformtest.Clock
	memory *memory
	store  *storetest.Faulty
	vault  *vault
	keys   *signingkeys.Keys
	views  []view
	tokens []minted
	hurry  map[string]int // keys that a revocation made sign before they were known, and since which view
}

func newRotation(fatal func(...any)) *rotation {
	clock := platformtest.NewClock(time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC))
	policy := signingkeys.DefaultPolicy()
	policy.PublishBefore, policy.RetireAfter = cached+unheard, unheard+token.MaxLifetime+2*skew
	policy.RotateEvery = policy.PublishBefore + policy.RetireAfter
	policy.ForgetAfter = 24 * time.Hour
	if err := policy.Validate(); err != nil {
		fatal(err)
	}
	memory := &memory{now: clock.Now, docs: map[store.Ref]store.Document{}, once: map[string]bool{}}
	r := &rotation{
		clock: clock, memory: memory, store: storetest.NewFaulty(memory), vault: &vault{now: clock.Now}, hurry: map[string]int{},
	}
	r.keys = &signingkeys.Keys{Store: r.store, Secrets: r.vault, Now: clock.Now, Policy: policy}
	payload, record, err := signingkeys.Generate(token.ES256)
	if err != nil {
		fatal(err)
	}
	record.State = trust.KeyCurrent
	record.SecretVersion, _ = r.vault.AddVersion(context.Background(), "", payload)
	if _, err := memory.Commit(context.Background(), store.Batch{
		Writes: []store.Write{{Ref: trust.SigningKeyRef(record.ID), Data: record}}, Actor: "test", Cause: "test",
	}); err != nil {
		fatal(err)
	}
	// Whoever verifies has known the first key for long.
	r.views = []view{{from: clock.Now().Add(-24 * time.Hour), verifies: []string{record.ID}, current: record.ID}}
	return r
}

// look notes what the store says now, and holds it to what must be true at any moment.
func (r *rotation) look(t *rapid.T) {
	records, err := (&signingkeys.Keys{Store: r.memory}).List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	now := view{from: r.clock.Now()}
	last := r.views[len(r.views)-1]
	waiting := 0
	payloads, _ := r.vault.Versions(context.Background(), "")
	for _, k := range records {
		switch k.State {
		case trust.KeyCurrent:
			if now.current != "" {
				t.Fatal("two keys sign")
			}
			now.current = k.ID
			now.verifies = append(now.verifies, k.ID)
		case trust.KeyNext:
			waiting++
			fallthrough
		case trust.KeyPrevious:
			now.verifies = append(now.verifies, k.ID)
		case trust.KeyRevoked:
			now.revoked = append(now.revoked, k.ID)
		}
		if payloads[k.SecretVersion-1].State == secrets.Destroyed {
			t.Fatalf("the private key of a %s key is destroyed", k.State)
		}
	}
	if now.current == "" || waiting > 1 {
		t.Fatalf("%q signs, %d wait to", now.current, waiting)
	}
	if now.current != last.current && slices.Contains(now.revoked, last.current) {
		r.hurry[now.current] = len(r.views)
	}
	for _, kid := range last.revoked {
		if slices.Contains(now.verifies, kid) {
			t.Fatal("a revoked key verifies again")
		}
	}
	if len(records) > 40 {
		t.Fatalf("%d records", len(records))
	}
	r.views = append(r.views, now)
}

// during returns which views may have been seen between two times.
func (r *rotation) during(from, to time.Time) []int {
	var seen []int
	for i, v := range r.views {
		ended := i+1 < len(r.views) && !r.views[i+1].from.After(from)
		if !ended && !v.from.After(to) {
			seen = append(seen, i)
		}
	}
	return seen
}

// mint signs a token with every key that an instance may take for the current one.
func (r *rotation) mint() {
	now := r.clock.Now()
	for _, i := range r.during(now.Add(-unheard), now) {
		r.tokens = append(r.tokens, minted{r.views[i].current, now, now.Add(token.MaxLifetime)})
	}
}

// verify shows every token that lives to everyone who may be asked.
func (r *rotation) verify(t *rapid.T) {
	now := r.clock.Now()
	newest := r.views[len(r.views)-1]
	r.tokens = slices.DeleteFunc(r.tokens, func(m minted) bool { return now.After(m.expires.Add(2 * skew)) })
	for _, m := range r.tokens {
		if slices.Contains(newest.revoked, m.kid) {
			continue
		}
		for _, i := range r.during(now.Add(-cached-unheard), now) {
			v, hurried := r.views[i], r.hurry[m.kid]
			if i >= hurried && !slices.Contains(v.verifies, m.kid) {
				t.Fatalf("a token of %s, minted %v ago, is refused by the keys as they were from %v ago on",
					m.kid, now.Sub(m.at), now.Sub(v.from))
			}
		}
	}
}

func (r *rotation) heal() {
	r.store.Fail(storetest.CallCommit, 0, nil)
	r.store.Fail(storetest.CallQuery, 0, nil)
	r.vault.mu.Lock()
	defer r.vault.mu.Unlock()
	r.vault.fail, r.vault.lose = false, false
}

// At every moment each token that lives and whose key is not revoked verifies with the keys as anyone may
// have them, whatever fails or is cut off in between, and whoever turns them at the same time.
func TestNoGoodTokenIsEverRefused(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := newRotation(t.Fatal)
		ctx := context.Background()
		request := signingkeys.Request{Actor: "test", Cause: "test"}
		tolerate := func(err error) {
			if err != nil && !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, secrets.ErrUnavailable) &&
				!errors.Is(err, signingkeys.ErrTooMany) && !errors.Is(err, store.ErrNotFound) {
				t.Fatal(err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"Advance": func(t *rapid.T) {
				left := time.Duration(rapid.IntRange(1, 900).Draw(t, "seconds")) * time.Second
				for ; left > 0; left -= time.Minute {
					r.clock.Advance(min(left, time.Minute))
					r.mint()
				}
			},
			"AdvanceALot": func(*rapid.T) { r.clock.Advance(time.Hour) },
			"Tick": func(*rapid.T) {
				_, err := r.keys.Rotate(ctx, request)
				tolerate(err)
			},
			"Rotate": func(*rapid.T) {
				asked := request
				asked.Begin = true
				_, err := r.keys.Rotate(ctx, asked)
				tolerate(err)
			},
			"AtOnce": func(*rapid.T) {
				var group sync.WaitGroup
				errs := make([]error, 3)
				for i := range errs {
					group.Go(func() {
						asked := request
						asked.Begin = i > 0
						_, errs[i] = r.keys.Rotate(ctx, asked)
					})
				}
				group.Wait()
				tolerate(errors.Join(errs...))
			},
			"Revoke": func(t *rapid.T) {
				records, err := (&signingkeys.Keys{Store: r.memory}).List(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if rapid.IntRange(0, 3).Draw(t, "seldom") == 0 {
					tolerate(r.keys.Revoke(ctx, rapid.SampledFrom(records).Draw(t, "key").ID, "test", "test"))
				}
			},
			"Fail": func(t *rapid.T) {
				switch rapid.IntRange(0, 3).Draw(t, "what") {
				case 0:
					r.store.Fail(storetest.CallCommit, 1, store.ErrUnavailable)
				case 1:
					r.store.LoseAnswer(1, store.ErrUnavailable)
				case 2:
					r.vault.fail = true
				default:
					r.vault.lose = true
				}
			},
			"Heal": func(*rapid.T) { r.heal() },
			"": func(t *rapid.T) {
				r.look(t)
				r.mint()
				r.verify(t)
			},
		})

		// Left alone it comes to rest: one key signs, and no private key lies about without a record.
		r.heal()
		for range 4 {
			r.clock.Advance(2 * 24 * time.Hour)
			if _, err := r.keys.Rotate(ctx, request); err != nil {
				t.Fatal(err)
			}
			r.clock.Advance(20 * time.Minute)
			if _, err := r.keys.Rotate(ctx, request); err != nil {
				t.Fatal(err)
			}
			r.look(t)
		}
		records, err := r.keys.List(ctx)
		if err != nil {
			t.Fatal(err)
		}
		alive := 0
		for _, v := range r.vault.versions {
			if v.State == secrets.Enabled {
				alive++
			}
		}
		if alive != len(records) || len(records) > 6 {
			t.Fatalf("%d private keys for %d records", alive, len(records))
		}
	})
}

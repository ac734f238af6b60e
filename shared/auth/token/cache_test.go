package token_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/token"
)

// ring is a key source that changes.
type ring struct {
	set   atomic.Pointer[token.KeySet]
	down  atomic.Bool
	asked atomic.Int64
}

var errDown = errors.New("out of reach")

func (r *ring) Key(ctx context.Context, kid string) (token.Key, error) {
	r.asked.Add(1)
	if r.down.Load() {
		return token.Key{}, errDown
	}
	return r.set.Load().Key(ctx, kid)
}

// caching is a verifier with a cache, whose clock and keys are moved by the test.
type caching struct {
	*token.Verifier
	*ring
	now atomic.Int64 // nanoseconds since authtest.Now
}

func newCaching(tb testing.TB, tokens int, authorities ...*authtest.Authority) *caching {
	tb.Helper()
	c := &caching{ring: &ring{}}
	c.set.Store(authorities[0].Keys(tb, authorities[1:]...))
	c.Verifier = &token.Verifier{
		Keys: c.ring, Cache: token.NewCache(tokens),
		Now: func() time.Time { return authtest.Now.Add(time.Duration(c.now.Load())) },
	}
	return c
}

func (c *caching) want(t *testing.T, raw string, reason auth.Reason) {
	t.Helper()
	claims, err := c.Verify(t.Context(), raw)
	if reason == auth.Allowed && err != nil {
		t.Fatal(err)
	}
	if reason != auth.Allowed && (auth.ReasonOf(err) != reason || claims != token.Claims{}) {
		t.Fatalf("got %v %+v, want %s", err, claims, reason)
	}
}

// What may change about a token that was verified is judged each time.
func TestRememberedIsJudged(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{token.ES256, token.EdDSA, token.RS256} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			a, other := authtest.NewAuthority(t, algorithm), authtest.NewAuthority(t, algorithm)
			raw := a.Token(t, gatewayClaims())
			c := newCaching(t, 64, a)
			for range 3 {
				c.want(t, raw, auth.Allowed)
			}

			c.now.Store(int64(5*time.Minute + token.MaxLeeway))
			c.want(t, raw, auth.Expired)
			c.now.Store(-int64(time.Minute))
			c.want(t, raw, auth.NotYetValid)
			c.now.Store(0)
			c.Issuer = "another"
			c.want(t, raw, auth.WrongIssuer)
			c.Issuer = ""
			c.want(t, raw, auth.Allowed)

			c.set.Store(other.Keys(t)) // the key is revoked
			c.want(t, raw, auth.UnknownKey)
			c.down.Store(true)
			if _, err := c.Verify(t.Context(), raw); !errors.Is(err, errDown) {
				t.Errorf("keys out of reach: %v", err)
			}
			c.down.Store(false)

			// Another key under the same id.
			impostor := other.Signer.Public()
			impostor.ID = a.Signer.Public().ID
			set, err := token.NewKeySet(impostor)
			if err != nil {
				t.Fatal(err)
			}
			c.set.Store(set)
			c.want(t, raw, auth.BadSignature)

			// The same key, read again.
			data, err := a.Keys(t).MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			if set, err = token.ParseJWKS(data); err != nil {
				t.Fatal(err)
			}
			c.set.Store(set)
			c.want(t, raw, auth.Allowed)
		})
	}
}

// Whatever the time and the keys become, a token that was verified is judged as one that was not.
func TestRememberedLikeNew(t *testing.T) {
	t.Parallel()
	a, other := authtest.NewAuthority(t, token.ES256), authtest.NewAuthority(t, token.ES256)
	impostor := other.Signer.Public()
	impostor.ID = a.Signer.Public().ID
	taken, err := token.NewKeySet(impostor)
	if err != nil {
		t.Fatal(err)
	}
	sets := []*token.KeySet{a.Keys(t), a.Keys(t), a.Keys(t, other), other.Keys(t), taken}
	raws := make([]string, 4)
	for i := range raws {
		claims := gatewayClaims()
		claims.ID = token.NewID()
		claims.NotBefore = claims.IssuedAt.Add(time.Duration(i) * time.Minute)
		raws[i] = a.Token(t, claims)
	}
	rapid.Check(t, func(t *rapid.T) {
		keys := &ring{}
		remembering := &token.Verifier{Keys: keys, Now: authtest.Clock, Cache: token.NewCache(2)}
		leeway := rapid.SampledFrom([]time.Duration{0, -1, time.Second}).Draw(t, "leeway")
		remembering.Leeway = leeway
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			set := rapid.SampledFrom(sets).Draw(t, "keys")
			keys.set.Store(set)
			edge := rapid.SampledFrom([]time.Duration{-30, 0, 30, 60, 90, 180, 270, 300, 330}).Draw(t, "edge") * time.Second
			at := token.Moment{Now: authtest.Now.Add(edge + time.Duration(rapid.IntRange(-1, 1).Draw(t, "beside it"))), Keys: set}
			raw := rapid.SampledFrom(raws).Draw(t, "token")
			fresh := &token.Verifier{Keys: keys, Now: authtest.Clock, Leeway: leeway}
			want, wantErr := fresh.VerifyAt(context.Background(), raw, at)
			got, err := remembering.VerifyAt(context.Background(), raw, at)
			if auth.ReasonOf(err) != auth.ReasonOf(wantErr) || (err == nil) != (wantErr == nil) || err == nil && *got != *want {
				t.Fatalf("got %v %v, want %v %v", got, err, want, wantErr)
			}
		}
	})
}

// No other bytes are taken for those of a token that was verified, and nothing that was refused is remembered.
func TestRememberedIsExact(t *testing.T) {
	t.Parallel()
	a := authtest.NewAuthority(t, token.ES256)
	raw := a.Token(t, gatewayClaims())
	c := newCaching(t, 8, a)
	c.want(t, raw, auth.Allowed)
	for i := range raw {
		other := []byte(raw)
		other[i] ^= 1
		for range 2 {
			if _, err := c.Verify(t.Context(), string(other)); auth.ReasonOf(err) == "" {
				t.Fatalf("byte %d changed: %v", i, err)
			}
		}
	}
	for _, other := range []string{raw + "A", raw[:len(raw)-1], " " + raw, raw + "\n", raw + "."} {
		if _, err := c.Verify(t.Context(), other); auth.ReasonOf(err) == "" {
			t.Errorf("%.20q: %v", other, err)
		}
	}
	c.want(t, raw, auth.Allowed)
}

// A verified token costs no allocation, and is found among many.
func TestRememberedAllocatesNothing(t *testing.T) { // not parallel: it counts what is allocated
	a := authtest.NewAuthority(t, token.ES256)
	c := newCaching(t, 1024, a)
	raws := make([]string, 100)
	for i := range raws {
		claims := gatewayClaims()
		claims.ID = token.NewID()
		raws[i] = a.Token(t, claims)
		c.want(t, raws[i], auth.Allowed)
	}
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := c.Verify(t.Context(), raws[i%len(raws)]); err != nil {
			t.Error(err)
		}
		i++
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Many tokens at once, more than there is room for, from many goroutines.
func TestRememberedAtOnce(t *testing.T) {
	t.Parallel()
	a := authtest.NewAuthority(t, token.EdDSA)
	c := newCaching(t, 32, a)
	raws := make([]string, 100)
	subjects := []string{"isectech-frontend", "isectech-api-gateway"}
	for i := range raws {
		raws[i] = a.Token(t, authtest.Claims(subjects[i%2], "isectech-backend-services", auth.APIRead))
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := range 5 * len(raws) {
				claims, err := c.Verify(t.Context(), raws[i%len(raws)])
				if err != nil || claims.Subject.String() != subjects[i%2] {
					t.Errorf("%v %v", claims.Subject, err)
					return
				}
			}
		})
	}
	group.Wait()
}

// Distinct tokens in a row, honest ones and such as nobody signed, take up no more memory than the cache has
// room for. LONG=1 makes it a million.
func TestManyTokens(t *testing.T) { // not parallel: it looks at the heap
	n := 4_000
	if os.Getenv("LONG") != "" {
		n = 1_000_000
	}
	a := authtest.NewAuthority(t, token.EdDSA)
	const room = 512
	c := newCaching(t, room, a)
	claims := gatewayClaims()
	verify := func(n int) {
		for i := range n {
			claims.ID = token.NewID()
			raw := a.Token(t, claims)
			c.want(t, raw, auth.Allowed)
			hostile := strings.Replace(raw, ".", "x.", 1+i%2)
			if _, err := c.Verify(t.Context(), hostile); err == nil {
				t.Fatal("a token that nobody signed was let through")
			}
			unsigned := authtest.Unsigned(`{"alg":"EdDSA","kid":"`+token.NewID()+`","typ":"at+jwt"}`, "{}") // a kid that there is not
			c.want(t, unsigned, auth.UnknownKey)
		}
	}
	verify(2 * room) // fill it
	before := heap()
	verify(n)
	grown := heap() - before
	if t.Logf("after %d tokens the heap is %d bytes larger", n, grown); grown > 1<<20 {
		t.Error("that is too much")
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // what finalizers have let go
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

package token

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The bounds of a cache.
const (
	// cacheWays is how many places a token may have: those of its set.
	cacheWays = 8
	// maxCached is the length of the longest token that is remembered; the platform's own are a third of it.
	maxCached = 2 << 10
	// hashed is how much of a token's end is hashed: of its signature, half of which is as random as any hash.
	hashed = 32
)

// Cache remembers tokens whose signature and form a Verifier has found good, and what they say, so that the
// same bytes need not be verified again. It holds no verdict: times, issuer and key are judged each time.
//
// Only what was signed by a key of ours gets in, so nobody drives others' tokens out with tokens of his own
// making. A token is found by its very bytes and by nothing that stands for them. The number of tokens is
// fixed, and so is the memory: at most 2.5 KiB each.
type Cache struct {
	seed maphash.Seed
	sets atomic.Pointer[[]cacheSet] // made with the first token, so that a start does not wait for memory
	mask uint64                     // one less than the number of sets, a power of two
	fill sync.Mutex                 // held by whoever adds; finding takes no lock

	header atomic.Pointer[knownHeader] // of the token that was verified last
}

// cacheSet is the places of all tokens whose hash ends alike. The hashes lie together, so that a token that is
// elsewhere, or nowhere, costs one look.
type cacheSet struct {
	hashes [cacheWays]atomic.Uint64
	tokens [cacheWays]atomic.Pointer[cached]
	hand   int // where the search for a place begins; guarded by Cache.fill
}

// cached is a token that was verified.
type cached struct {
	raw  string
	used atomic.Bool // since the hand last passed

	// What it takes to see at a glance that nothing has changed.
	by          *Verifier
	keys        atomic.Pointer[KeySet] // the last that was found to hold the key
	from, until time.Time              // when by finds the claims good: from the one to before the other

	claims Claims
	key    Key // that verified it
}

// holds reports whether it can be told without asking anyone that a verifier would find the token good.
func (t *cached) holds(v *Verifier, at Moment) bool {
	if t.by != v || at.Keys == nil || at.Now.Before(t.from) || !at.Now.Before(t.until) {
		return false
	}
	if t.keys.Load() == at.Keys {
		return true
	}
	if k, ok := at.Keys.byID[t.key.ID]; !ok || !k.same(t.key) {
		return false
	}
	t.keys.Store(at.Keys)
	return true
}

// NewCache returns a cache for about as many tokens.
func NewCache(tokens int) *Cache {
	sets := uint64(1)
	for int(sets)*cacheWays < tokens {
		sets *= 2
	}
	return &Cache{seed: maphash.MakeSeed(), mask: sets - 1}
}

// find returns what is known of a token, nil when nothing is. A nil Cache knows nothing.
func (c *Cache) find(raw string) *cached {
	if c == nil || len(raw) > maxCached {
		return nil
	}
	sets := c.sets.Load()
	if sets == nil {
		return nil
	}
	hash := c.hash(raw)
	set := &(*sets)[hash&c.mask]
	for i := range set.hashes {
		if set.hashes[i].Load() != hash {
			continue
		}
		if t := set.tokens[i].Load(); t != nil && t.raw == raw {
			if !t.used.Load() { // written only where it changes, since others read it
				t.used.Store(true)
			}
			return t
		}
	}
	return nil
}

// hash finds tokens. Others may end alike, but only those that were verified are here.
func (c *Cache) hash(raw string) uint64 { return maphash.String(c.seed, raw[max(len(raw)-hashed, 0):]) }

// lastHeader returns the header of the token that was verified last; nil where there is none.
func (c *Cache) lastHeader() *knownHeader {
	if c == nil {
		return nil
	}
	return c.header.Load()
}

// keep remembers a token that was found good.
func (v *Verifier) keep(raw string, c compact, claims Claims) *Claims {
	if v.Cache == nil || len(raw) > maxCached {
		return &claims
	}
	begin := claims.IssuedAt
	if claims.NotBefore.After(begin) {
		begin = claims.NotBefore
	}
	t := &cached{
		raw: strings.Clone(raw), by: v, from: begin.Add(-v.leeway()), until: claims.ExpiresAt.Add(v.leeway()), claims: claims, key: c.key,
	}
	if last := v.Cache.lastHeader(); last == nil || last.head != c.head {
		v.Cache.header.Store(&knownHeader{strings.Clone(c.head), c.header})
	}
	v.Cache.put(t)
	return &t.claims
}

// put gives a token the place of one that has not been asked about for longest, as nearly as one bit can tell. No one
// asks about what has expired.
func (c *Cache) put(t *cached) {
	hash := c.hash(t.raw)
	c.fill.Lock()
	defer c.fill.Unlock()
	sets := c.sets.Load()
	if sets == nil {
		made := make([]cacheSet, c.mask+1)
		sets = &made
		c.sets.Store(sets)
	}
	set := &(*sets)[hash&c.mask]
	i := set.place(t.raw, hash)
	set.hashes[i].Store(hash)
	set.tokens[i].Store(t)
}

// place returns where a token belongs.
func (s *cacheSet) place(raw string, hash uint64) int {
	for i := range s.tokens {
		if t := s.tokens[i].Load(); t == nil || s.hashes[i].Load() == hash && t.raw == raw { // by whoever verified it at the same time
			return i
		}
	}
	for {
		i := s.hand
		s.hand = (s.hand + 1) % cacheWays
		if !s.tokens[i].Load().used.Swap(false) {
			return i
		}
	}
}

// same reports whether two keys of one id are one key. A key set that was read again holds other pointers to
// what may be the same numbers.
func (k Key) same(other Key) bool {
	if k.Algorithm != other.Algorithm {
		return false
	}
	switch pub := k.Public.(type) {
	case *ecdsa.PublicKey:
		o, ok := other.Public.(*ecdsa.PublicKey)
		return ok && (pub == o || pub.Equal(o))
	case ed25519.PublicKey:
		o, ok := other.Public.(ed25519.PublicKey)
		return ok && bytes.Equal(pub, o)
	case *rsa.PublicKey:
		o, ok := other.Public.(*rsa.PublicKey)
		return ok && (pub == o || pub.Equal(o))
	}
	return false
}

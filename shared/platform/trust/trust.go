// Package trust is what the platform's functions believe about everyone: the policy, the keys that sign
// access tokens, the API keys that are valid, and what is revoked or quarantined, all as the store holds
// it. The store is the truth and is asked on a request (what is older than a second is read again); a copy
// outlives it within bounds, what is revoked for less long than the rest.
package trust

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/store"
)

// How old what is believed may be.
const (
	freshFor = time.Second       // used without a look at the store
	busyFor  = 5 * time.Second   // used while another request is looking
	readFor  = 300 * time.Second // the policy and the keys, used for reading while the store is out of reach
	knownFor = 60 * time.Second  // what is revoked, likewise
	writeFor = 60 * time.Second  // all of it, used for writing and for admin scopes likewise
)

// How the store is asked.
const (
	askFor     = 5 * time.Second // until it counts as out of reach
	retryAfter = time.Second     // after it was, before it is asked again
)

// ErrUnavailable means that too little is known, or for too long, to judge anyone.
var ErrUnavailable = errors.New("policy unavailable")

// PolicyRef is the document that holds the policy in force.
var PolicyRef = store.Ref{Collection: store.Policies, ID: "current"}

// PolicyVersionRef is the document that keeps version n of the policy for explanations.
func PolicyVersionRef(n int64) store.Ref {
	return store.Ref{Collection: store.Policies, ID: fmt.Sprintf("v%d", n)}
}

// Source holds the latest State.
type Source struct {
	store   store.Store
	now     func() time.Time
	keep    bool // what is known last serves readers for keepFor
	keepFor time.Duration
	feed    *feed
	told    atomic.Int64 // how often there was something new to look for
	looked  atomic.Int64 // when an unknown key was last looked for, in Unix microseconds
	current atomic.Pointer[State]
	failed  atomic.Pointer[failure] // the last look at the store, where it failed
	turn    chan struct{}           // holds one: whoever is looking
}

// failure is a look at the store that failed.
type failure struct {
	at  time.Time
	err error
}

// NewSource returns a Source over a store.
func NewSource(s store.Store, now func() time.Time) *Source {
	return &Source{store: s, now: now, feed: newFeed(s), turn: make(chan struct{}, 1)}
}

// Keep makes what is believed good for reading for d while the store is out of reach, where that is
// longer than elsewhere: discovery outlives the store, and judges its callers by what was known last. It
// belongs before the first use of s.
func (s *Source) Keep(d time.Duration) { s.keep, s.keepFor = true, max(d, readFor) }

// Look makes the next State one that is read after this call, however fresh the last is. Whoever has changed
// something calls it, so that this process goes by it at once.
func (s *Source) Look() { s.told.Add(1) }

// State returns what is believed now, at most a second behind the store where the store answers. One
// caller at a time looks at the store; while it does not answer nobody else waits for it.
func (s *Source) State(ctx context.Context) (*State, error) { return s.StateAt(ctx, s.now()) }

// Now is the time by the clock that the Source goes by.
func (s *Source) Now() time.Time { return s.now() }

// StateAt is State for whoever has just looked at that clock.
func (s *Source) StateAt(ctx context.Context, asked time.Time) (*State, error) {
	if st, ok, err := s.known(asked); ok {
		return st, err
	}
	select {
	case s.turn <- struct{}{}:
	default:
		if st := s.current.Load(); st != nil && st.asked == s.told.Load() &&
			(s.age(st) < busyFor || s.failed.Load() != nil && s.readable(st)) {
			return st, nil
		}
		select {
		case s.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
	}
	defer func() { <-s.turn }()
	if st, ok, err := s.known(asked); ok { // by whoever looked meanwhile, however long that took
		return st, err
	}
	// Not for as long as this one caller has patience: what it finds is for all.
	ask, cancel := context.WithTimeout(context.WithoutCancel(ctx), askFor)
	defer cancel()
	next, err := s.read(ask, s.current.Load())
	if next != nil {
		s.current.Store(next)
	}
	if err != nil {
		s.failed.Store(&failure{at: s.now(), err: err})
		return s.outlived(err)
	}
	s.failed.Store(nil)
	return next, nil
}

// known returns what can be said without a look at the store to someone who asked at a time, be it an
// error; ok is false when nothing can.
func (s *Source) known(asked time.Time) (st *State, ok bool, err error) {
	if st = s.current.Load(); st != nil && asked.Sub(st.readAt()) < freshFor && st.asked == s.told.Load() {
		return st, true, nil
	}
	if f := s.failed.Load(); f != nil && s.now().Sub(f.at) < retryAfter {
		st, err = s.outlived(f.err)
		return st, true, err
	}
	return nil, false, nil
}

// outlived returns what was believed last, as long as it may be used for reading without the store.
func (s *Source) outlived(cause error) (*State, error) {
	if st := s.current.Load(); st != nil && s.readable(st) {
		return st, nil
	}
	return nil, fmt.Errorf("%w: %w", ErrUnavailable, cause)
}

func (s *Source) age(st *State) time.Duration { return s.now().Sub(st.readAt()) }

// readable reports whether st may be used for reading without the store.
func (s *Source) readable(st *State) bool {
	if s.keep {
		return s.age(st) < s.keepFor
	}
	now := s.now()
	return now.Sub(st.ReadAt) < readFor && now.Sub(st.RevokedAt) < knownFor
}

// Writable reports whether st is recent enough to let someone write or use an admin scope.
func (s *Source) Writable(st *State) bool { return s.age(st) < writeFor }

// read reads the store. Where one part cannot be read, what is known of it stands beside what is new of the
// other; the State is nil when that is nothing.
func (s *Source) read(ctx context.Context, last *State) (*State, error) {
	readAt := s.now() // before the reads, so that the age is never understated
	next := &State{now: s.now, asked: s.told.Load()}
	var group sync.WaitGroup
	var errRevoked error
	group.Go(func() { next.revoked, errRevoked = s.feed.read(ctx, readAt) })
	err := s.readPolicy(ctx, next, last)
	group.Wait()
	next.ReadAt, next.RevokedAt = readAt, readAt
	if failed := errors.Join(err, errRevoked); failed != nil && last == nil {
		return nil, failed
	}
	if err != nil {
		next.Policy, next.Keys, next.Signing, next.ReadAt = last.Policy, last.Keys, last.Signing, last.ReadAt
	}
	if errRevoked != nil {
		next.revoked, next.RevokedAt = last.revoked, last.RevokedAt
	}
	if failed := errors.Join(err, errRevoked); failed != nil {
		next.asked = last.asked
		return next, failed
	}
	return next, nil
}

// readPolicy reads the policy and the keys; what has not changed since the last State is not compiled again.
func (s *Source) readPolicy(ctx context.Context, next, last *State) error {
	doc, err := s.store.Get(ctx, PolicyRef)
	if err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	// The keys first: to compile a large policy may take longer than the store has time for.
	if next.Keys, next.Signing, err = readKeys(ctx, s.store, last); err != nil {
		return err
	}
	if last != nil && last.Policy.Version() == doc.Generation {
		next.Policy = last.Policy
		return nil
	}
	next.Policy, err = CompilePolicy(doc.Data, doc.Generation)
	return err
}

// CompilePolicy compiles a stored policy. The version of a policy is the generation of its document.
func CompilePolicy(data json.RawMessage, version int64) (*policy.Policy, error) {
	doc, findings, err := ParsePolicy(data)
	if err != nil {
		return nil, fmt.Errorf("policy version %d: %w (%d findings)", version, err, len(findings))
	}
	p, err := policy.Compile(doc, version)
	if err != nil {
		return nil, fmt.Errorf("policy version %d: %w", version, err)
	}
	return p, nil
}

// Key returns the key of a token by its kid, so that a Source is the token.Keys of a verifier. For a kid that is
// not known the store is looked at anew, at most once a second for all of them: where a leaked key was revoked
// another instance may sign with a new one already.
func (s *Source) Key(ctx context.Context, kid string) (token.Key, error) {
	st, err := s.State(ctx)
	if err != nil {
		return token.Key{}, err
	}
	key, err := st.key(ctx, kid)
	if !errors.Is(err, token.ErrUnknownKey) || !s.mayLookFor(st) {
		return key, err
	}
	s.Look()
	if st, err = s.State(ctx); err != nil {
		return token.Key{}, err
	}
	return st.key(ctx, kid)
}

// mayLookFor reports whether it is time to look for a key that st does not hold.
func (s *Source) mayLookFor(st *State) bool {
	now, last := s.now(), s.looked.Load()
	return now.After(st.readAt()) && now.Sub(time.UnixMicro(last)) >= freshFor && s.looked.CompareAndSwap(last, now.UnixMicro())
}

// Latest returns what was believed last, without a look at the store; nil before the first State.
func (s *Source) Latest() *State { return s.current.Load() }

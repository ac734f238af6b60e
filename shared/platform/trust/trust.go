// Package trust is what the platform's functions believe about everyone: the policy, the keys that sign
// access tokens and the API keys that are valid, all as the store holds them. The store is the truth and
// is asked on a request (what is older than a second is read again); a copy outlives it within bounds.
package trust

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/store"
)

// How old what is believed may be.
const (
	freshFor = time.Second       // used without a look at the store
	busyFor  = 5 * time.Second   // used while another request is looking
	readFor  = 300 * time.Second // used for reading while the store is out of reach
	writeFor = 60 * time.Second  // used for writing and for admin scopes while the store is out of reach
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

// State is what is believed at one moment. It is immutable.
type State struct {
	Policy  *policy.Policy
	Keys    *token.KeySet // every key that may verify: next, current and previous
	Signing []SigningKey  // all records, revoked ones included
	ReadAt  time.Time
}

// Source holds the latest State.
type Source struct {
	store   store.Store
	now     func() time.Time
	keep    time.Duration // how long a State is used for reading
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
	return &Source{store: s, now: now, keep: readFor, turn: make(chan struct{}, 1)}
}

// Keep makes what is believed good for reading for d while the store is out of reach, where that is
// longer than elsewhere: discovery outlives the store, and judges its callers by what was known last. It
// belongs before the first use of s.
func (s *Source) Keep(d time.Duration) { s.keep = max(d, readFor) }

// State returns what is believed now, at most a second behind the store where the store answers. One
// caller at a time looks at the store; while it does not answer nobody else waits for it.
func (s *Source) State(ctx context.Context) (*State, error) {
	asked := s.now()
	if st, ok, err := s.known(asked); ok {
		return st, err
	}
	select {
	case s.turn <- struct{}{}:
	default:
		if st := s.current.Load(); st != nil && (s.age(st) < busyFor || s.failed.Load() != nil && s.age(st) < s.keep) {
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
	if err != nil {
		s.failed.Store(&failure{at: s.now(), err: err})
		return s.outlived(err)
	}
	s.current.Store(next)
	s.failed.Store(nil)
	return next, nil
}

// known returns what can be said without a look at the store to someone who asked at a time, be it an
// error; ok is false when nothing can.
func (s *Source) known(asked time.Time) (st *State, ok bool, err error) {
	if st = s.current.Load(); st != nil && asked.Sub(st.ReadAt) < freshFor {
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
	if st := s.current.Load(); st != nil && s.age(st) < s.keep {
		return st, nil
	}
	return nil, fmt.Errorf("%w: %w", ErrUnavailable, cause)
}

func (s *Source) age(st *State) time.Duration { return s.now().Sub(st.ReadAt) }

// Writable reports whether st is recent enough to let someone write or use an admin scope.
func (s *Source) Writable(st *State) bool { return s.age(st) < writeFor }

// read reads the store; what has not changed since the last State is not compiled again.
func (s *Source) read(ctx context.Context, last *State) (*State, error) {
	readAt := s.now() // before the reads, so that the age is never understated
	doc, err := s.store.Get(ctx, PolicyRef)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	next := &State{ReadAt: readAt}
	if last != nil && last.Policy.Version() == doc.Generation {
		next.Policy = last.Policy
	} else if next.Policy, err = CompilePolicy(doc.Data, doc.Generation); err != nil {
		return nil, err
	}
	if next.Keys, next.Signing, err = readKeys(ctx, s.store); err != nil {
		return nil, err
	}
	return next, nil
}

// CompilePolicy compiles a stored policy. The version of a policy is the generation of its document.
func CompilePolicy(data json.RawMessage, version int64) (*policy.Policy, error) {
	doc, findings, err := policy.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("policy version %d: %w (%d findings)", version, err, len(findings))
	}
	p, err := policy.Compile(doc, version)
	if err != nil {
		return nil, fmt.Errorf("policy version %d: %w", version, err)
	}
	return p, nil
}

// Key returns the key of a token by its kid, so that a Source is the token.Keys of a verifier. An unknown
// kid costs no read of its own: what is believed is at most a second old anyway.
func (s *Source) Key(ctx context.Context, kid string) (token.Key, error) {
	st, err := s.State(ctx)
	if err != nil {
		return token.Key{}, err
	}
	if k, ok := st.SigningKey(kid); ok && k.State == KeyRevoked {
		return token.Key{}, auth.Refuse(auth.Revoked, "the key that signed the token is revoked")
	}
	return st.Keys.Key(ctx, kid)
}

// SigningKey returns the record of a signing key by its kid.
func (st *State) SigningKey(kid string) (SigningKey, bool) {
	return st.signingKey(func(k SigningKey) bool { return k.ID == kid })
}

// CurrentKey returns the record of the key that signs now.
func (st *State) CurrentKey() (SigningKey, bool) {
	return st.signingKey(func(k SigningKey) bool { return k.State == KeyCurrent })
}

func (st *State) signingKey(is func(SigningKey) bool) (SigningKey, bool) {
	if i := slices.IndexFunc(st.Signing, is); i >= 0 {
		return st.Signing[i], true
	}
	return SigningKey{}, false
}

// Resolve returns the service that a name or alias stands for.
func (st *State) Resolve(ref string) (auth.Subject, bool) { return st.Policy.Resolve(ref) }

// Runs reports whether a service runs in an environment.
func (st *State) Runs(service auth.Subject, env auth.Environment) bool {
	entry, ok := st.Policy.Service(service)
	return ok && entry.In(env)
}

// Latest returns what was believed last, without a look at the store; nil before the first State.
func (s *Source) Latest() *State { return s.current.Load() }

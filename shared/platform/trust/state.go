package trust

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/token"
)

// State is what is believed at one moment. It is immutable.
type State struct {
	Policy  *policy.Policy
	Keys    *token.KeySet // every key that may verify: next, current and previous
	Signing []SigningKey  // all records, revoked ones included
	ReadAt  time.Time     // when policy and keys were read

	RevokedAt time.Time // when what is revoked was read
	revoked   *revoked
	now       func() time.Time
	asked     int64 // how often the Source had been told to look when the reading began
}

// readAt is when the older part of st was read.
func (st *State) readAt() time.Time {
	if st.RevokedAt.Before(st.ReadAt) {
		return st.RevokedAt
	}
	return st.ReadAt
}

// key returns the key that verifies tokens of a kid.
func (st *State) key(ctx context.Context, kid string) (token.Key, error) {
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

// Grant returns what a service may be granted in an environment.
func (st *State) Grant(service auth.Subject, env auth.Environment) auth.Scopes {
	return st.Policy.Grant(service, env)
}

// Revoked reports whether anything that one of these credentials of a caller rests on is revoked.
func (st *State) Revoked(credentials ...auth.Principal) bool {
	if st.revoked.none() {
		return false
	}
	for i := range credentials {
		if st.revoked.holds(&credentials[i]) {
			return true
		}
	}
	return false
}

// Quarantined reports whether a service is in quarantine at this moment.
func (st *State) Quarantined(service auth.Subject) bool {
	_, ok := st.Quarantine(service)
	return ok
}

// AnyQuarantined reports whether Quarantines may hold anything.
func (st *State) AnyQuarantined() bool { return !st.revoked.none() && len(st.revoked.quarantines) > 0 }

// Quarantine returns the quarantine that a service is in at this moment.
func (st *State) Quarantine(service auth.Subject) (Quarantine, bool) {
	if !st.AnyQuarantined() {
		return Quarantine{}, false
	}
	q, ok := st.revoked.quarantines[service]
	return q, ok && q.inForce(st.now())
}

// Quarantines returns all quarantines that are in force, by the services' names.
func (st *State) Quarantines() []Quarantine {
	if st.revoked.none() {
		return []Quarantine{}
	}
	list := make([]Quarantine, 0, len(st.revoked.quarantines))
	for _, q := range st.revoked.quarantines {
		if q.inForce(st.now()) {
			list = append(list, q)
		}
	}
	slices.SortFunc(list, func(a, b Quarantine) int { return cmp.Compare(a.Service.String(), b.Service.String()) })
	return list
}

// IssuedAfter returns the last second up to which all tokens of a subject are revoked; ok is false where they
// are not.
func (st *State) IssuedAfter(subject auth.Subject) (last time.Time, ok bool) {
	if st.revoked.none() {
		return time.Time{}, false
	}
	s, ok := st.revoked.subjects[subject]
	return time.Unix(s.upTo, 0), ok
}

// RevokedTokens returns how many single tokens are remembered as revoked.
func (st *State) RevokedTokens() int {
	if st.revoked.none() {
		return 0
	}
	return len(st.revoked.tokens) + len(st.revoked.recent)
}

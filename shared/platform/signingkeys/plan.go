package signingkeys

import (
	"errors"
	"fmt"
	"time"

	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/trust"
)

// Policy says how long a key spends in which state.
type Policy struct {
	// PublishBefore is how long a key is in the key set before it signs: longer than whoever verifies
	// tokens keeps a key set.
	PublishBefore time.Duration
	// RetireAfter is how long a key verifies after it signed: longer than its last token lives.
	RetireAfter time.Duration
	// RotateEvery is how long a key signs before the next is made without anyone asking.
	RotateEvery time.Duration
	// ForgetAfter is how long the record and the secret of a key are kept that verifies no more, for
	// the decision ids that were made with it.
	ForgetAfter time.Duration
}

// Longest is what the times of a Policy have to outlast.
const (
	// keySetAge is how old a key set may be that someone verifies with: cached for 300 s, from an instance
	// that knew the keys as they were 300 s before.
	keySetAge = 600 * time.Second
	// tokenAge is how long after a key's successor began to sign a token of the key may be shown: signed
	// by an instance that did not know yet, with a clock ahead, and read by one whose clock is behind.
	tokenAge = 300*time.Second + token.MaxLifetime + 2*token.MaxLeeway
)

// DefaultPolicy rotates every 30 days, with room to spare on both sides.
func DefaultPolicy() Policy {
	return Policy{
		PublishBefore: keySetAge + 5*time.Minute,
		RetireAfter:   tokenAge + 9*time.Minute,
		RotateEvery:   30 * 24 * time.Hour,
		ForgetAfter:   400 * 24 * time.Hour,
	}
}

// errPolicy is wrapped by what Validate finds.
var errPolicy = errors.New("signing key policy")

// Validate checks that no rotation by the policy refuses a token that is good.
func (p Policy) Validate() error {
	switch {
	case p.PublishBefore < keySetAge:
		return fmt.Errorf("%w: a key is published for at least %v before it signs", errPolicy, keySetAge)
	case p.RetireAfter < tokenAge:
		return fmt.Errorf("%w: a key verifies for at least %v after it signed", errPolicy, tokenAge)
	case p.RotateEvery < p.PublishBefore+p.RetireAfter:
		return fmt.Errorf("%w: a key signs for at least %v", errPolicy, p.PublishBefore+p.RetireAfter)
	case p.ForgetAfter < p.RetireAfter:
		return fmt.Errorf("%w: a key is kept for at least %v", errPolicy, p.RetireAfter)
	}
	return nil
}

// maxKeys bounds the records; trust reads no more than 50.
const maxKeys = 40

// The kinds of steps.
const (
	Create  = "create"  // a key as next, published from now on
	Promote = "promote" // next signs, and what was current no more
	Retire  = "retire"  // previous verifies no more
	Forget  = "forget"  // the record of a key that long verifies no more
)

// Step is a change to one key; the key of Create does not exist yet.
type Step struct {
	Kind  string
	KeyID string
}

// Plan decides which step comes next, and when it is due; it is to be taken once that is not after now.
// begin asks for a new key before its time. Without a step (Kind "") nothing will ever be due.
func Plan(records []Record, p Policy, now time.Time, begin bool) (Step, time.Time) {
	var first Step
	var due time.Time
	offer := func(kind, kid string, at time.Time) {
		if first.Kind == "" || at.Before(due) {
			first, due = Step{kind, kid}, at
		}
	}
	current, signs := oldest(records, trust.KeyCurrent)
	next, pending := oldest(records, trust.KeyNext)
	// In this order, of steps that are due at the same time.
	switch {
	case pending && signs:
		offer(Promote, next.ID, next.Since.Add(p.PublishBefore))
	case pending: // nobody signs: it cannot come too early
		offer(Promote, next.ID, now)
	case begin:
		offer(Create, "", now)
	case signs:
		offer(Create, "", current.Since.Add(p.RotateEvery-p.PublishBefore))
	}
	if previous, ok := oldest(records, trust.KeyPrevious); ok {
		offer(Retire, previous.ID, previous.Since.Add(p.RetireAfter))
	}
	if spent, ok := oldest(records, trust.KeyRetired, trust.KeyRevoked); ok {
		keep := p.ForgetAfter
		if len(records) >= maxKeys {
			keep = p.RetireAfter
		}
		offer(Forget, spent.ID, spent.Since.Add(keep))
	}
	return first, due
}

// oldest returns the record that has been longest in one of the states.
func oldest(records []Record, states ...string) (found Record, ok bool) {
	for _, r := range records {
		for _, state := range states {
			if r.State == state && (!ok || r.Since.Before(found.Since)) {
				found, ok = r, true
			}
		}
	}
	return found, ok
}

package signingkeys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/secrets"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
)

// Request asks for the steps that are due.
type Request struct {
	Begin     bool   // a new key too, unless one is waiting to sign already
	Algorithm string // of a new key; "" stands for ES256
	Actor     string
	Cause     string
}

// Report is what a call did, and what comes next.
type Report struct {
	Done []Step
	Keys []Record // as they are now
	Next Step     // Kind "" when nothing will be due
	Due  time.Time
}

// Rotate takes the steps that are due. To call it again does what has become due since.
func (k *Keys) Rotate(ctx context.Context, req Request) (Report, error) {
	var report Report
	req.Algorithm = cmp.Or(req.Algorithm, token.ES256)
	if !slices.Contains([]string{token.ES256, token.EdDSA, token.RS256}, req.Algorithm) {
		return report, fmt.Errorf("%w: %.20q", ErrAlgorithm, req.Algorithm)
	}
	for tries := range maxTries {
		records, err := k.List(ctx)
		if err != nil {
			return report, err
		}
		if len(records) == 0 {
			return report, ErrNoKeys
		}
		if tries == 0 { // a rotation that is under way is the one asked for
			_, pending := oldest(records, trust.KeyNext)
			req.Begin = req.Begin && !pending
		}
		now := k.Now()
		step, due := Plan(records, k.policy(), now, req.Begin)
		report.Keys, report.Next, report.Due = records, step, due
		if step.Kind == "" || due.After(now) {
			return report, k.sweep(ctx, records)
		}
		switch err := k.take(ctx, &step, records, req); {
		case errors.Is(err, errOvertaken):
		case err != nil:
			return report, fmt.Errorf("signing keys: %s: %w", step.Kind, err)
		default:
			report.Done = append(report.Done, step)
		}
		if step.Kind == Create { // by this call, or by whoever overtook it
			req.Begin = false
		}
	}
	return report, ErrContended
}

// Next returns the step that comes next by itself, and when it is due; its Kind is "" when none will be.
func (k *Keys) Next(records []Record) (Step, time.Time) {
	return Plan(records, k.policy(), k.Now(), false)
}

// take performs one step.
func (k *Keys) take(ctx context.Context, step *Step, records []Record, req Request) error {
	c := change{seen: records, actor: req.Actor, cause: req.Cause}
	i := slices.IndexFunc(records, func(r Record) bool { return r.ID == step.KeyID })
	switch step.Kind {
	case Create:
		if len(records) >= maxKeys {
			return ErrTooMany
		}
		state := trust.KeyNext
		if _, signs := oldest(records, trust.KeyCurrent); !signs { // and nobody waits to
			state = trust.KeyCurrent
		}
		var err error
		if step.KeyID, err = k.add(ctx, &c, req.Algorithm, state); err != nil {
			return err
		}
	case Promote:
		c.to(records[i], trust.KeyCurrent)
		for _, r := range records {
			if r.State == trust.KeyCurrent {
				c.to(r, trust.KeyPrevious)
			}
		}
	case Retire:
		c.to(records[i], trust.KeyRetired)
	case Forget:
		c.forget(records[i])
	}
	return k.commit(ctx, c)
}

// Revoke takes a key out of use at once: its tokens are refused from now on. Where it is the one that signs,
// the next takes its place in the same commit, published long enough or not, or a new one that is made for
// it. A key that is revoked already is left alone; one there is no record of is store.ErrNotFound.
func (k *Keys) Revoke(ctx context.Context, kid, actor, cause string) error {
	for range maxTries {
		records, err := k.List(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(records, func(r Record) bool { return r.ID == kid })
		if i < 0 {
			return fmt.Errorf("signing key %.128q: %w", kid, store.ErrNotFound)
		}
		leaked := records[i]
		if leaked.State == trust.KeyRevoked {
			return nil
		}
		c := change{seen: records, actor: actor, cause: cause}
		c.to(leaked, trust.KeyRevoked)
		if leaked.State == trust.KeyCurrent {
			if next, ok := oldest(records, trust.KeyNext); ok {
				c.to(next, trust.KeyCurrent)
			} else if _, err := k.add(ctx, &c, leaked.Algorithm, trust.KeyCurrent); err != nil {
				return fmt.Errorf("revoke signing key: %w", err)
			} else if spent, ok := oldest(records, trust.KeyRetired, trust.KeyRevoked); ok && len(records) >= maxKeys {
				c.forget(spent)
			}
		}
		if err := k.commit(ctx, c); !errors.Is(err, errOvertaken) {
			return err
		}
	}
	return ErrContended
}

// orphanAge allows for the clocks of the two services that say when something was made.
const orphanAge = 10 * time.Minute

// sweep destroys private keys that no record names, left over from calls that were cut off or overtaken.
// One that is older than the newest record can get a record no more: whoever made it saw the records as
// they were before, and its commit holds for those alone.
func (k *Keys) sweep(ctx context.Context, records []Record) error {
	var newest time.Time
	named := make(map[int64]bool, len(records))
	for _, r := range records {
		named[r.SecretVersion] = true
		if r.Since.After(newest) {
			newest = r.Since
		}
	}
	versions, err := k.Secrets.Versions(ctx, trust.SigningKeySecret)
	if err != nil {
		return fmt.Errorf("look for private keys without a record: %w", err)
	}
	for _, v := range versions {
		if named[v.Number] || v.State == secrets.Destroyed || !v.CreateTime.Add(orphanAge).Before(newest) {
			continue
		}
		if err := k.Secrets.Destroy(ctx, trust.SigningKeySecret, v.Number, v.Etag); err != nil {
			return fmt.Errorf("destroy a private key without a record: %w", err)
		}
	}
	return nil
}

func (k *Keys) policy() Policy {
	if k.Policy == (Policy{}) {
		return DefaultPolicy()
	}
	return k.Policy
}

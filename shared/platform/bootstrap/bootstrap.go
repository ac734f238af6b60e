// Package bootstrap is where trust begins: it makes what every later judgement rests on, once, and by
// an operator's hand. Whatever has a record in the store is left alone, even where the secret behind the
// record cannot be read: a lost key is an operator's decision, never a reason to make another.
package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/secrets"
	"github.com/isectech/service-networking/shared/platform/signingkeys"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
)

// Platform is the store and the secrets that trust is written into, and who writes.
type Platform struct {
	Store   store.Store
	Secrets *secrets.Client
	Now     func() time.Time
	Actor   auth.Subject // the operator
	Cause   string
}

// Part is one thing that a call made, or found.
type Part struct {
	Name    string `json:"name"`
	Created bool   `json:"created"` // false: it was there, and was left alone
}

// The names of what Run makes.
const (
	partPolicy     = "policy"
	partSigningKey = "signing key"
	partRootCA     = "root CA"
)

// Parts lists what Run makes, as what is there.
func Parts() []Part { return []Part{{Name: partPolicy}, {Name: partSigningKey}, {Name: partRootCA}} }

// Run makes the policy, the signing key and the root CA, as far as the store has no record of them.
func (p *Platform) Run(ctx context.Context, doc *policy.Document) ([]Part, error) {
	var parts []Part
	for _, step := range []struct {
		name string
		make func(context.Context) (bool, error)
	}{
		{partPolicy, func(ctx context.Context) (bool, error) { return p.makePolicy(ctx, doc) }},
		{partSigningKey, p.makeSigningKey},
		{partRootCA, p.makeRootCA},
	} {
		created, err := step.make(ctx)
		if err != nil {
			return parts, fmt.Errorf("bootstrap %s: %w", step.name, err)
		}
		parts = append(parts, Part{Name: step.name, Created: created})
	}
	return parts, nil
}

func (p *Platform) makePolicy(ctx context.Context, doc *policy.Document) (bool, error) {
	if found, err := p.exists(ctx, trust.PolicyRef); found || err != nil {
		return false, err
	}
	return first(p.writePolicy(ctx, doc, 0))
}

// writePolicy commits a policy as the version after generation, which is 0 for the first, and keeps it
// under its version for explanations of decisions.
func (p *Platform) writePolicy(ctx context.Context, doc *policy.Document, generation int64) error {
	writes, _, err := trust.PolicyWrites(doc, generation)
	if err != nil {
		return err
	}
	return p.commit(ctx, writes...)
}

// firstSigningKey makes two calls at once, whose keys have different ids, leave one key.
const firstSigningKey = "bootstrap signing key"

// errKeyGone is the fault of a platform that had a signing key and has no record of one.
var errKeyGone = errors.New("it was made before, and its record is gone")

func (p *Platform) makeSigningKey(ctx context.Context) (bool, error) {
	if found, err := p.hasSigningKey(ctx); found || err != nil {
		return false, err
	}
	private, record, err := signingkeys.Generate(token.ES256)
	if err != nil {
		return false, err
	}
	if record.SecretVersion, err = p.putSecret(ctx, trust.SigningKeySecret, private); err != nil {
		return false, err
	}
	record.State = trust.KeyCurrent // nobody verifies by keys from before it
	_, err = p.Store.Commit(ctx, store.Batch{
		Writes: []store.Write{{Ref: trust.SigningKeyRef(record.ID), Data: record, If: store.Absent()}},
		Actor:  p.Actor.String(), Cause: p.Cause, Once: firstSigningKey,
	})
	if errors.Is(err, store.ErrDuplicate) {
		if found, err := p.hasSigningKey(ctx); found || err != nil {
			return false, err
		}
		return false, errKeyGone
	}
	return err == nil, err
}

func (p *Platform) hasSigningKey(ctx context.Context) (bool, error) {
	page, err := p.Store.Query(ctx, store.Query{Collection: store.SigningKeys, Limit: 1})
	return len(page.Documents) > 0, err
}

// first returns whether a write made a record, given its error: the record of whoever was faster is left
// alone, like one that was there before.
func first(err error) (bool, error) {
	if errors.Is(err, store.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// exists reports whether a record is there. A failed read is an error, never a "no".
func (p *Platform) exists(ctx context.Context, ref store.Ref) (bool, error) {
	_, err := p.Store.Get(ctx, ref)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// putSecret adds a version to a secret, which is created where it is missing: one that lies there
// without a record is left over from a call that was cut off.
func (p *Platform) putSecret(ctx context.Context, name string, payload []byte) (int64, error) {
	if err := p.Secrets.Create(ctx, name, nil); err != nil && !errors.Is(err, secrets.ErrExists) {
		return 0, err
	}
	return p.Secrets.AddVersion(ctx, name, payload)
}

func (p *Platform) commit(ctx context.Context, writes ...store.Write) error {
	_, err := p.Store.Commit(ctx, store.Batch{Writes: writes, Actor: p.Actor.String(), Cause: p.Cause})
	return err
}

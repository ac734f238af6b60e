// Package signingkeys keeps the keys that sign access tokens turning: it makes new ones, lets each be
// published before it signs and verify after it signed, and takes one out of use at once when it has leaked.
//
// A key is a version of a secret and a record with its state: next, current, previous, retired, or revoked.
// What is to be done is decided by Plan from the records and the time alone; every step is one commit that
// holds only for the records it was decided from, so that two callers at once take one step, and a call
// that was cut off anywhere is made good by the next.
package signingkeys

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/secrets"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
)

// Errors of a change that cannot be made.
var (
	ErrNoKeys    = errors.New("there is no signing key yet")     // isectl bootstrap makes the first
	ErrTooMany   = errors.New("too many signing keys")           // and none of them is old enough to forget
	ErrAlgorithm = errors.New("no such algorithm")               // want ES256, EdDSA or RS256
	ErrContended = errors.New("signing keys keep being changed") // by others, whenever a step is taken here
)

// Vault holds the private keys; secrets.Client is one.
type Vault interface {
	Create(ctx context.Context, name string, labels map[string]string) error
	AddVersion(ctx context.Context, name string, payload []byte) (int64, error)
	Versions(ctx context.Context, name string) ([]secrets.Version, error)
	Destroy(ctx context.Context, name string, version int64, etag string) error
}

// Records holds the keys' records; store.Store is one.
type Records interface {
	Query(ctx context.Context, q store.Query) (store.Page, error)
	Commit(ctx context.Context, b store.Batch) ([]store.Document, error)
}

// Keys changes the signing keys of a platform.
type Keys struct {
	Store   Records
	Secrets Vault
	Now     func() time.Time
	Policy  Policy // the zero value stands for DefaultPolicy
}

// Record is a signing key as it is stored.
type Record struct {
	trust.SigningKey

	Since      time.Time // when it came into its state: the commit time of its record
	Generation int64
}

// maxTries bounds how often one call meets the changes of others, and how many steps it takes.
const maxTries = 20

// List returns all records, in the order of their ids.
func (k *Keys) List(ctx context.Context) ([]Record, error) {
	page, err := k.Store.Query(ctx, store.Query{Collection: store.SigningKeys, Limit: 500})
	if err != nil {
		return nil, fmt.Errorf("list signing keys: %w", err)
	}
	records := make([]Record, len(page.Documents))
	for i, doc := range page.Documents {
		if err := doc.Decode(&records[i].SigningKey); err != nil {
			return nil, err
		}
		records[i].ID, records[i].Since, records[i].Generation = doc.Ref.ID, doc.UpdatedAt, doc.Generation
	}
	return records, nil
}

// change is a new state of some records, decided from what was seen.
type change struct {
	seen   []Record
	writes []store.Write
	actor  string
	cause  string
}

// to adds a record's new state to the change.
func (c *change) to(r Record, state string) {
	next := r.SigningKey
	next.State = state
	c.writes = append(c.writes, store.Write{Ref: trust.SigningKeyRef(r.ID), Data: next, If: store.AtGeneration(r.Generation)})
}

// forget removes a record.
func (c *change) forget(r Record) {
	c.writes = append(c.writes, store.Write{Ref: trust.SigningKeyRef(r.ID), If: store.AtGeneration(r.Generation)})
}

// commit performs a change; errOvertaken means that the records are no longer those it was decided from.
func (k *Keys) commit(ctx context.Context, c change) error {
	_, err := k.Store.Commit(ctx, store.Batch{Writes: c.writes, Actor: c.actor, Cause: c.cause, Once: digest(c.seen)})
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrDuplicate) {
		return errOvertaken
	}
	return err
}

var errOvertaken = errors.New("overtaken")

// digest names a state of all records. No state comes again, since generations only grow: as the key of a
// batch that happens once it makes of all calls that saw the state one, also where they write different
// documents.
func digest(records []Record) string {
	var all strings.Builder
	for _, r := range records {
		fmt.Fprintf(&all, "%s@%d\n", r.ID, r.Generation)
	}
	sum := sha256.Sum256([]byte(all.String()))
	return "signing keys " + hex.EncodeToString(sum[:])
}

// add makes a key and adds its record to the change.
func (k *Keys) add(ctx context.Context, c *change, algorithm, state string) (string, error) {
	payload, record, err := Generate(algorithm)
	if err != nil {
		return "", err
	}
	if err := k.Secrets.Create(ctx, trust.SigningKeySecret, nil); err != nil && !errors.Is(err, secrets.ErrExists) {
		return "", err
	}
	if record.SecretVersion, err = k.Secrets.AddVersion(ctx, trust.SigningKeySecret, payload); err != nil {
		return "", err
	}
	record.State = state
	c.writes = append(c.writes, store.Write{Ref: trust.SigningKeyRef(record.ID), Data: record, If: store.Absent()})
	return record.ID, nil
}

// Generate makes a key of an algorithm: the payload of its secret's version, and its record without a
// state and a version.
func Generate(algorithm string) (payload []byte, record trust.SigningKey, err error) {
	switch algorithm {
	case token.ES256, token.EdDSA, token.RS256:
	default:
		return nil, record, fmt.Errorf("%w: %.20q", ErrAlgorithm, algorithm)
	}
	private, err := token.GenerateKey(algorithm)
	if err != nil {
		return nil, record, err
	}
	if payload, err = token.MarshalPrivateKey(private); err != nil {
		return nil, record, err
	}
	record.Algorithm = algorithm
	if record.ID, err = token.Thumbprint(private.Public()); err != nil {
		return nil, record, err
	}
	record.JWK, err = token.Key{ID: record.ID, Algorithm: algorithm, Public: private.Public()}.MarshalJSON()
	return payload, record, err
}

package trust_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
)

// cutFeed is a store whose feed breaks off after so many documents; 0: never.
type cutFeed struct {
	store.Store
	after   int
	yielded int
}

func (c *cutFeed) Changes(ctx context.Context, collection string, since store.Position) iter.Seq2[store.Document, error] {
	return func(yield func(store.Document, error) bool) {
		n := 0
		for doc, err := range c.Store.Changes(ctx, collection, since) {
			if n++; c.after > 0 && n > c.after {
				yield(store.Document{}, store.ErrUnavailable)
				return
			}
			c.yielded++
			if !yield(doc, err) {
				return
			}
		}
	}
}

// flooded is a store whose revocations are made up as they are read.
type flooded struct {
	store.Store
	now       func() time.Time
	documents []store.Document
}

// round replaces the revocations by new ones.
func (f *flooded) round(round, n int, lives time.Duration) {
	f.documents = f.documents[:0]
	for i := range n {
		r := trust.Revocation{Kind: trust.RevokedToken, Value: fmt.Sprintf("%d-%d", round, i), RevokedAt: f.now()}
		data, _ := json.Marshal(r) // it is made of text and a time
		f.documents = append(f.documents, store.Document{
			Ref: trust.RevocationRef(r), Generation: 1, UpdatedAt: f.now(), ExpiresAt: f.now().Add(lives), Data: data,
		})
	}
}

func (f *flooded) Changes(_ context.Context, collection string, since store.Position) iter.Seq2[store.Document, error] {
	return func(yield func(store.Document, error) bool) {
		for _, doc := range f.documents {
			if collection == store.Revocations && doc.Position() >= since && !yield(doc, nil) {
				return
			}
		}
	}
}

// forgetful is a store whose tombstones have been removed.
type forgetful struct{ store.Store }

func (f forgetful) Changes(ctx context.Context, collection string, since store.Position) iter.Seq2[store.Document, error] {
	return func(yield func(store.Document, error) bool) {
		for doc, err := range f.Store.Changes(ctx, collection, since) {
			if !doc.Deleted && !yield(doc, err) {
				return
			}
		}
	}
}

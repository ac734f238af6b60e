package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/isectech/service-networking/shared/store"
)

// ctxEvery is how many documents a scan reads between two looks at its context.
const ctxEvery = 256

// hit is a document that a query keeps, and its place in the order.
type hit struct {
	place store.Place
	doc   store.Document
}

// Query returns a page. Ordered by id, and the journal by its key, it seeks; any other order reads the
// whole collection.
func (db *DB) Query(ctx context.Context, q store.Query) (store.Page, error) {
	sel, err := q.Plan()
	if err != nil {
		return store.Page{}, fmt.Errorf("query: %w", err)
	}
	var hits []hit
	err = db.view(ctx, func(tx *bbolt.Tx) (err error) {
		s := scan{ctx: ctx, tx: tx, db: db, sel: sel}
		switch {
		case q.Collection == store.Journal && q.OrderBy == "key":
			err = s.journal()
		case q.OrderBy == "":
			err = s.byID()
		default:
			err = s.whole()
		}
		hits = s.hits
		for i := range hits {
			hits[i].doc.Data = bytes.Clone(hits[i].doc.Data)
		}
		return err
	})
	if err != nil {
		return store.Page{}, fmt.Errorf("query %s: %w", q.Collection, err)
	}
	return page(sel, hits)
}

// page makes a page of hits in order, of which there may be one more than it holds.
func page(sel *store.Selection, hits []hit) (store.Page, error) {
	var p store.Page
	if len(hits) > sel.Limit {
		next, err := sel.Next(hits[sel.Limit-1].place)
		if err != nil {
			return store.Page{}, fmt.Errorf("query %s: %w", sel.Query.Collection, err)
		}
		p.Next, hits = next, hits[:sel.Limit]
	}
	for _, h := range hits {
		p.Documents = append(p.Documents, h.doc)
	}
	return p, nil
}

// scan gathers a query's hits within a transaction, up to one more than a page.
type scan struct {
	ctx  context.Context
	tx   *bbolt.Tx
	db   *DB
	sel  *store.Selection
	read int
	hits []hit
}

var errEnough = errors.New("enough")

// byID walks the documents from where the page begins.
func (s *scan) byID() error {
	name := documents + s.sel.Query.Collection
	from := ""
	if place, ok := s.sel.Resume(); ok {
		from = place.ID
	}
	return s.walk(name, []byte(from), func(k, v []byte) error {
		if from != "" && string(k) == from {
			return nil
		}
		return s.document(name, k, v)
	})
}

// whole reads the whole collection, keeping the best.
func (s *scan) whole() error {
	name := documents + s.sel.Query.Collection
	enough := 4 * (s.sel.Limit + 1)
	err := s.walk(name, nil, func(k, v []byte) error {
		if err := s.document(name, k, v); err != nil && !errors.Is(err, errEnough) {
			return err
		}
		if len(s.hits) >= enough {
			s.sort()
		}
		return nil
	})
	s.sort()
	return err
}

func (s *scan) sort() {
	slices.SortFunc(s.hits, func(a, b hit) int { return s.sel.Compare(a.place, b.place) })
	if most := s.sel.Limit + 1; len(s.hits) > most {
		clear(s.hits[most:])
		s.hits = s.hits[:most]
	}
}

// journal walks the index of keys, between the bounds that the filters set.
func (s *scan) journal() error {
	low, high := "", "\xff"
	for _, f := range s.sel.Query.Where {
		value, ok := f.Value.(string)
		if f.Field != "key" || !ok {
			continue
		}
		switch f.Op {
		case store.Gt, store.Ge:
			low = max(low, value)
		case store.Lt, store.Le:
			high = min(high, value)
		case store.Eq:
			low, high = max(low, value), min(high, value)
		}
	}
	from := low
	if s.sel.Query.Descending {
		from = high
	}
	if place, ok := s.sel.Resume(); ok {
		from, _ = place.Value.Value().(string)
	}
	return s.walk(entriesBucket, []byte(from), func(k, v []byte) error {
		if key := string(k); key > high && !s.sel.Query.Descending || key < low && s.sel.Query.Descending {
			return errEnough
		}
		id, err := unseal(entriesBucket, k, v)
		if err != nil {
			return corruptAt(entriesBucket, k, err)
		}
		name := documents + store.Journal
		b, err := bucket(s.tx, name)
		if err != nil {
			return err
		}
		return s.document(name, id, b.Get(id))
	})
}

// walk visits a bucket from a key on, in the query's direction where that is the bucket's order.
func (s *scan) walk(name string, from []byte, visit func(k, v []byte) error) error {
	b, err := bucket(s.tx, name)
	if err != nil {
		return err
	}
	cursor := b.Cursor()
	step := cursor.Next
	k, v := cursor.Seek(from)
	if s.sel.Query.Descending {
		step = cursor.Prev
		switch {
		case len(from) == 0 || k == nil:
			k, v = cursor.Last()
		case strings.Compare(string(k), string(from)) > 0:
			k, v = cursor.Prev()
		}
	}
	for ; k != nil; k, v = step() {
		if s.read++; s.read%ctxEvery == 0 && s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		if err := visit(k, v); err != nil {
			if errors.Is(err, errEnough) {
				return nil
			}
			return err
		}
	}
	return nil
}

// document takes a stored value as a hit if it is live, the query keeps it, and it lies after the place
// where the page begins.
func (s *scan) document(name string, id, sealed []byte) error {
	ref := store.Ref{Collection: s.sel.Query.Collection, ID: string(id)}
	payload, err := unseal(name, id, sealed)
	if err != nil {
		return corruptAt(name, id, err)
	}
	d, err := decodeRecord(ref, payload)
	if err != nil {
		return err
	}
	if !d.Live(s.db.now()) {
		return nil
	}
	place, ok := s.sel.Take(d)
	if !ok {
		return nil
	}
	if from, ok := s.sel.Resume(); ok && s.sel.Compare(place, from) <= 0 {
		return nil
	}
	s.hits = append(s.hits, hit{place, d})
	if len(s.hits) > s.sel.Limit {
		return errEnough
	}
	return nil
}

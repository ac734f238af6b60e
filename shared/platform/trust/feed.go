package trust

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

// feed follows what is revoked and quarantined by the store's feed of changes, so that a look costs what has
// changed and not what there is. One caller at a time uses it.
type feed struct {
	store    store.Store
	edges    map[string]edge // by collection
	building *revoked        // what has been read, also by looks that were cut short
	wholeAt  time.Time       // when the last look that got to the end began
}

// edge is how far a collection has been read. The store gives what lies at the position again.
type edge struct {
	position store.Position
	seen     map[store.Ref]int64 // the generations of what lies there
}

// past returns the edge behind a document.
func (e edge) past(doc store.Document) edge {
	if p := doc.Position(); p > e.position || e.seen == nil {
		e = edge{max(p, e.position), make(map[store.Ref]int64)}
	}
	e.seen[doc.Ref] = doc.Generation
	return e
}

// What a feed keeps to.
const (
	// readAnewAfter is how long after the last look everything is read anew: the store forgets deletions after a
	// day, and with one a quarantine that was lifted.
	readAnewAfter = 12 * time.Hour
	feedChunk     = 1024
	// settled is how long before a look that got to the end began a change must lie not to be looked for again,
	// for clocks that differ. The store itself looks back over commits that were under way.
	settled = 5 * time.Second
)

// followed are the collections of a feed.
var followed = []string{store.Revocations, store.Quarantines}

func newFeed(s store.Store) *feed { return &feed{store: s} }

// read returns what is revoked by now. A look that fails keeps how far it got, so that the next one ends
// sooner; what it found counts only when one has got to the end.
func (f *feed) read(ctx context.Context, now time.Time) (*revoked, error) {
	if f.building == nil || now.Sub(f.wholeAt) > readAnewAfter && !f.wholeAt.IsZero() {
		f.edges, f.building, f.wholeAt = make(map[string]edge), new(revoked), time.Time{}
		f.building.sweptAt = now
	}
	for _, collection := range followed {
		if err := f.follow(ctx, collection, now); err != nil {
			return nil, fmt.Errorf("read %s: %w", collection, err)
		}
	}
	next, err := f.building.next(nil, now)
	if err != nil {
		return nil, err
	}
	f.building, f.wholeAt = next, now
	return next, nil
}

// follow takes in what has changed in a collection.
func (f *feed) follow(ctx context.Context, collection string, now time.Time) error {
	var chunk []store.Document
	take := func() error {
		next, err := f.building.next(chunk, now)
		if err != nil {
			return err
		}
		f.building = next
		for _, doc := range chunk {
			f.edges[collection] = f.edges[collection].past(doc)
		}
		chunk = chunk[:0]
		return nil
	}
	since := f.edges[collection].position
	if !f.wholeAt.IsZero() { // or else the last of many changes would have all of them read each time
		since = max(since, store.Position(f.wholeAt.Add(-settled).UnixMicro()))
	}
	for doc, err := range f.store.Changes(ctx, collection, since) {
		if err != nil { // a damaged document among others: it might be the one that matters
			return errors.Join(err, take())
		}
		if f.edges[collection].seen[doc.Ref] == doc.Generation {
			continue
		}
		if chunk = append(chunk, doc); len(chunk) == feedChunk {
			if err := take(); err != nil {
				return err
			}
		}
	}
	return take()
}

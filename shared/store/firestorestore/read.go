package firestorestore

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/iterator"

	"github.com/isectech/service-networking/shared/store"
)

const (
	// overlap is how much longer than its timestamp a commit may take: so far back from a position the
	// feed's query begins. What it yields is judged by the commit time itself.
	overlap = 20 * time.Second
	// slack is how far the server's two clocks may disagree about which of both times comes first.
	slack = time.Second
	// readTimeout bounds a read, and each step of a feed: the client by itself tries again for minutes.
	readTimeout = 10 * time.Second
)

// Get returns a live document.
func (s *Store) Get(ctx context.Context, ref store.Ref) (store.Document, error) {
	docs, err := s.GetAll(ctx, []store.Ref{ref})
	if err != nil {
		return store.Document{}, err
	}
	if docs[0].Generation == 0 {
		return store.Document{}, fmt.Errorf("get: %s: %w", ref, store.ErrNotFound)
	}
	return docs[0], nil
}

// GetAll returns the live documents among refs, all of one moment.
func (s *Store) GetAll(ctx context.Context, refs []store.Ref) ([]store.Document, error) {
	if err := store.ValidateRefs(refs); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	snaps, err := s.snapshots(ctx, refs)
	if err != nil {
		return nil, fmt.Errorf("get: %w", mapped(ctx, err))
	}
	now := s.now()
	docs := make([]store.Document, len(refs))
	for i, snap := range snaps {
		if !snap.Exists() {
			continue
		}
		d, err := documentOf(snap)
		if err != nil {
			return nil, fmt.Errorf("get: %w", err)
		}
		if d.Live(now) {
			docs[i] = d
		}
	}
	return docs, nil
}

func (s *Store) snapshots(ctx context.Context, refs []store.Ref) ([]*firestore.DocumentSnapshot, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(refs) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	asked := make([]*firestore.DocumentRef, len(refs))
	for i, ref := range refs {
		asked[i] = s.doc(ref)
	}
	return s.client.GetAll(ctx, asked)
}

// Query returns a page.
func (s *Store) Query(ctx context.Context, q store.Query) (store.Page, error) {
	sel, err := q.Plan()
	if err != nil {
		return store.Page{}, fmt.Errorf("query: %w", err)
	}
	page, err := s.query(ctx, sel)
	if err != nil {
		return store.Page{}, fmt.Errorf("query %s: %w", q.Collection, mapped(ctx, err))
	}
	return page, nil
}

func (s *Store) query(ctx context.Context, sel *store.Selection) (store.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	base := s.nativeQuery(sel)
	next := base
	if place, ok := sel.Resume(); ok {
		next = base.StartAfter(cursor(sel, place.Value.Value(), place.ID)...)
	}
	var page store.Page
	var last store.Place
	now := s.now()
	// What is deleted or expired, or has a field that orders nothing, is found out here; so it may take
	// several of Firestore's pages to fill one.
	for want := sel.Limit + 1; ; want = min(2*want, store.MaxPage+1) {
		snaps, err := next.Limit(want).Documents(ctx).GetAll()
		if err != nil {
			return store.Page{}, err
		}
		for _, snap := range snaps {
			d, err := documentOf(snap)
			if err != nil {
				return store.Page{}, err
			}
			place, ok := sel.Take(d)
			if !ok || !d.Live(now) {
				continue
			}
			if len(page.Documents) == sel.Limit {
				page.Next, err = sel.Next(last)
				return page, err
			}
			page.Documents = append(page.Documents, d)
			last = place
		}
		if len(snaps) < want {
			return page, nil
		}
		next = base.StartAfter(snaps[len(snaps)-1])
	}
}

// nativeQuery asks Firestore for what the selection keeps, in its order.
func (s *Store) nativeQuery(sel *store.Selection) firestore.Query {
	q := s.client.Collection(sel.Query.Collection).Query
	for _, f := range sel.Query.Where {
		op := string(f.Op)
		if f.Op == store.Contains {
			op = "array-contains"
		}
		q = q.WherePath(fieldPath(f.Field), op, f.Value)
	}
	direction := firestore.Asc
	if sel.Query.Descending {
		direction = firestore.Desc
	}
	if sel.Query.OrderBy != "" {
		q = q.OrderByPath(fieldPath(sel.Query.OrderBy), direction)
	}
	return q.OrderBy(firestore.DocumentID, direction)
}

func fieldPath(field string) firestore.FieldPath { return strings.Split(field, ".") }

// cursor returns the values of a place, as the order of nativeQuery wants them.
func cursor(sel *store.Selection, value any, id string) []any {
	if sel.Query.OrderBy == "" {
		return []any{id}
	}
	return []any{value, id}
}

// Changes yields the documents of a collection committed after a position.
//
// The query orders by updated_at, which the server takes from its clock shortly before the commit; what
// it gives is put into the order of the commits, by holding a document back until no earlier commit can
// follow. One query reads one moment: so whoever has seen a commit has been given all before it.
func (s *Store) Changes(ctx context.Context, collection string, since store.Position) iter.Seq2[store.Document, error] {
	return func(yield func(store.Document, error) bool) {
		if err := store.ValidateFeed(collection, since); err != nil {
			yield(store.Document{}, fmt.Errorf("changes: %w", err))
			return
		}
		if err := s.changes(ctx, collection, since, yield); err != nil {
			yield(store.Document{}, fmt.Errorf("changes of %s: %w", collection, mapped(ctx, err)))
		}
	}
}

func (s *Store) changes(ctx context.Context, collection string, since store.Position, yield func(store.Document, error) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	q := s.client.Collection(collection).OrderBy(fieldUpdatedAt, firestore.Asc)
	if since > 0 {
		q = q.Where(fieldUpdatedAt, ">", time.UnixMicro(int64(since)).Add(-overlap))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	it := q.Documents(ctx)
	defer it.Stop()
	var held byCommit
	for {
		// The consumer may take its time, the server may not.
		stuck := time.AfterFunc(readTimeout, cancel)
		snap, err := it.Next()
		stuck.Stop()
		if errors.Is(err, iterator.Done) {
			break
		}
		if err != nil {
			return err
		}
		d, err := documentOf(snap)
		if err != nil {
			if !yield(store.Document{}, fmt.Errorf("changes of %s: %w", collection, err)) {
				return nil
			}
			continue
		}
		// Documents of one commit share a position: whoever stopped among them gets all of them again.
		if d.Position() >= since {
			heap.Push(&held, d)
		}
		stamp, _ := snap.Data()[fieldUpdatedAt].(time.Time)
		if !held.yieldUntil(stamp.Add(-slack), yield) {
			return nil
		}
	}
	held.yieldUntil(time.Time{}, yield)
	return nil
}

// byCommit is a heap of documents by their commit time.
type byCommit []store.Document

func (h byCommit) Len() int           { return len(h) }
func (h byCommit) Less(i, j int) bool { return h[i].UpdatedAt.Before(h[j].UpdatedAt) }
func (h byCommit) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push adds a document, for package heap.
func (h *byCommit) Push(x any) {
	if d, ok := x.(store.Document); ok {
		*h = append(*h, d)
	}
}

// Pop removes the last document, for package heap.
func (h *byCommit) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	*h = (*h)[:last]
	return d
}

// yieldUntil yields what was committed up to a time, or all of it when the time is zero; false if the
// consumer wants no more.
func (h *byCommit) yieldUntil(until time.Time, yield func(store.Document, error) bool) bool {
	for h.Len() > 0 && (until.IsZero() || !(*h)[0].UpdatedAt.After(until)) {
		d, _ := heap.Pop(h).(store.Document)
		if !yield(d, nil) {
			return false
		}
	}
	return true
}

package registry

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

// cache keeps the current snapshot in step with the store. Changes come from two sides, the store's feed
// and the commits of this process, in any order and more than once; generations tell which is newer.
//
// A deletion is remembered until the feed has passed it. From then on, a document of which nothing is
// known and which is older than the feed's position can only be a late echo of something deleted.
type cache struct {
	store   store.Store
	onError func(error)
	version func(context.Context) (string, bool) // nil: there is none
	copy    func(context.Context) ([]store.Document, store.Position, error)
	current atomic.Pointer[Snapshot]
	watched watchers

	mu         sync.Mutex // held by the one who changes what follows
	leases     map[string]*lease
	tombstones map[store.Ref]tombstone
	positions  map[string]store.Position // of the feed, by collection
	looked     map[string]looked         // likewise
	filled     bool                      // a refresh has ended
	known      string                    // the version that the records were last read at; "" where there was none
	skipped    int                       // how often they have not been read since
	touched    map[scope]int64           // what changes that no watcher sees yet have to do with, and when the last was committed
	shared     sharedStrings
	lists      sharedLists
}

type tombstone struct {
	generation int64
	position   store.Position
}

func newCache(s store.Store, onError func(error)) *cache {
	c := &cache{
		store: s, onError: onError, leases: make(map[string]*lease),
		tombstones: make(map[store.Ref]tombstone), positions: make(map[string]store.Position), looked: make(map[string]looked), touched: make(map[scope]int64),
	}
	c.current.Store(new(Snapshot))
	return c
}

// applyOwn takes in what this process has committed.
func (c *cache) applyOwn(docs []store.Document, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := *c.current.Load()
	for _, doc := range docs {
		if doc.Generation != 0 && !c.stale(doc) {
			c.apply(&next, doc, now)
		}
	}
	c.show(&next)
	c.watched.hurry()
}

// show makes a snapshot the current one, and wakes those who wait for what can now be seen in it.
func (c *cache) show(next *Snapshot) {
	c.current.Store(next)
	for touched, at := range c.touched {
		if at <= next.whole {
			delete(c.touched, touched)
			c.watched.wake(touched)
		}
	}
}

// touch notes what a change has to do with.
func (c *cache) touch(e *entry, doc store.Document) {
	of := scope{e.ServiceName, e.Environment}
	c.touched[of] = max(c.touched[of], int64(doc.Position()))
}

// stale reports whether a document is an echo of something of which nothing is known any more, because
// it has been deleted and the feed has passed the deletion.
func (c *cache) stale(doc store.Document) bool {
	_, known := c.generation(doc.Ref)
	return !known && doc.Position() <= c.positions[doc.Ref.Collection]
}

// ahead reports whether the snapshot holds a commit of this process before which others may be missing.
func (c *cache) ahead() bool {
	s := c.current.Load()
	return s.index > s.whole
}

// generation returns the generation of a document that the cache has seen.
func (c *cache) generation(ref store.Ref) (int64, bool) {
	if t, ok := c.tombstones[ref]; ok {
		return t.generation, true
	}
	if ref.Collection == store.Leases {
		if l, ok := c.leases[ref.ID]; ok {
			return l.generation, true
		}
		return 0, false
	}
	if e, ok := c.current.Load().entries.get(ref.ID); ok {
		return e.generation, true
	}
	return 0, false
}

// apply takes one document into a snapshot under construction.
func (c *cache) apply(next *Snapshot, doc store.Document, now time.Time) {
	if doc.Ref.Collection == store.Leases {
		c.applyLease(next, doc, now)
		return
	}
	id := doc.Ref.ID
	e, known := next.entries.get(id)
	if known && e.generation >= doc.Generation || c.tombstones[doc.Ref].generation >= doc.Generation {
		return
	}
	if known {
		c.touch(e, doc)
	}
	if doc.Live(now) {
		record, err := decodeRecord(doc)
		if err == nil {
			delete(c.tombstones, doc.Ref)
			c.shared.record(record, &c.lists)
			e = &entry{Record: *record, generation: doc.Generation, updatedAt: doc.UpdatedAt.UTC(), lease: c.leaseOf(record)}
			next.put(e)
			c.touch(e, doc)
			return
		}
		c.onError(err) // what cannot be read is as good as gone
	}
	next.drop(id, int64(doc.Position()))
	c.tombstones[doc.Ref] = tombstone{doc.Generation, doc.Position()}
	if l, ok := c.leases[id]; ok && (l.deleted || l.generation == 0) {
		delete(c.leases, id)
	}
}

// leaseOf returns the lease that an instance shares with every snapshot, whether or not its end is known.
func (c *cache) leaseOf(record *Record) *lease {
	if record.Lease == 0 {
		return nil
	}
	l, ok := c.leases[record.ServiceID]
	if !ok {
		l = &lease{generation: c.tombstones[leaseRef(record.ServiceID)].generation}
		c.leases[record.ServiceID] = l
	}
	return l
}

func (c *cache) applyLease(next *Snapshot, doc store.Document, now time.Time) {
	id := doc.Ref.ID
	l, ok := c.leases[id]
	if ok && l.generation >= doc.Generation || c.tombstones[doc.Ref].generation >= doc.Generation {
		return
	}
	e, registered := next.entries.get(id)
	if !doc.Live(now) {
		if ok {
			l.end.Store(0)
			l.generation, l.deleted = doc.Generation, true
			if registered {
				next.unsettle(e)
			}
		}
		if !registered {
			delete(c.leases, id)
		}
		c.tombstones[doc.Ref] = tombstone{doc.Generation, doc.Position()}
		return
	}
	var data leaseData
	if err := doc.Decode(&data); err != nil {
		c.onError(err)
		return
	}
	if !ok {
		l = new(lease)
		c.leases[id] = l
	}
	delete(c.tombstones, doc.Ref)
	l.generation, l.deleted = doc.Generation, false
	ended := l.end.Swap(data.EndsAt)
	if missed := l.missed.Swap(false); registered && (missed || data.EndsAt < ended) {
		next.unsettle(e)
	}
}

// refresh brings the snapshot up to date with the store. A registration and its lease are committed
// together, so reading the records before the leases never shows a record without the lease it came with.
func (c *cache) refresh(ctx context.Context, now time.Time) error {
	own := c.current.Load().index // what the store has from before this is read now
	records, err := c.readRecords(ctx, now)
	if err != nil {
		return err
	}
	leases, err := c.read(ctx, store.Leases, now)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applyAll(leases.documents, now)
	c.applyAll(records.documents, now)
	c.positions[store.Services] = max(c.positions[store.Services], records.newest)
	c.positions[store.Leases] = max(c.positions[store.Leases], leases.newest)
	if c.looked[store.Leases] = leases.looked; !records.skipped {
		c.looked[store.Services] = records.looked
	}
	for ref, t := range c.tombstones {
		if t.position <= c.positions[ref.Collection] {
			delete(c.tombstones, ref)
		}
	}
	next := *c.current.Load()
	if next.whole = max(next.whole, int64(c.positions[store.Services])); !records.skipped {
		next.whole = max(next.whole, own)
	}
	if !c.filled {
		c.filled = true
		next.begin()
	}
	c.show(&next)
	return nil
}

// maxSkipped is how often in a row the records are taken to be as they were because their version is: what
// nobody could tell the version's keeper is found out by then.
const maxSkipped = 4

// readRecords reads the changes of the records, unless their version says that there are none.
func (c *cache) readRecords(ctx context.Context, now time.Time) (changes, error) {
	version, ok := "", false
	if c.version != nil {
		version, ok = c.version(ctx) // before the store is read, so that what comes in between is read again
	}
	if !ok {
		version = ""
	}
	c.mu.Lock()
	same := c.filled && ok && version == c.known && c.skipped < maxSkipped && !c.ahead()
	if same {
		c.skipped++
	}
	c.mu.Unlock()
	if same {
		return changes{skipped: true}, nil
	}
	c.start(ctx, now)
	got, err := c.read(ctx, store.Services, now)
	if err == nil {
		c.mu.Lock()
		c.known, c.skipped = version, 0
		c.mu.Unlock()
	}
	return got, err
}

// copyTimeout bounds the reading of a copy: the store may be asked for as long again.
const copyTimeout = 3 * time.Second

// start spares the first reading what a copy of the records has. The copy is of a moment at which the feed is taken
// up, so that what has changed since, or gone, is found there.
func (c *cache) start(ctx context.Context, now time.Time) {
	c.mu.Lock()
	begun := c.filled || c.positions[store.Services] != 0
	c.mu.Unlock()
	if begun || c.copy == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, copyTimeout)
	defer cancel()
	docs, position, err := c.copy(ctx)
	if err != nil || position <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applyAll(docs, now)
	next := *c.current.Load()
	next.index = max(next.index, int64(position)) // what was removed before this is not known
	c.show(&next)
	c.positions[store.Services] = position
}

// applyAll takes documents in as one change of the snapshot.
func (c *cache) applyAll(docs []store.Document, now time.Time) {
	next := *c.current.Load()
	for _, doc := range docs {
		c.apply(&next, doc, now)
	}
	c.show(&next)
}

// changes is what the feed of a collection had to tell.
type changes struct {
	documents []store.Document
	newest    store.Position
	looked    looked
	skipped   bool // nothing was read
}

// fillChunk is how many documents of a first reading are held at a time.
const fillChunk = 512

// read reads the changes of a collection since the last refresh. Until the first has ended nobody looks
// at the snapshot, so a first reading is taken in piece by piece; a later one comes back as a whole.
func (c *cache) read(ctx context.Context, collection string, now time.Time) (changes, error) {
	c.mu.Lock()
	filled := c.filled
	since, was := c.since(collection, now)
	c.mu.Unlock()
	var got changes
	for doc, err := range c.store.Changes(ctx, collection, since) {
		if err != nil {
			return changes{}, fmt.Errorf("reading changes of %s: %w", collection, err)
		}
		got.newest = max(got.newest, doc.Position())
		if got.documents = append(got.documents, doc); !filled && len(got.documents) == fillChunk {
			c.mu.Lock()
			c.applyAll(got.documents, now)
			c.mu.Unlock()
			got.documents = got.documents[:0]
		}
	}
	got.looked = was
	return got, nil
}

// looked is when a collection was last read to the end.
type looked struct {
	begun time.Time // of the last time
	whole time.Time // of the last time from the feed's own position
}

const (
	// settled is how long before a reading that got to the end began a change must lie not to be looked for
	// again, for clocks that differ. The store itself looks back over commits that were under way.
	settled = 10 * time.Second
	// unsettled is how often the clock is not relied on: what one hid that is further off is found by then.
	unsettled = 5 * time.Minute
)

// since returns where a reading of a collection begins, and what to note of it when it has got to the end. A feed
// gives again what lies shortly before its position, so where many documents were the last to change they would
// all be read each time; from a moment at which the feed was read to the end there is nothing to give again.
func (c *cache) since(collection string, now time.Time) (store.Position, looked) {
	since, last := c.positions[collection], c.looked[collection]
	if from := now.Sub(last.whole); !c.filled || from < 0 || from >= unsettled {
		return since, looked{begun: now, whole: now}
	}
	return max(since, store.Position(last.begun.Add(-settled).UnixMicro())), looked{begun: now, whole: last.whole}
}

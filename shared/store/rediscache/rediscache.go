// Package rediscache puts Redis before a store: Get and GetAll of service records are answered from the keys
// service:<id> where they can be, and commits keep those keys and each environment's feed of recent changes
// (Feed) in step. The inner store stays the truth. Whatever is doubtful in Redis (garbage, a document that
// has expired, one older than this process knows of) and any failure of Redis means that the inner store is
// asked; nothing fails because of Redis.
//
// # What a reader sees
//
// Get of package store must see every commit that returned before it began. Through this decorator:
//
//   - It does, exactly, as long as Redis answers and keeps what it has acknowledged, whichever process
//     committed. A commit first removes the record from Redis and enters itself in a set of writers of that
//     document; while the set has anyone in it no record may be put in place, so that readers go to the inner
//     store. Only then does the commit happen. A reader that finds nothing gets a token before it reads the
//     inner store, and may put the record in place only while that token stands: a writer takes it away. If
//     a writer dies in between, its entry keeps readers away from Redis until it expires.
//   - It does, exactly, for commits of the same process, whatever Redis does: the process remembers the
//     generations that it has seen and takes nothing older from Redis. So no reader goes back behind what any
//     reader of its process has seen.
//   - A commit of another process may go unseen for at most Options.Bound, 5 seconds unless set, where that
//     process could not reach Redis after it, and before it either could not or took more than two fifths of
//     Bound from then on; or where Redis lost what it had acknowledged, as in a failover. By then nothing in
//     Redis is older than the commit.
//   - With Options.Local set, a commit of another process may also go unseen until Redis's notice of it has
//     arrived: about 0.1 ms after it began, and at most Local.
//
// Whoever needs the first sentence in all circumstances, such as a caller who reads in order to write, reads
// through Uncached. A stale generation can do no harm there, since it fails the precondition of the write, but
// Uncached does not run into it.
//
// The package knows Redis by an interface; *redis.Client of shared/platform/redis is made for it, and the tests
// that hold both together to the store's suite on a real redis-server are there.
package rediscache

import (
	"context"
	"iter"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

// Redis is what is needed of Redis. An error of any kind means that nothing is known. Each call ends within a
// short time of its own.
type Redis interface {
	// GetAll returns the strings at keys, nil for each that holds none.
	GetAll(ctx context.Context, keys []string) ([][]byte, error)
	// GetCached returns the string at a key by way of this process's memory, which Redis keeps up to date;
	// nothing is taken from memory for longer than ttl or than the key lives.
	GetCached(ctx context.Context, key string, ttl time.Duration) (value []byte, ok bool, err error)
	// Run runs a Lua script and returns what it returns.
	Run(ctx context.Context, script string, keys, args []string) ([]string, error)
}

// DefaultBound is Options.Bound where none is set. It is the platform's shortest bound on staleness.
const DefaultBound = 5 * time.Second

// readChunk is how many records are read, asked for or put in place at a time.
const readChunk = 100

// The results that Options.Observe is told.
const (
	Hit         = "hit"         // from Redis
	Miss        = "miss"        // Redis had nothing
	Doubtful    = "doubtful"    // what Redis had was not to be used
	Bypassed    = "bypassed"    // this process knows that what Redis has may be old
	Unavailable = "unavailable" // Redis could not be asked
)

// Options are what a Store needs besides its parts.
type Options struct {
	Now          func() time.Time    // the inner store's clock; required
	Environments []string            // all there are: the feeds that a change of unknown environment goes to
	Bound        time.Duration       // see the package comment; 0: DefaultBound
	Local        time.Duration       // how long Get may take a record from this process's memory; 0: it asks Redis
	Observe      func(result string) // if set, told of each record read; must be quick
}

// Store is the decorator. It is safe for concurrent use.
type Store struct {
	inner   store.Store
	redis   Redis
	options Options
	floors  *floors

	// What is in Redis when its time is over may have been put there by a command that was on its way until
	// an entry or a token expired, so the two lives together are the bound.
	recordLife time.Duration // of a record
	entryLife  time.Duration // of a writer's entry and of a reader's token
}

// New returns a store that reads from Redis what it can.
func New(inner store.Store, r Redis, o Options) *Store {
	if o.Bound <= 0 {
		o.Bound = DefaultBound
	}
	life := o.Bound * 3 / 5
	return &Store{
		inner: inner, redis: r, options: o, floors: newFloors(o.Bound),
		recordLife: life, entryLife: o.Bound - life,
	}
}

// Uncached returns the same store with all reads from the inner one. Its commits keep Redis in step.
func (s *Store) Uncached() store.Store { return uncached{s.inner, s} }

type uncached struct {
	store.Store
	cache *Store
}

// Commit implements store.Store.
func (u uncached) Commit(ctx context.Context, b store.Batch) ([]store.Document, error) {
	return u.cache.Commit(ctx, b)
}

// Query implements store.Store: the inner store answers.
func (s *Store) Query(ctx context.Context, q store.Query) (store.Page, error) {
	page, err := s.inner.Query(ctx, q)
	for _, d := range page.Documents {
		s.seen(d)
	}
	return page, err
}

// Changes implements store.Store: the inner store answers.
func (s *Store) Changes(ctx context.Context, collection string, since store.Position) iter.Seq2[store.Document, error] {
	return func(yield func(store.Document, error) bool) {
		for d, err := range s.inner.Changes(ctx, collection, since) {
			s.seen(d)
			if !yield(d, err) {
				return
			}
		}
	}
}

// seen makes sure that this process never goes back behind a document.
func (s *Store) seen(d store.Document) {
	if d.Ref.Collection == store.Services && d.Generation > 0 {
		s.floors.raise(d.Ref.ID, d.Generation)
	}
}

func (s *Store) observe(result string) {
	if s.options.Observe != nil {
		s.options.Observe(result)
	}
}

// The keys of a document. Under service: lie records and nothing else.
func recordKey(id string) string  { return "service:" + id }
func writersKey(id string) string { return "registry:writers:" + id }
func readerKey(id string) string  { return "registry:reader:" + id }

func documentKeys(keys []string, id string) []string {
	return append(keys, recordKey(id), writersKey(id), readerKey(id))
}

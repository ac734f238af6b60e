package registry

import (
	"iter"
	"sync/atomic"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/store"
)

// Snapshot is the whole registry at one moment, immutable but for the ends of leases, which heartbeats
// move in place. A change makes a new one that shares all that stayed.
type Snapshot struct {
	entries  trie[*entry] // by id
	services services     // by name
	postings postings
	statuses [statusCount]int
	index    int64                    // commit time, in microseconds, of the newest change contained
	whole    int64                    // likewise, of the newest up to which no change is missing: own commits run ahead of others
	sums     [environmentCount]uint64 // of all services; see pool
	gone     []departure              // the latest, oldest first
	horizon  int64                    // departures before this are not known
}

// entry is one instance of a snapshot.
type entry struct {
	Record     // without LeaseEnd
	generation int64
	updatedAt  time.Time
	lease      *lease // nil where the registration has none
}

// lease is the end of an instance's lease, shared by all snapshots.
type lease struct {
	end        atomic.Int64 // microseconds; 0: none is known, which counts as ended
	missed     atomic.Bool  // a table was built without the instance since it had ended
	generation int64        // of the stored lease; the cache's writer alone uses it
	deleted    bool         // likewise
}

// lapsed reports whether the lease has ended at a time in microseconds.
func (e *entry) lapsed(now int64) bool { return e.lease != nil && e.lease.end.Load() <= now }

// missed is lapsed for who builds a table: whoever renews the lease afterwards has it built anew.
func (e *entry) missed(now int64) bool {
	if !e.lapsed(now) {
		return false
	}
	e.lease.missed.Store(true)
	return e.lapsed(now) // it may have been renewed before that
}

// Instance is what readers see of an instance. It is shared: its lists and map must not be changed.
type Instance struct {
	Registration
	Status         Status     `json:"status"`
	StatusSince    time.Time  `json:"status_since"`
	StatusReason   string     `json:"status_reason,omitempty"` // what the prober found
	Generation     int64      `json:"generation"`
	RegisteredAt   time.Time  `json:"registered_at"`
	UpdatedAt      time.Time  `json:"updated_at"`
	LeaseExpiresAt *time.Time `json:"lease_expires_at,omitempty"`
	Lapsed         bool       `json:"lapsed,omitzero"` // the lease has ended; no one discovers the instance
}

func (e *entry) instance(now int64) Instance {
	i := Instance{
		Registration: e.Registration, Status: e.Status, StatusSince: e.StatusSince, StatusReason: e.StatusReason,
		Generation: e.generation, RegisteredAt: e.RegisteredAt, UpdatedAt: e.updatedAt,
	}
	if e.lease != nil {
		end := e.lease.end.Load()
		if i.Lapsed = end <= now; end != 0 {
			t := time.UnixMicro(end).UTC()
			i.LeaseExpiresAt = &t
		}
	}
	return i
}

const environmentCount = 3

// place returns the environment's place in a service's pools, or -1.
func place(env auth.Environment) int {
	switch env {
	case auth.Production:
		return 0
	case auth.Staging:
		return 1
	case auth.Development:
		return 2
	default:
		return -1
	}
}

// put adds or replaces an instance.
func (s *Snapshot) put(e *entry) {
	moved, sum := 1, e.print()
	if old, ok := s.entries.get(e.ServiceID); ok {
		if old.ServiceName == e.ServiceName && old.Environment == e.Environment {
			moved, sum = 0, sum-old.print()
		} else {
			s.touch(old, -1, -old.print())
		}
		s.forget(old, e)
	}
	s.entries = s.entries.with(e.ServiceID, e)
	s.statuses[e.Status.ordinal()]++
	for p := range e.postings() {
		s.postings = s.postings.with(p)
	}
	s.touch(e, moved, sum)
	s.index = max(s.index, e.updatedAt.UnixMicro())
}

// drop removes an instance; at is the commit time of its deletion.
func (s *Snapshot) drop(id string, at int64) {
	s.index = max(s.index, at)
	old, ok := s.entries.get(id)
	if !ok {
		return
	}
	s.touch(old, -1, -old.print())
	s.forget(old, nil)
	s.entries = s.entries.without(id)
	s.depart(old, at)
}

// forget removes what the indexes hold of an instance, but for what its successor keeps.
func (s *Snapshot) forget(old, next *entry) {
	s.statuses[old.Status.ordinal()]--
	keep := make(map[posting]bool)
	if next != nil {
		for p := range next.postings() {
			keep[p] = true
		}
	}
	for p := range old.postings() {
		if !keep[p] {
			s.postings = s.postings.without(p)
		}
	}
}

// touch renews the pool that an instance belongs to, whose number of instances changes by delta and whose prints
// change by sum.
func (s *Snapshot) touch(e *entry, delta int, sum uint64) {
	next, _ := s.services.get(e.ServiceName)
	at := place(e.Environment)
	s.sums[at] += sum
	next.pools[at] = next.pools[at].renew(delta, sum)
	for _, p := range next.pools {
		if p != nil {
			s.services = s.services.with(e.ServiceName, next)
			return
		}
	}
	s.services = s.services.without(e.ServiceName)
}

// unsettle has the table that an instance is picked from built anew, since its lease is not what that knows.
func (s *Snapshot) unsettle(e *entry) {
	if of, ok := s.services.get(e.ServiceName); ok {
		of.pools[place(e.Environment)].epoch.Add(1)
	}
}

// postings yields the terms that an instance is found under.
func (e *entry) postings() iter.Seq[posting] {
	return func(yield func(posting) bool) {
		id := e.ServiceID
		if !yield(posting{byID, "", id}) || !yield(posting{byName, e.ServiceName, id}) ||
			!yield(posting{byEnvironment, string(e.Environment), id}) || !yield(posting{byStatus, string(e.Status), id}) ||
			e.Region != "" && !yield(posting{byRegion, e.Region, id}) {
			return
		}
		for _, tag := range e.Tags {
			if !yield(posting{byTag, tag, id}) {
				return
			}
		}
	}
}

// InstanceOf returns the instance that a stored document of the collection services holds. Its lease is
// not in there.
func InstanceOf(doc store.Document) (Instance, error) {
	record, err := decodeRecord(doc)
	if err != nil {
		return Instance{}, err
	}
	return Instance{
		Registration: record.Registration, Status: record.Status, StatusSince: record.StatusSince, StatusReason: record.StatusReason,
		Generation: doc.Generation, RegisteredAt: record.RegisteredAt, UpdatedAt: doc.UpdatedAt,
	}, nil
}

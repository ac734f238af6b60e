package firestorestore

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"cloud.google.com/go/firestore"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"

	"github.com/isectech/service-networking/shared/store"
)

const (
	// attemptTimeout bounds one attempt. It is well below overlap, so that a commit is in the feed's query
	// before the feed has gone past it.
	attemptTimeout = 8 * time.Second
	// maxFailures bounds how often an attempt may fail for another reason than contention.
	maxFailures = 3

	backoffFirst = 8 * time.Millisecond
	backoffMost  = 600 * time.Millisecond
)

// Commit writes a batch: it reads, decides, and writes on condition that nothing has changed, again and
// again until ctx ends. An attempt whose answer is lost is looked up in the journal before the next one.
func (s *Store) Commit(ctx context.Context, b store.Batch) ([]store.Document, error) {
	prepared, err := store.Prepare(b)
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	refs := prepared.Refs()
	if once, ok := prepared.Once(); ok {
		refs = append(refs, once)
	}
	done, err := s.turns.take(ctx, refs)
	if err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	defer done()
	c := &commit{store: s, prepared: prepared, id: crand.Text()}
	failures := 0
	for try := 0; ; try++ {
		docs, err := c.attempt(ctx)
		switch {
		case err == nil:
			return docs, nil
		case ctx.Err() != nil || !errors.Is(err, errAgain):
			return nil, fmt.Errorf("commit: %w", mapped(ctx, err))
		case !contention(err):
			if failures++; failures == maxFailures {
				return nil, fmt.Errorf("commit: %w", mapped(ctx, err))
			}
		}
		if err := pause(ctx, try); err != nil {
			return nil, fmt.Errorf("commit: %w", err)
		}
	}
}

// errAgain marks what another attempt may mend.
var errAgain = errors.New("try again")

// contention reports whether an attempt failed only because somebody else was quicker.
func contention(err error) bool {
	switch code(err) {
	case codes.Aborted, codes.AlreadyExists, codes.FailedPrecondition, codes.NotFound:
		return true
	default:
		return false
	}
}

// lost reports whether an attempt failed in a way that leaves open whether it was applied.
func lost(err error) bool {
	switch code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Internal, codes.Unknown, codes.Canceled, codes.ResourceExhausted:
		return true
	default:
		return false
	}
}

// pause waits a random time that may be longer the more tries there were.
func pause(ctx context.Context, try int) error {
	most := min(backoffMost, backoffFirst<<min(try, 10))
	timer := time.NewTimer(rand.N(most)) // #nosec G404 -- jitter, not a secret
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// commit is one Commit over all its attempts.
type commit struct {
	store    *Store
	prepared store.Prepared
	id       string // in all the entries it makes

	// What attempts that failed would have written, and may have written after all: those whose answer
	// is lost, and the last one, since the client repeats a call by itself when its answer is lost.
	unsure []store.Outcome
	last   *store.Outcome

	refused error // the last attempt failed for good, unless it was applied
}

// attempt reads, decides and writes once. An error that another attempt may mend is marked by errAgain.
func (c *commit) attempt(ctx context.Context) ([]store.Document, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	refs := c.prepared.Refs()
	writes := len(refs)
	once, isOnce := c.prepared.Once()
	if isOnce {
		refs = append(refs, once)
	}
	tried := c.tried()
	for _, out := range tried {
		refs = append(refs, out.Journal[0].Ref)
	}
	snaps, err := c.store.snapshots(ctx, refs)
	if err != nil {
		return nil, err
	}
	for i, out := range tried {
		if docs, err := c.applied(out, snaps[len(snaps)-len(tried)+i]); docs != nil || err != nil {
			return docs, err
		}
	}
	if c.refused != nil {
		return nil, c.refused
	}
	if isOnce && snaps[writes].Exists() {
		return nil, fmt.Errorf("%s: %w", once, store.ErrDuplicate)
	}
	snaps = snaps[:writes]
	current, err := c.store.current(ctx, c.prepared.Refs(), snaps)
	if err != nil {
		return nil, err
	}
	now := c.store.now()
	out, err := c.prepared.Plan(current, now, c.id)
	if err != nil {
		return nil, err
	}
	if !writesAnything(out) {
		return out.Documents, nil
	}
	at, err := c.store.write(ctx, snaps, out, now)
	if err == nil {
		return stamped(out.Documents, at), nil
	}
	c.last = &out
	switch {
	case contention(err):
	case lost(err):
		c.unsure = append(c.unsure, out)
	default:
		// Also this may be the answer to a repetition of what was applied: one look decides.
		c.refused = err
	}
	return nil, fmt.Errorf("%w: %w", errAgain, err)
}

// tried returns the failed attempts that can be looked up: those with an entry.
func (c *commit) tried() []store.Outcome {
	if c.last == nil || len(c.last.Journal) == 0 {
		return nil
	}
	return append(slices.Clone(c.unsure), *c.last)
}

// applied returns the documents of a failed attempt if its entry is in the journal after all.
func (c *commit) applied(out store.Outcome, snap *firestore.DocumentSnapshot) ([]store.Document, error) {
	if !snap.Exists() {
		return nil, nil
	}
	d, err := documentOf(snap)
	if err != nil {
		return nil, err
	}
	var entry struct {
		Commit string `json:"commit"`
	}
	if err := d.Decode(&entry); err != nil || entry.Commit != c.id {
		return nil, err
	}
	return stamped(out.Documents, d.UpdatedAt), nil
}

// current returns the state of documents that a commit goes on from. What is not there may have been
// removed by TTL; then its last entry is what remains of it.
func (s *Store) current(ctx context.Context, refs []store.Ref, snaps []*firestore.DocumentSnapshot) ([]store.Document, error) {
	current := make([]store.Document, len(refs))
	group, ctx := errgroup.WithContext(ctx)
	for i, ref := range refs {
		if snaps[i].Exists() {
			d, err := documentOf(snaps[i])
			if err != nil {
				return nil, err
			}
			current[i] = d
			continue
		}
		if !store.Journaled(ref.Collection) {
			continue
		}
		group.Go(func() error {
			last, err := store.LastEntry(ctx, s, ref.String())
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			current[i] = store.Remains(ref, last)
			return nil
		})
	}
	return current, group.Wait()
}

// write writes all of an outcome or nothing, provided the documents are still as in snaps, and returns
// the commit time.
func (s *Store) write(ctx context.Context, snaps []*firestore.DocumentSnapshot, out store.Outcome, now time.Time) (time.Time, error) {
	// A transaction that reads nothing locks nothing before its commit, and is the client's only way to
	// write several documents atomically that is not deprecated.
	var response firestore.CommitResponse
	err := s.client.RunTransaction(ctx, func(_ context.Context, tx *firestore.Transaction) error {
		for i, d := range out.Documents {
			if d.Generation == 0 {
				continue
			}
			if err := put(tx, s.doc(d.Ref), snaps[i], d, now); err != nil {
				return err
			}
		}
		for _, d := range out.Journal {
			fields, err := fieldsOf(d, now)
			if err != nil {
				return err
			}
			if err := tx.Create(s.doc(d.Ref), fields); err != nil {
				return err
			}
		}
		return nil
	}, firestore.MaxAttempts(1), firestore.WithCommitResponseTo(&response))
	if err != nil {
		return time.Time{}, err
	}
	results, err := response.WriteResults()
	if err != nil {
		return time.Time{}, err
	}
	return results[0].UpdateTime.UTC().Truncate(time.Microsecond), nil
}

// put writes one document over what the snapshot shows, leaving no field of that behind.
func put(tx *firestore.Transaction, doc *firestore.DocumentRef, snap *firestore.DocumentSnapshot, d store.Document, now time.Time) error {
	fields, err := fieldsOf(d, now)
	if err != nil {
		return err
	}
	if !snap.Exists() {
		return tx.Create(doc, fields)
	}
	for name := range snap.Data() {
		if _, stays := fields[name]; !stays {
			fields[name] = firestore.Delete
		}
	}
	updates := make([]firestore.Update, 0, len(fields))
	for name, value := range fields {
		updates = append(updates, firestore.Update{FieldPath: firestore.FieldPath{name}, Value: value})
	}
	return tx.Update(doc, updates, firestore.LastUpdateTime(snap.UpdateTime))
}

func writesAnything(out store.Outcome) bool {
	return len(out.Journal) > 0 ||
		slices.ContainsFunc(out.Documents, func(d store.Document) bool { return d.Generation > 0 })
}

// stamped sets the commit time of the documents that were written.
func stamped(docs []store.Document, at time.Time) []store.Document {
	for i := range docs {
		if docs[i].Generation > 0 {
			docs[i].UpdatedAt = at
		}
	}
	return docs
}

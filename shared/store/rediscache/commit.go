package rediscache

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"github.com/isectech/service-networking/shared/store"
)

// writer is one commit on its way through Redis.
type writer struct {
	token   string
	ids     []string // of the service records that it writes
	feeds   []string // the environments whose feeds may change
	entered bool     // Redis has acknowledged the entry, which therefore was there before the commit
	was     []string // what the indexes of the feeds were before
}

// change is what a commit has done to a document.
type change struct {
	id          string
	generation  int64 // 0: nothing
	record      []byte
	life        string
	at          store.Position // 0: not a change for the feeds
	environment string         // "": any
}

// Commit implements store.Store: the inner store commits, and Redis is brought in step before and after.
func (s *Store) Commit(ctx context.Context, b store.Batch) ([]store.Document, error) {
	w := s.writer(b)
	if len(w.ids) == 0 {
		return s.inner.Commit(ctx, b)
	}
	s.enter(ctx, w)
	docs, err := s.inner.Commit(ctx, b)
	// The commit has happened or not by now, whether or not its caller still waits.
	after := context.WithoutCancel(ctx)
	conflict, isConflict := errors.AsType[*store.ConflictError](err)
	var changes []change
	switch {
	case err == nil:
		changes = s.committed(b, docs)
	case isConflict:
		changes = s.conflicting(w, conflict)
	case errors.Is(err, store.ErrInvalid) || errors.Is(err, store.ErrDuplicate):
		changes = unchanged(w)
	default: // it may have happened, or still happen: the entry keeps readers away until it expires
		for _, id := range w.ids {
			s.floors.raise(id, unknown)
		}
		if !w.entered {
			s.enter(after, w)
		}
		return docs, err
	}
	_ = s.leave(after, w, changes) // entries expire, and so does what a writer who is not heard of has left
	return docs, err
}

// writer says what a batch will have to do with Redis.
func (s *Store) writer(b store.Batch) *writer {
	w := new(writer)
	for _, write := range b.Writes {
		if write.Ref.Collection != store.Services {
			continue
		}
		if len(b.Writes) > store.MaxWrites || write.Ref.Validate() != nil || slices.Contains(w.ids, write.Ref.ID) {
			return new(writer) // will be refused
		}
		w.ids = append(w.ids, write.Ref.ID)
		w.addFeeds(s.feedsOf(environmentOf(write.Data)))
	}
	if len(w.ids) > 0 {
		w.token = rand.Text()
	}
	return w
}

func (w *writer) addFeeds(environments []string) {
	for _, env := range environments {
		if !slices.Contains(w.feeds, env) {
			w.feeds = append(w.feeds, env)
		}
	}
}

// feedsOf returns the environments whose feeds a change goes to: its own, and where that is not known, as of
// a deletion, all of them.
func (s *Store) feedsOf(environment string) []string {
	if i := slices.Index(s.options.Environments, environment); i >= 0 {
		return s.options.Environments[i : i+1]
	}
	return s.options.Environments
}

// environmentOf reads the environment off a record's data; "" where it has none.
func environmentOf(data any) string {
	raw, ok := data.(json.RawMessage)
	if !ok && data != nil {
		var err error
		if raw, err = json.Marshal(data); err != nil {
			return "" // the inner store will say so
		}
	}
	var record struct {
		Environment string `json:"environment"`
	}
	if len(raw) == 0 || json.Unmarshal(raw, &record) != nil {
		return ""
	}
	return record.Environment
}

// enter announces a commit.
func (s *Store) enter(ctx context.Context, w *writer) {
	var keys []string
	for _, id := range w.ids {
		keys = documentKeys(keys, id)
	}
	for _, env := range w.feeds {
		keys = append(keys, indexKey(env), feedWritersKey(env))
	}
	was, err := s.redis.Run(ctx, enterScript, keys, []string{w.token, millis(s.entryLife), strconv.Itoa(len(w.ids))})
	if w.entered = err == nil && len(was) == len(w.feeds); w.entered {
		w.was = was
	}
}

// committed says what a commit has done.
func (s *Store) committed(b store.Batch, docs []store.Document) []change {
	changes := make([]change, 0, len(docs))
	for i, doc := range docs {
		if b.Writes[i].Ref.Collection != store.Services {
			continue
		}
		c := change{id: b.Writes[i].Ref.ID}
		if doc.Generation > 0 {
			s.seen(doc)
			c = s.changeOf(doc)
		}
		changes = append(changes, c)
	}
	return changes
}

func (s *Store) changeOf(doc store.Document) change {
	c := change{id: doc.Ref.ID, generation: doc.Generation, at: doc.Position(), environment: environmentOf(doc.Data)}
	if record, left := s.record(doc); record != nil {
		c.record, c.life = record, millis(left)
	}
	return c
}

// conflicting says what is known after a conflict: of one document that it is no older than the conflict
// says, or that it is not there.
func (s *Store) conflicting(w *writer, conflict *store.ConflictError) []change {
	changes := unchanged(w)
	for i := range changes {
		if conflict.Ref == (store.Ref{Collection: store.Services, ID: changes[i].id}) {
			if changes[i].generation = conflict.Generation; conflict.Generation == 0 {
				changes[i].generation = unknown
			}
			s.floors.raise(changes[i].id, changes[i].generation)
		}
	}
	return changes
}

func unchanged(w *writer) []change {
	changes := make([]change, len(w.ids))
	for i, id := range w.ids {
		changes[i].id = id
	}
	return changes
}

// leave tells Redis what has become of a commit. An entry that was not acknowledged may be made at any later
// time, so who has none puts nothing in place.
func (s *Store) leave(ctx context.Context, w *writer, changes []change) error {
	var keys []string
	args := []string{
		w.token, strconv.Itoa(len(changes)), millis(feedLife), strconv.Itoa(maxRecent),
		strconv.FormatInt(s.options.Now().Add(feedSkew).UnixMicro(), 10),
	}
	for _, c := range changes {
		keys = documentKeys(keys, c.id)
		args = append(args, strconv.FormatInt(c.generation, 10))
		if w.entered && c.record != nil {
			args = append(args, string(c.record), c.life)
		} else {
			args = append(args, "", "")
		}
	}
	for i, env := range w.feeds {
		keys = append(keys, indexKey(env), changesKey(env), feedWritersKey(env))
		was := ""
		if w.entered {
			was = w.was[i]
		}
		var news []string
		for _, c := range changes {
			if c.at > 0 && slices.Contains(s.feedsOf(c.environment), env) {
				news = append(news, c.id, strconv.FormatInt(int64(c.at), 10))
			}
		}
		args = append(append(args, was, strconv.Itoa(len(news)/2)), news...)
	}
	_, err := s.redis.Run(ctx, leaveScript, keys, args)
	return err
}

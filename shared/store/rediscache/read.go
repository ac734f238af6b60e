package rediscache

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

// finding is what Redis had to say of a document.
type finding int

const (
	nothing  finding = iota
	found            // a record that may be used
	doubtful         // something that may not
)

// reading is what one call has to do about the documents that Redis did not give it.
type reading struct {
	token   string
	granted map[string]bool // the documents that it may put in place
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, ref store.Ref) (store.Document, error) {
	if ref.Collection != store.Services || ref.Validate() != nil {
		return s.inner.Get(ctx, ref)
	}
	var r reading
	if s.floors.closed(ref.ID) {
		s.observe(Bypassed)
	} else if doc, what, err := s.look(ctx, ref.ID); err != nil {
		s.observe(Unavailable)
	} else if what == found {
		s.observe(Hit)
		return doc, nil
	} else {
		s.ask(ctx, &r, []string{ref.ID}, []finding{what})
	}
	doc, err := s.inner.Get(ctx, ref)
	switch {
	case err == nil:
		s.seen(doc)
		s.fill(ctx, r, []store.Document{doc})
	case errors.Is(err, store.ErrNotFound):
		s.floors.gone(ref.ID)
	}
	return doc, err
}

// look looks one document up in Redis.
func (s *Store) look(ctx context.Context, id string) (store.Document, finding, error) {
	var raw []byte
	var err error
	if s.options.Local > 0 {
		raw, _, err = s.redis.GetCached(ctx, recordKey(id), s.options.Local)
	} else {
		var all [][]byte
		if all, err = s.redis.GetAll(ctx, []string{recordKey(id)}); err == nil {
			raw = all[0]
		}
	}
	if err != nil {
		return store.Document{}, nothing, err
	}
	doc, what := s.judge(id, raw)
	return doc, what, nil
}

// judge decides whether a record may be used.
func (s *Store) judge(id string, raw []byte) (store.Document, finding) {
	if raw == nil {
		return store.Document{}, nothing
	}
	doc, ok := decodeRecord(raw)
	if !ok || doc.Ref.ID != id || !doc.Live(s.options.Now()) || !s.floors.admit(id, doc.Generation) {
		return store.Document{}, doubtful
	}
	return doc, found
}

// GetAll implements store.Store. Its answer need not be of one instant: some of it may come from Redis.
func (s *Store) GetAll(ctx context.Context, refs []store.Ref) ([]store.Document, error) {
	ids := s.cacheable(refs)
	if len(ids) == 0 || store.ValidateRefs(refs) != nil {
		return s.inner.GetAll(ctx, refs)
	}
	var r reading
	known := make(map[string]store.Document, len(ids))
	for chunk := range slices.Chunk(ids, readChunk) {
		if !s.lookAll(ctx, &r, chunk, known) {
			break // whatever is left is the inner store's to answer
		}
	}
	docs := make([]store.Document, len(refs))
	var rest []store.Ref
	var places []int
	for i, ref := range refs {
		if doc, ok := known[ref.ID]; ok && ref.Collection == store.Services {
			docs[i] = doc
		} else {
			rest, places = append(rest, ref), append(places, i)
		}
	}
	if len(rest) == 0 {
		return docs, nil
	}
	got, err := s.inner.GetAll(ctx, rest)
	if err != nil {
		return nil, err
	}
	for i, doc := range got {
		docs[places[i]] = doc
		if s.seen(doc); doc.Generation == 0 && rest[i].Collection == store.Services {
			s.floors.gone(rest[i].ID)
		}
	}
	for chunk := range slices.Chunk(got, readChunk) {
		s.fill(ctx, r, chunk)
	}
	return docs, nil
}

// lookAll looks documents up in Redis and asks for leave to put those in place that are not there. It reports
// whether Redis answered.
func (s *Store) lookAll(ctx context.Context, r *reading, ids []string, known map[string]store.Document) bool {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = recordKey(id)
	}
	raw, err := s.redis.GetAll(ctx, keys)
	if err != nil {
		s.observe(Unavailable)
		return false
	}
	var missing []string
	var findings []finding
	for i, id := range ids {
		doc, what := s.judge(id, raw[i])
		if what == found {
			s.observe(Hit)
			known[id] = doc
			continue
		}
		missing, findings = append(missing, id), append(findings, what)
	}
	s.ask(ctx, r, missing, findings)
	return true
}

// cacheable returns the ids of the documents among refs that Redis may be asked for, each once.
func (s *Store) cacheable(refs []store.Ref) []string {
	var ids []string
	seen := make(map[string]bool, len(refs))
	for _, r := range refs {
		if r.Collection != store.Services || seen[r.ID] {
			continue
		}
		if seen[r.ID] = true; s.floors.closed(r.ID) {
			s.observe(Bypassed)
			continue
		}
		ids = append(ids, r.ID)
	}
	return ids
}

// ask asks for leave to put documents in place, to be had before they are read; what was found in their
// place goes where it is doubtful.
func (s *Store) ask(ctx context.Context, r *reading, ids []string, what []finding) {
	if len(ids) == 0 {
		return
	}
	if r.token == "" {
		r.token, r.granted = rand.Text(), make(map[string]bool)
	}
	var keys []string
	args := []string{r.token, millis(s.entryLife)}
	for i, id := range ids {
		keys = documentKeys(keys, id)
		if what[i] == doubtful {
			s.observe(Doubtful)
			args = append(args, "1")
		} else {
			s.observe(Miss)
			args = append(args, "0")
		}
	}
	leave, err := s.redis.Run(ctx, askScript, keys, args)
	if err != nil || len(leave) != len(ids) {
		return
	}
	for i, id := range ids {
		if leave[i] == "1" {
			r.granted[id] = true
		}
	}
}

// fill puts documents in place, where no writer has come since leave was given. The zero Document stands for
// one that is absent, which is not remembered.
func (s *Store) fill(ctx context.Context, r reading, docs []store.Document) {
	var keys []string
	args := []string{r.token}
	for _, doc := range docs {
		if doc.Ref.Collection != store.Services || !r.granted[doc.Ref.ID] {
			continue
		}
		if record, left := s.record(doc); record != nil {
			keys = append(keys, recordKey(doc.Ref.ID), readerKey(doc.Ref.ID))
			args = append(args, string(record), millis(left))
		}
	}
	if len(keys) > 0 {
		_, _ = s.redis.Run(ctx, fillScript, keys, args) // a record that is not in place costs time, no more
	}
}

// record returns a document as Redis keeps it and for how long; nil where it is not to be kept.
func (s *Store) record(doc store.Document) ([]byte, time.Duration) {
	now := s.options.Now()
	if !doc.Live(now) || len(doc.Data) > maxRecordData {
		return nil, 0
	}
	left := s.recordLife
	if !doc.ExpiresAt.IsZero() {
		left = min(left, doc.ExpiresAt.Sub(now))
	}
	if left < time.Millisecond {
		return nil, 0
	}
	return encodeRecord(doc), left
}

// millis writes a duration as Redis wants it.
func millis(d time.Duration) string { return strconv.FormatInt(max(1, d.Milliseconds()), 10) }

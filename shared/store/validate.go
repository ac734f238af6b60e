package store

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of the calls.
const (
	MaxWrites       = 100
	MaxRefs         = 500
	MaxPage         = 500
	DefaultPage     = 100
	maxBatchBytes   = 8 << 20 // Firestore takes requests of 10 MiB
	maxIDBytes      = 512
	maxActorBytes   = 512
	maxCauseBytes   = 2 << 10
	maxOnceBytes    = 4 << 10
	maxFilters      = 10
	maxFilterBytes  = 1500 // as much of a string as Firestore indexes
	maxFieldBytes   = 1500
	maxSegments     = maxDepth
	maxExpiryYear   = 9999
	maxTokenBytes   = 16 << 10
	maxJournalLimit = MaxPage
)

var collections = []string{
	Services, Leases, Policies, Revocations, Quarantines, SigningKeys, APIKeys, Nonces, Certs, Rollouts, Health, Journal,
}

// Collections returns the names of all collections, the journal's last.
func Collections() []string { return slices.Clone(collections) }

// Validate returns ErrInvalid unless the ref is one that a document can have.
func (r Ref) Validate() error {
	if err := validCollection(r.Collection); err != nil {
		return err
	}
	return validID(r.ID)
}

func validCollection(name string) error {
	if !slices.Contains(collections, name) {
		return fmt.Errorf("%w: collection %.40q", ErrInvalid, name)
	}
	return nil
}

func validID(id string) error {
	if id == "" || len(id) > maxIDBytes {
		return fmt.Errorf("%w: an id of %d bytes", ErrInvalid, len(id))
	}
	for _, c := range []byte(id) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("._:@-", c) >= 0) {
			return fmt.Errorf("%w: id %.80q", ErrInvalid, id)
		}
	}
	if id == "." || id == ".." || len(id) >= 4 && strings.HasPrefix(id, "__") && strings.HasSuffix(id, "__") {
		return fmt.Errorf("%w: id %.80q is reserved", ErrInvalid, id)
	}
	return nil
}

// ValidateRefs returns ErrInvalid unless GetAll may be asked for refs.
func ValidateRefs(refs []Ref) error {
	if len(refs) > MaxRefs {
		return fmt.Errorf("%w: %d refs; at most %d", ErrInvalid, len(refs), MaxRefs)
	}
	for _, r := range refs {
		if err := r.Validate(); err != nil {
			return err
		}
	}
	return nil
}

// ValidateFeed returns ErrInvalid unless Changes may be asked for a collection since a position.
func ValidateFeed(collection string, since Position) error {
	if since < 0 {
		return fmt.Errorf("%w: position %d", ErrInvalid, since)
	}
	return validCollection(collection)
}

// Validate returns ErrInvalid, naming the fault, unless Commit may be asked for the batch.
func Validate(b Batch) error {
	_, err := Prepare(b)
	return err
}

// validBatch judges all of a batch but its data, which canonicalWrites does.
func validBatch(b Batch) error {
	if n := len(b.Writes); n == 0 || n > MaxWrites {
		return fmt.Errorf("%w: %d writes; 1 to %d", ErrInvalid, n, MaxWrites)
	}
	if err := validText("actor", b.Actor, 1, maxActorBytes); err != nil {
		return err
	}
	if err := validText("cause", b.Cause, 1, maxCauseBytes); err != nil {
		return err
	}
	if err := validText("once", b.Once, 0, maxOnceBytes); err != nil {
		return err
	}
	seen := make(map[Ref]bool, len(b.Writes))
	journaled := false
	for _, w := range b.Writes {
		if err := validWrite(w); err != nil {
			return err
		}
		if seen[w.Ref] {
			return fmt.Errorf("%w: %s: written twice", ErrInvalid, w.Ref)
		}
		seen[w.Ref] = true
		journaled = journaled || Journaled(w.Ref.Collection)
	}
	if b.Once != "" && !journaled {
		return fmt.Errorf("%w: once without a journaled write", ErrInvalid)
	}
	return nil
}

func validWrite(w Write) error {
	if err := w.Ref.Validate(); err != nil {
		return err
	}
	switch e := w.ExpiresAt; {
	case w.Ref.Collection == Journal:
		return fmt.Errorf("%w: %s: the journal is written by commits alone", ErrInvalid, w.Ref)
	case w.If.kind == atGeneration && w.If.generation < 1:
		return fmt.Errorf("%w: %s: generation %d", ErrInvalid, w.Ref, w.If.generation)
	case e.IsZero():
		return nil
	case w.Data == nil:
		return fmt.Errorf("%w: %s: a deletion that expires", ErrInvalid, w.Ref)
	case e.Before(time.UnixMicro(1)) || e.Year() > maxExpiryYear:
		return fmt.Errorf("%w: %s: expiry %s", ErrInvalid, w.Ref, e)
	}
	return nil
}

func validText(what, s string, least, most int) error {
	if len(s) < least || len(s) > most {
		return fmt.Errorf("%w: %s of %d bytes; %d to %d", ErrInvalid, what, len(s), least, most)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("%w: %s %.80q: not plain text", ErrInvalid, what, s)
	}
	return nil
}

// canonicalWrites returns the data of each write, nil for a deletion.
func canonicalWrites(writes []Write) ([]json.RawMessage, error) {
	data := make([]json.RawMessage, len(writes))
	total := 0
	for i, w := range writes {
		if w.Data == nil {
			continue
		}
		var err error
		if data[i], err = Canonical(w.Data); err != nil {
			return nil, fmt.Errorf("%s: %w", w.Ref, err)
		}
		if total += len(data[i]); total > maxBatchBytes {
			return nil, fmt.Errorf("%w: more than %d bytes in one batch", ErrInvalid, maxBatchBytes)
		}
	}
	return data, nil
}

// Validate returns ErrInvalid, naming the fault, unless the query may be asked.
func (q Query) Validate() error {
	_, err := q.Plan()
	return err
}

func validQuery(q Query) error {
	if err := validCollection(q.Collection); err != nil {
		return err
	}
	if q.Limit < 0 || q.Limit > MaxPage {
		return fmt.Errorf("%w: limit %d; 0 to %d", ErrInvalid, q.Limit, MaxPage)
	}
	if q.OrderBy != "" {
		if err := validField(q.OrderBy); err != nil {
			return err
		}
	}
	if q.OrderBy == "" && q.Descending {
		return fmt.Errorf("%w: descending without an order", ErrInvalid)
	}
	if len(q.Where) > maxFilters {
		return fmt.Errorf("%w: %d filters; at most %d", ErrInvalid, len(q.Where), maxFilters)
	}
	contains := 0
	for _, f := range q.Where {
		if err := validFilter(f, q.OrderBy); err != nil {
			return err
		}
		if f.Op == Contains {
			contains++
		}
	}
	if contains > 1 {
		return fmt.Errorf("%w: contains asked twice", ErrInvalid)
	}
	return nil
}

func validFilter(f Filter, orderBy string) error {
	if err := validField(f.Field); err != nil {
		return err
	}
	switch f.Op {
	case Eq, Contains:
	case Lt, Le, Gt, Ge:
		if f.Field != orderBy {
			return fmt.Errorf("%w: %s on %q, which is not the order", ErrInvalid, f.Op, f.Field)
		}
	default:
		return fmt.Errorf("%w: comparison %.20q", ErrInvalid, f.Op)
	}
	switch v := f.Value.(type) {
	case string:
		if len(v) > maxFilterBytes || !utf8.ValidString(v) {
			return fmt.Errorf("%w: value of %q", ErrInvalid, f.Field)
		}
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("%w: value of %q: %v", ErrInvalid, f.Field, v)
		}
	case bool, int, int64:
	default:
		return fmt.Errorf("%w: value of %q: a %T", ErrInvalid, f.Field, f.Value)
	}
	return nil
}

func validField(field string) error {
	segments := strings.Split(field, ".")
	if len(segments) > maxSegments || len(field) > maxFieldBytes || !utf8.ValidString(field) {
		return fmt.Errorf("%w: field %.80q", ErrInvalid, field)
	}
	for i, s := range segments {
		if err := checkName(s, i+1); err != nil {
			return fmt.Errorf("%w: field %.80q: %w", ErrInvalid, field, err)
		}
	}
	return nil
}

package rediscache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"strconv"
	"time"

	"github.com/isectech/service-networking/shared/store"
)

// Copy is all service records of a moment, in Redis, for processes that begin: what they read there they need not
// read from the store, but for what has changed since. A tick keeps it up to date.
//
// The records lie in parts, each one string, so that a change costs a part and not the whole. What the parts
// must be, to the last bit, says a document in the store: the anchor, with the moment that they are of. So
// nothing that Redis loses, keeps for too long, mixes up or is given by others is ever taken for a record: a
// part that is not as the anchor says makes the whole copy worthless, until the next tick makes it anew.
type Copy struct {
	inner store.Store
	redis Redis
	env   string
	now   func() time.Time
}

const (
	// parts is how many there are: some 40 records each of 10,000.
	parts = 256
	// partsAtOnce is how many are read in one call, which must end in time.
	partsAtOnce = 8
	// partLife is how long Redis keeps a part that stays as it is. Then the copy is made anew.
	partLife = 24 * time.Hour
	// anchorLife is how old a copy may be: what was deleted since then the store must still tell of.
	anchorLife = 12 * time.Hour
	// anchorRenewed is how old the anchor of a copy becomes that stays as it is.
	anchorRenewed = time.Hour
	// maxCopy bounds what is kept. Larger registries are read from the store.
	maxCopy = 64 << 20
	// connecting is how often the first reading is tried: a process that begins has no connection yet, and no call
	// waits for one.
	connecting = 4
)

// ErrTooLarge says that there are too many records to keep a copy of.
var ErrTooLarge = errors.New("too large for a copy")

// NewCopy returns the copy of a deployment's environment. It reads nothing yet.
func NewCopy(inner store.Store, r Redis, env string, now func() time.Time) *Copy {
	return &Copy{inner: inner, redis: r, env: env, now: now}
}

// anchor says what the parts are.
type anchor struct {
	At       int64          `json:"at_us"`              // when the reading began that it is from, in microseconds
	Position store.Position `json:"position"`           // of the newest change that the parts hold
	Digests  []string       `json:"digests"`            // of the parts; "" for an empty one
	TooLarge bool           `json:"too_large,omitzero"` // there is no copy, and need not be tried for a while

	generation int64
}

// anchorRef lies among the nonces, which are not journaled and end by themselves.
func (c *Copy) anchorRef() store.Ref {
	return store.Ref{Collection: store.Nonces, ID: "registry-copy:" + c.env}
}

func (c *Copy) partKey(part int) string {
	return "registry:" + c.env + ":copy:" + strconv.Itoa(part)
}

// partOf returns the part that an instance lies in.
func partOf(id string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return int(h.Sum32() % parts)
}

func digest(part []byte) string {
	if len(part) == 0 {
		return ""
	}
	sum := sha256.Sum256(part)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// anchor returns the anchor in force; ErrUnknown where there is none that counts.
func (c *Copy) anchor(ctx context.Context) (anchor, error) {
	doc, err := c.inner.Get(ctx, c.anchorRef())
	if errors.Is(err, store.ErrNotFound) {
		return anchor{}, fmt.Errorf("copy of %s: %w", c.env, ErrUnknown)
	}
	if err != nil {
		return anchor{}, fmt.Errorf("copy of %s: %w", c.env, err)
	}
	a := anchor{generation: doc.Generation}
	age := time.Duration(0)
	if err := doc.Decode(&a); err == nil {
		age = c.now().Sub(time.UnixMicro(a.At))
	}
	if a.TooLarge && age >= 0 && age < anchorLife {
		return a, fmt.Errorf("copy of %s: %w", c.env, ErrTooLarge)
	}
	if len(a.Digests) != parts || a.Position < 0 || age < -time.Minute || age > anchorLife {
		return anchor{generation: doc.Generation}, fmt.Errorf("copy of %s: %w", c.env, ErrUnknown)
	}
	return a, nil
}

// Read returns all records of the copy, and the position in the store's feed from which on changes are missing. It
// returns ErrUnknown, or an error of Redis or the store, where there is no copy that is good without a doubt.
func (c *Copy) Read(ctx context.Context) ([]store.Document, store.Position, error) {
	a, err := c.anchor(ctx)
	if err != nil {
		return nil, 0, err
	}
	var docs []store.Document
	for part, value := range c.values(ctx, a, &err) {
		records, ok := split(part, value)
		if !ok {
			return nil, 0, fmt.Errorf("copy of %s: part %d: %w", c.env, part, ErrUnknown)
		}
		for _, record := range records {
			docs = append(docs, record.doc)
		}
	}
	if err != nil {
		return nil, 0, err
	}
	return docs, a.Position, nil
}

// values yields the parts one by one, each as the anchor has it. It ends at the first that is not, or that cannot be
// read, and sets err.
func (c *Copy) values(ctx context.Context, a anchor, err *error) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for first := 0; first < parts; first += partsAtOnce {
			keys := make([]string, min(partsAtOnce, parts-first))
			for i := range keys {
				keys[i] = c.partKey(first + i)
			}
			var values [][]byte
			for try := 1; ; try++ {
				var failed error
				if values, failed = c.redis.GetAll(ctx, keys); failed == nil {
					break
				}
				if try == connecting {
					*err = fmt.Errorf("copy of %s: reading part %d: %w", c.env, first, failed)
					return
				}
			}
			for i, value := range values {
				part := first + i
				if a.Digests[part] == "" {
					value = nil // what lies there is nobody's
				}
				if digest(value) != a.Digests[part] {
					*err = fmt.Errorf("copy of %s: part %d: %w", c.env, part, ErrUnknown)
					return
				}
				if !yield(part, value) {
					return
				}
			}
		}
	}
}

// kept is a record with how it is written.
type kept struct {
	doc store.Document
	raw []byte
}

// split returns the records of a part by their ids.
func split(part int, value []byte) (map[string]kept, bool) {
	records := make(map[string]kept)
	for line := range bytes.Lines(value) {
		raw := bytes.TrimSuffix(line, []byte("\n"))
		doc, ok := decodeRecord(raw)
		if !ok || partOf(doc.Ref.ID) != part {
			return nil, false
		}
		records[doc.Ref.ID] = kept{doc, raw}
	}
	return records, true
}

package register

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/platform/platformtest"
	"github.com/isectech/service-networking/shared/platform/redis"
	"github.com/isectech/service-networking/shared/platform/redis/redistest"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/firestorestore"
	"github.com/isectech/service-networking/shared/store/firestorestore/emulatortest"
	"github.com/isectech/service-networking/shared/store/rediscache"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// counting counts the records that a store's feed gives.
type counting struct {
	store.Store
	records atomic.Int64
}

func (c *counting) Changes(ctx context.Context, collection string, since store.Position) iter.Seq2[store.Document, error] {
	return func(yield func(store.Document, error) bool) {
		for d, err := range c.Store.Changes(ctx, collection, since) {
			if collection == store.Services {
				c.records.Add(1)
			}
			if !yield(d, err) {
				return
			}
		}
	}
}

// copied is a store with a copy of its records in Redis.
type copied struct {
	store *counting
	clock *platformtest.Clock
	redis *redistest.Server
	copy  *rediscache.Copy

	settle func() // if set, waits until the feed looks back at nothing
}

func newCopied(t testing.TB) *copied {
	t.Helper()
	c := &copied{clock: platformtest.NewClock(time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC)), redis: redistest.Start(t)}
	c.store = &counting{Store: storetest.New(t, c.clock.Now)}
	client, err := redis.Open(c.redis.URL(), redis.Options{
		Now: time.Now, ReadTimeout: time.Second, WriteTimeout: time.Second, ConnectTimeout: 10 * time.Second, Cooldown: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	c.copy = rediscache.NewCopy(c.store, client, "production", c.clock.Now)
	return c
}

// write writes a record, or removes it.
func (c *copied) write(t testing.TB, id, version string) {
	t.Helper()
	write := store.Write{Ref: store.Ref{Collection: store.Services, ID: id}}
	if version != "" {
		write.Data = record(id, version)
	}
	c.clock.Advance(time.Millisecond)
	if _, err := c.store.Commit(t.Context(), store.Batch{Writes: []store.Write{write}, Actor: "test", Cause: "test"}); err != nil {
		t.Fatal(err)
	}
}

func record(id, version string) registry.Record {
	return registry.Record{
		Registration: registry.Registration{
			ServiceID: id, ServiceName: backend, Version: version, Environment: "production", Region: "europe-west1", Weight: 1,
			Endpoints: []registry.Endpoint{{Name: "api", URL: "https://" + id + ".isectech.com", Protocol: "https", Port: 443}},
			Metadata:  map[string]string{"owner": "backend", "revision": "backend-services-00042-abc"}, Tags: []string{"blue"},
		},
		Status: registry.Healthy,
	}
}

func (c *copied) update(t testing.TB) {
	t.Helper()
	if err := c.copy.Update(t.Context()); err != nil {
		t.Fatalf("update: %v", err)
	}
}

// begin has a process begin, with the copy or without, and returns all that it shows.
func (c *copied) begin(t testing.TB, with bool) (registry.View, []registry.Instance) {
	t.Helper()
	o := registry.Options{Store: c.store, Names: func() registry.Names { return nil }, Now: c.clock.Now, OnError: func(err error) { t.Error(err) }}
	if with {
		o.Copy = c.copy.Read
	}
	v, err := registry.New(o).Whole(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []registry.Instance
	for next := ""; ; {
		page, err := v.List(registry.Filter{Limit: registry.MaxPage, PageToken: next})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Instances...)
		if next = page.Next; next == "" {
			return v, all
		}
	}
}

// same wants a process that begins with the copy to know what one knows that reads the store.
func (c *copied) same(t testing.TB, when string) (read int64) {
	t.Helper()
	truth, want := c.begin(t, false)
	before := c.store.records.Load()
	v, got := c.begin(t, true)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-truth +got):\n%s", when, diff)
	}
	if v.Index() != truth.Index() || v.Tag("", "") != truth.Tag("", "") {
		t.Fatalf("%s: index %d, want %d", when, v.Index(), truth.Index())
	}
	return c.store.records.Load() - before
}

// A process that begins reads the copy, and of the store what came after it, deletions too.
func TestBeginsWithTheCopy(t *testing.T) {
	t.Parallel()
	c := newCopied(t)
	if c.same(t, "without a copy") != 0 {
		t.Error("records of an empty store")
	}
	c.update(t)
	c.same(t, "of nothing")
	for i := range 300 {
		c.write(t, fmt.Sprintf("backend-services-%d", i), "1.0.0")
	}
	c.update(t)
	if read := c.same(t, "up to date"); read > 1 {
		t.Errorf("%d records were read of the store", read)
	}
	for i := range 10 {
		c.write(t, fmt.Sprintf("backend-services-%d", i), "2.0.0")
		c.write(t, fmt.Sprintf("backend-services-%d", 100+i), "")
		c.write(t, fmt.Sprintf("backend-services-%d", 1000+i), "1.0.0")
	}
	if read := c.same(t, "behind"); read > 31 {
		t.Errorf("%d records were read of the store", read)
	}
	before := c.store.records.Load()
	c.update(t)
	c.update(t)
	if read := c.store.records.Load() - before; read > 33 {
		t.Errorf("%d records were read to update the copy", read)
	}
	if read := c.same(t, "up to date again"); read > 1 {
		t.Errorf("%d records were read of the store", read)
	}
	// A watcher is not told what it may not be told: what was deleted before the process began is not known to it.
	v, _ := c.begin(t, true)
	if _, err := v.ChangesSince(v.Index()-1, "", ""); err == nil {
		t.Error("changes from before the beginning are claimed to be known")
	}

	c.clock.Advance(11 * time.Hour)
	if read := c.same(t, "eleven hours old"); read > 1 {
		t.Errorf("%d records were read of the store", read)
	}
	c.clock.Advance(2 * time.Hour)
	if read := c.same(t, "too old"); read < 300 {
		t.Errorf("%d records were read of the store", read)
	}
	c.update(t)
	if read := c.same(t, "made anew"); read > 1 {
		t.Errorf("%d records were read of the store", read)
	}
	c.redis.Pause()
	c.same(t, "while Redis does not answer")
	c.redis.Resume()
	c.redis.Stop()
	c.same(t, "without Redis")
	if err := c.copy.Update(t.Context()); err == nil {
		t.Error("updated without Redis")
	}
	c.redis.Start()
	c.same(t, "with an empty one")
}

// Whatever becomes of what lies in Redis, and whoever wrote it, a process knows nothing but the truth.
func TestCopyIsNeverBelieved(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			neverBelieved(t, rand.New(rand.NewPCG(seed, 5)))
		})
	}
}

func neverBelieved(t *testing.T, rng *rand.Rand) {
	c := newCopied(t)
	id := func() string { return fmt.Sprintf("backend-services-%d", rng.IntN(30)) }
	old := map[string]string{}
	some := func() (string, bool) {
		keys := c.redis.Keys()
		if len(keys) == 0 {
			return "", false
		}
		return keys[rng.IntN(len(keys))], true
	}
	for step := range 120 {
		when := fmt.Sprintf("step %d", step)
		switch rng.IntN(12) {
		case 0, 1, 2:
			c.write(t, id(), strconv.Itoa(step)+".0.0")
		case 3, 4:
			c.write(t, id(), "")
		case 5, 6:
			c.update(t)
		case 7:
			when += ", after a flush"
			c.redis.Flush()
		case 8:
			if key, ok := some(); ok {
				when += ", garbage at " + key
				c.redis.Garbage(key, step)
			}
		case 9: // half of it
			if key, ok := some(); ok {
				when += ", without " + key
				c.redis.Do("DEL", key)
			}
		case 10: // as it once was
			if key, ok := some(); ok {
				if value, kept := old[key]; kept {
					when += ", an older " + key
					c.redis.Do("SET", key, value)
				} else if value, err := c.redis.Try("GET", key); err == nil {
					old[key] = value
				}
			}
		case 11: // by someone who knows how it is written
			if a, ok := some(); ok {
				if b, _ := some(); a != b {
					when += ", " + a + " from " + b
					c.redis.Do("COPY", b, a, "REPLACE")
				}
			}
		}
		c.same(t, when)
	}
	c.update(t) // whatever there was, it is good again after at most two
	c.update(t)
	if read := c.same(t, "in the end"); read > 1 {
		t.Errorf("%d records were read of the store", read)
	}
}

// An anchor that this version does not know how to read counts for nothing, and is replaced.
func TestAnotherVersionsAnchor(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]string{
		"empty": `{}`, "other": `{"format":2}`, "of other types": `{"at_us":"x","digests":7}`, "few parts": `{"at_us":1767528000000000,"position":1,"digests":["a"]}`,
		"ahead": `{"at_us":9967528000000000,"position":1,"digests":[]}`, "too large": `{"at_us":1767528000000000,"too_large":true}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCopied(t)
			c.write(t, "backend-services-1", "1.0.0")
			_, err := c.store.Commit(t.Context(), store.Batch{Actor: "test", Cause: "test", Writes: []store.Write{{
				Ref: store.Ref{Collection: store.Nonces, ID: "registry-copy:production"}, Data: json.RawMessage(data),
			}}})
			if err != nil {
				t.Fatal(err)
			}
			c.same(t, "before")
			if name == "too large" {
				if err := c.copy.Update(t.Context()); err == nil {
					t.Error("tried again at once")
				}
				c.clock.Advance(13 * time.Hour)
			}
			c.update(t)
			if read := c.same(t, "after"); read > 1 {
				t.Errorf("%d records were read of the store", read)
			}
		})
	}
}

// Updates at once leave a copy that is good, or none, and the next makes it good.
func TestUpdatesAtOnce(t *testing.T) {
	t.Parallel()
	c := newCopied(t)
	for round := range 5 {
		var all sync.WaitGroup
		for i := range 4 {
			c.write(t, fmt.Sprintf("backend-services-%d", 10*round+i), "1.0.0")
			all.Go(func() {
				if err := c.copy.Update(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		c.same(t, fmt.Sprintf("round %d", round))
	}
	c.update(t)
	if read := c.same(t, "in the end"); read > 1 {
		t.Errorf("%d records were read of the store", read)
	}
}

// BenchmarkBegin is what a process takes until its first answer, with 10,000 instances to know; with 2,000 where
// the store is Firestore's emulator, which takes long to write them.
func BenchmarkBegin(b *testing.B) {
	b.Run("bolt", func(b *testing.B) { benchmarkBegin(b, newCopied(b), 10_000) })
	b.Run("firestore", func(b *testing.B) {
		c := newCopied(b)
		documents, err := firestorestore.New(emulatortest.Start(b).Client(b, emulatortest.Project()), firestorestore.Options{Now: c.clock.Now})
		if err != nil {
			b.Fatal(err)
		}
		c.store.Store, c.settle = documents, func() { <-time.After(25 * time.Second) } // as far back as the feed looks
		benchmarkBegin(b, c, 2000)
	})
}

func benchmarkBegin(b *testing.B, c *copied, instances int) {
	const batchSize = 20
	for i := 0; i < instances; i += batchSize {
		var batch store.Batch
		for j := i; j < i+batchSize; j++ {
			id := fmt.Sprintf("backend-services-%d", j)
			batch.Writes = append(batch.Writes, store.Write{Ref: store.Ref{Collection: store.Services, ID: id}, Data: record(id, "1.0.0")})
		}
		batch.Actor, batch.Cause = "test", "test"
		if _, err := c.store.Commit(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	if c.clock.Advance(time.Minute); c.settle != nil {
		c.settle()
	}
	c.write(b, "backend-services-0", "1.0.1")
	c.update(b)
	for name, with := range map[string]bool{"from the copy": true, "from the store": false} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, all := c.begin(b, with); len(all) != instances {
					b.Fatalf("%d instances", len(all))
				}
			}
		})
	}
}

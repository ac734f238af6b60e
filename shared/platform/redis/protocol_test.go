package redis_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/platform/redis"
	"github.com/isectech/service-networking/shared/platform/redis/redistest"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/rediscache"
	"github.com/isectech/service-networking/shared/store/storetest"
)

// cable is one process's way to Redis, which can be cut.
type cable struct {
	*redis.Client
	cut  atomic.Bool
	late bool     // scripts fail, and stay on the way until they are delivered
	way  []func() // what is on the way
}

var errCut = errors.New("the cable is cut")

func (c *cable) down() bool { return c.cut.Load() }

func (c *cable) GetAll(ctx context.Context, keys []string) ([][]byte, error) {
	if c.down() {
		return nil, errCut
	}
	return c.Client.GetAll(ctx, keys)
}

func (c *cable) GetCached(ctx context.Context, key string, ttl time.Duration) ([]byte, bool, error) {
	if c.down() {
		return nil, false, errCut
	}
	return c.Client.GetCached(ctx, key, ttl)
}

func (c *cable) Run(ctx context.Context, script string, keys, args []string) ([]string, error) {
	if c.down() {
		return nil, errCut
	}
	if c.late {
		c.way = append(c.way, func() { _, _ = c.Client.Run(context.WithoutCancel(ctx), script, keys, args) })
		return nil, errCut
	}
	return c.Client.Run(ctx, script, keys, args)
}

// held is an inner store whose calls can be stopped before they are made, and before they return.
type held struct {
	store.Store
	afterGet     func()
	beforeCommit func()
	afterCommit  func()
}

func (h *held) Get(ctx context.Context, ref store.Ref) (store.Document, error) {
	doc, err := h.Store.Get(ctx, ref)
	if h.afterGet != nil {
		h.afterGet()
	}
	return doc, err
}

func (h *held) Commit(ctx context.Context, b store.Batch) ([]store.Document, error) {
	if h.beforeCommit != nil {
		h.beforeCommit()
	}
	docs, err := h.Store.Commit(ctx, b)
	if h.afterCommit != nil {
		h.afterCommit()
	}
	return docs, err
}

// shortBound is Options.Bound in tests that wait for it.
const shortBound = time.Second

// node is one process: a decorator with a way to Redis and to the store of its own.
type node struct {
	*rediscache.Store
	cable   *cable
	inner   *held
	results results
}

// nodes returns processes on one store and one Redis.
func nodes(t *testing.T, n int) (*redistest.Server, []*node) {
	t.Helper()
	server := redistest.Start(t)
	inner := storetest.New(t, time.Now)
	all := make([]*node, n)
	for i := range all {
		all[i] = &node{
			cable: &cable{Client: open(t, server, redis.Options{ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second})},
			inner: &held{Store: inner},
		}
		all[i].Store = rediscache.New(all[i].inner, all[i].cable, rediscache.Options{
			Now: time.Now, Environments: environments, Bound: shortBound, Observe: all[i].results.count,
		})
	}
	return server, all
}

var serviceA = store.Ref{Collection: store.Services, ID: "a"}

// write commits, and returns the generation.
func (n *node) write(t *testing.T) int64 {
	t.Helper()
	docs, err := n.Commit(t.Context(), store.Batch{
		Writes: []store.Write{{Ref: serviceA, Data: map[string]any{"environment": "production"}}},
		Actor:  "test", Cause: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	return docs[0].Generation
}

// read returns the generation that is read.
func (n *node) read(t *testing.T) int64 {
	t.Helper()
	doc, err := n.Get(t.Context(), serviceA)
	if err != nil {
		t.Fatal(err)
	}
	return doc.Generation
}

func (n *node) want(t *testing.T, generation int64, when string) {
	t.Helper()
	if got := n.read(t); got != generation {
		t.Errorf("%s: generation %d; want %d", when, got, generation)
	}
}

// hits reads until Redis answers.
func (n *node) hits(t *testing.T, generation int64) {
	t.Helper()
	before := n.results.of(rediscache.Hit)
	eventually(t, "Redis answers", func() bool {
		n.want(t, generation, "on the way to a hit")
		return n.results.of(rediscache.Hit) > before
	})
}

// eventually waits for something to become true.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	end := time.After(30 * time.Second)
	for !holds() {
		select {
		case <-ticker.C:
		case <-end:
			t.Fatalf("not within 30 seconds: %s", what)
		}
	}
}

func TestOthersSeeCommits(t *testing.T) {
	t.Parallel()
	server, n := nodes(t, 2)
	n[0].write(t)
	n[1].want(t, 1, "after creation")
	n[1].hits(t, 1)
	n[0].write(t)
	n[1].want(t, 2, "after an update")
	n[1].hits(t, 2)
	raw := server.Do("GET", "service:a")
	if len(raw) == 0 || raw[0] != '{' {
		t.Errorf("service:a holds %q", raw)
	}
	if _, err := n[0].Commit(t.Context(), store.Batch{Writes: []store.Write{{Ref: serviceA}}, Actor: "test", Cause: "test"}); err != nil {
		t.Fatal(err)
	}
	if doc, err := n[1].Get(t.Context(), serviceA); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("after deletion: %+v, %v", doc, err)
	}
}

// TestWriterLosesRedisBetween cuts a writer off after it has entered: its entry keeps the others away from what
// Redis has, and when that has expired nothing old is there.
func TestWriterLosesRedisBetween(t *testing.T) {
	t.Parallel()
	_, n := nodes(t, 2)
	n[0].write(t)
	n[1].hits(t, 1)
	// Who reads on the way reads the old generation, and must not leave it in Redis.
	n[0].inner.beforeCommit = func() { n[1].want(t, 1, "before the commit"); n[1].want(t, 1, "before the commit") }
	n[0].inner.afterCommit = func() { n[0].cable.cut.Store(true) }
	n[0].write(t)
	for range 20 {
		n[1].want(t, 2, "after a writer was cut off")
	}
	n[1].hits(t, 2)
}

// TestWriterWithoutRedis has a writer that cannot reach Redis at all: its own process sees its commit, the other
// one within the bound, and neither goes back again.
func TestWriterWithoutRedis(t *testing.T) {
	t.Parallel()
	_, n := nodes(t, 2)
	n[0].write(t)
	n[1].hits(t, 1)
	n[0].cable.cut.Store(true)
	n[0].write(t)
	bound := time.After(shortBound)
	n[0].cable.cut.Store(false)
	n[0].want(t, 2, "in the writer's process, with Redis in reach again")
	seen := int64(0)
	for over := false; !over; {
		select {
		case <-bound:
			over = true
		default:
		}
		got := n[1].read(t)
		if got < seen {
			t.Fatalf("generation %d after %d", got, seen)
		}
		seen = got
	}
	n[1].want(t, 2, "after the bound")
}

// TestStaleRecordFromElsewhere leaves an old record in Redis and checks that a process that knows better does
// not use it, and removes it.
func TestStaleRecordFromElsewhere(t *testing.T) {
	t.Parallel()
	server, n := nodes(t, 2)
	n[0].write(t)
	n[1].hits(t, 1)
	old := server.Do("GET", "service:a")
	n[0].write(t)
	n[0].hits(t, 2)
	server.Do("SET", "service:a", old)
	n[0].want(t, 2, "with an old record in Redis")
	if n[0].results.of(rediscache.Doubtful) == 0 {
		t.Error("the old record was not noticed")
	}
	n[1].want(t, 2, "in the other process, after it was removed")
}

// TestSlowReader has a reader that read the inner store before a commit and comes to Redis after it.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	for name, commit := range map[string]func(*testing.T, *redistest.Server, *node){
		"Reader":  func(t *testing.T, _ *redistest.Server, writer *node) { writer.write(t) },
		"Flushed": func(t *testing.T, s *redistest.Server, writer *node) { writer.write(t); s.Flush() },
		"WriterDidNotEnter": func(t *testing.T, _ *redistest.Server, writer *node) {
			writer.cable.cut.Store(true)
			writer.inner.afterCommit = func() { writer.cable.cut.Store(false) }
			writer.write(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, n := nodes(t, 3)
			n[0].write(t)
			server.Flush()
			once := true
			n[1].inner.afterGet = func() {
				if once {
					once = false
					commit(t, server, n[0])
				}
			}
			n[1].want(t, 1, "from before the commit")
			n[2].want(t, 2, "after the commit")
			n[1].want(t, 2, "after the commit, for who was slow")
		})
	}
}

// TestSlowReaderMeetsAnother has the slow reader come back while another one has leave to put the record in
// place.
func TestSlowReaderMeetsAnother(t *testing.T) {
	t.Parallel()
	server, n := nodes(t, 4)
	n[0].write(t)
	server.Flush()
	slow, other := n[1], n[2]
	reading, release, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	other.inner.afterGet = func() { close(reading); <-release }
	once := true
	slow.inner.afterGet = func() {
		if once {
			once = false
			n[0].write(t)
			server.Flush()
			go func() {
				defer close(done)
				other.want(t, 2, "after the commit, for the other reader")
			}()
			<-reading
		}
	}
	slow.want(t, 1, "from before the commit")
	n[3].want(t, 2, "after the commit")
	close(release)
	<-done
	n[3].hits(t, 2)
}

// TestWritersMeet has two writers on their way at once. Whoever leaves last need not have the newest generation.
func TestWritersMeet(t *testing.T) {
	t.Parallel()
	_, n := nodes(t, 3)
	n[0].write(t)
	once := true
	n[0].inner.afterCommit = func() { // generation 2 is committed, and its writer has not left
		if once {
			once = false
			n[1].write(t)
		}
	}
	n[0].write(t)
	for _, reader := range []int{2, 1, 0} {
		n[reader].want(t, 3, "after both have left")
	}
	n[2].hits(t, 3)
}

// TestWriterThatDidNotEnter has a writer pass another one that has entered, in both orders of leaving.
func TestWriterThatDidNotEnter(t *testing.T) {
	t.Parallel()
	for name, leavesFirst := range map[string]bool{"LeavesFirst": true, "LeavesLast": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, n := nodes(t, 3)
			n[0].write(t)
			entered, other := n[0], n[1]
			once := true
			pass := func() { // the other writer's way to Redis works again after its commit
				other.cable.cut.Store(true)
				other.inner.afterCommit = func() { other.cable.cut.Store(false) }
				other.write(t)
			}
			if leavesFirst {
				entered.inner.afterCommit = func() {
					if once {
						once = false
						pass()
					}
				}
				entered.write(t)
			} else {
				other.cable.cut.Store(true)
				other.inner.afterCommit = func() {
					entered.write(t)
					other.cable.cut.Store(false)
				}
				other.write(t)
			}
			n[2].want(t, 3, "after both have left")
		})
	}
}

// TestWriterAfterwards has a writer that comes to Redis only after its commit.
func TestWriterAfterwards(t *testing.T) {
	t.Parallel()
	_, n := nodes(t, 2)
	n[0].write(t)
	n[1].hits(t, 1)
	n[0].cable.cut.Store(true)
	n[0].inner.afterCommit = func() { n[0].cable.cut.Store(false) }
	n[0].write(t)
	n[1].want(t, 2, "after the commit")
}

// TestLateCommands has the commands of a writer arrive after the commit of another one.
func TestLateCommands(t *testing.T) {
	t.Parallel()
	_, n := nodes(t, 3)
	n[0].write(t)
	n[0].cable.late = true
	n[0].write(t)
	n[1].write(t)
	for _, deliver := range n[0].cable.way {
		deliver()
	}
	n[2].want(t, 3, "after late commands, in a process that knows nothing else")
}

// TestLostAnswer has a commit happen whose writer does not learn of it.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]bool{"Entered": false, "NotEntered": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, n := nodes(t, 2)
			n[0].write(t)
			n[1].hits(t, 1)
			faulty := storetest.NewFaulty(n[0].inner.Store)
			faulty.LoseAnswer(1, store.ErrUnavailable)
			n[0].inner.Store = faulty
			n[0].cable.cut.Store(cut)
			n[0].inner.afterCommit = func() { n[0].cable.cut.Store(false) }
			if _, err := n[0].Commit(t.Context(), store.Batch{
				Writes: []store.Write{{Ref: serviceA, Data: map[string]any{}}}, Actor: "test", Cause: "test",
			}); !errors.Is(err, store.ErrUnavailable) {
				t.Fatal(err)
			}
			n[0].want(t, 2, "in the writer's process")
			n[1].want(t, 2, "in another process")
		})
	}
}

// TestConflict has a process whose Redis is behind learn so from a conflict, rather than run into it for ever.
func TestConflict(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]bool{"Entered": false, "NotEntered": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, n := nodes(t, 2)
			n[0].write(t)
			n[1].hits(t, 1)
			old := server.Do("GET", "service:a")
			n[0].cable.cut.Store(true)
			n[0].write(t)
			server.Do("SET", "service:a", old)
			generation := n[1].read(t)
			n[1].cable.cut.Store(cut)
			n[1].inner.afterCommit = func() { n[1].cable.cut.Store(false) }
			_, err := n[1].Commit(t.Context(), store.Batch{
				Writes: []store.Write{{Ref: serviceA, Data: map[string]any{}, If: store.AtGeneration(generation)}},
				Actor:  "test", Cause: "test",
			})
			if generation != 1 || !errors.Is(err, store.ErrConflict) {
				t.Fatalf("at generation %d: %v", generation, err)
			}
			n[1].want(t, 2, "after the conflict")
		})
	}
}

// TestFrozenRedis has writers in two processes whose commands reach Redis long after their commits, in whatever
// order it takes them. By then the bound is over, so nobody may read anything but the newest.
func TestFrozenRedis(t *testing.T) {
	t.Parallel()
	server, n := nodes(t, 3)
	for _, one := range n {
		one.cable.Client = open(t, server, redis.Options{Cooldown: 10 * time.Millisecond})
	}
	n[0].write(t)
	for i := range 2 {
		for _, one := range n {
			one.read(t)
		}
		server.Pause()
		n[i%2].write(t)
		last := n[1-i%2].write(t)
		<-time.After(shortBound)
		server.Resume()
		answering := n[2].results.of(rediscache.Unavailable)
		eventually(t, "Redis answers", func() bool {
			n[2].want(t, last, "after the bound, in a process that wrote nothing")
			now := n[2].results.of(rediscache.Unavailable)
			defer func() { answering = now }()
			return now == answering
		})
		for _, one := range n {
			one.want(t, last, "after the bound")
		}
	}
}

// TestUncached reads the inner store, whatever Redis has, and keeps Redis in step.
func TestUncached(t *testing.T) {
	t.Parallel()
	server, n := nodes(t, 2)
	n[0].write(t)
	n[1].hits(t, 1)
	uncached := n[0].Uncached()
	if _, err := uncached.Commit(t.Context(), store.Batch{
		Writes: []store.Write{{Ref: serviceA, Data: map[string]any{}}}, Actor: "test", Cause: "test",
	}); err != nil {
		t.Fatal(err)
	}
	n[1].want(t, 2, "after a commit that went past the cache")
	calls := n[0].results.of(rediscache.Hit)
	docs, err := uncached.GetAll(t.Context(), []store.Ref{serviceA})
	if err != nil || docs[0].Generation != 2 || n[0].results.of(rediscache.Hit) != calls {
		t.Errorf("%+v, %v", docs, err)
	}
	for _, key := range server.Keys() {
		if len(key) > 8 && key[:8] == "service:" && key != "service:a" {
			t.Errorf("under service: lies %s", key)
		}
	}
}

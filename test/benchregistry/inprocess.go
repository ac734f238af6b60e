package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/test/figure"
)

// few and many are the numbers of instances that are compared in process.
const (
	few  = 100
	many = 100_000
)

// memory is a store that is read once, and takes in single writes.
type memory struct {
	store.Store
	documents map[string]func(yield func(store.Document) bool)
}

// Changes yields everything the first time and nothing from then on: what is written comes back to its writer.
func (m *memory) Changes(_ context.Context, collection string, _ store.Position) iter.Seq2[store.Document, error] {
	documents := m.documents[collection]
	delete(m.documents, collection)
	return func(yield func(store.Document, error) bool) {
		if documents != nil {
			documents(func(doc store.Document) bool { return yield(doc, nil) })
		}
	}
}

// local is a registry in this process.
type local struct {
	*registry.Registry
	names names
	refs  []string // the services' aliases in an order that caches do not guess
	bytes float64  // of memory that an instance takes
}

type names map[string]auth.Subject

// Resolve finds a service.
func (n names) Resolve(ref string) (auth.Subject, bool) { s, ok := n[ref]; return s, ok }

// Runs reports that every service runs everywhere.
func (n names) Runs(auth.Subject, auth.Environment) bool { return true }

// newLocal reads a registry of so many instances.
func newLocal(ctx context.Context, size int) (*local, error) {
	l := &local{names: make(names)}
	services := (size + instances - 1) / instances
	for i := range services {
		subject := auth.MustSubject(serviceName(int(uint64(i) * 7919 % uint64(services))))
		l.refs = append(l.refs, subject.Alias())
		l.names[subject.Alias()] = subject
	}
	now := time.Now().UTC()
	all := func(which int) func(func(store.Document) bool) {
		return func(yield func(store.Document) bool) {
			for i := range size {
				w := documentsOf(recordOf(i/instances, i%instances, now), now)[which]
				data, err := json.Marshal(w.Data)
				if err != nil || !yield(store.Document{Ref: w.Ref, Generation: 1, UpdatedAt: now, Data: data}) {
					return
				}
			}
		}
	}
	m := &memory{documents: map[string]func(func(store.Document) bool){store.Services: all(0), store.Leases: all(1)}}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	l.Registry = registry.New(registry.Options{
		Store: m, Names: func() registry.Names { return l.names }, Now: time.Now, Freshness: time.Hour,
	})
	view, err := l.View(ctx)
	if err != nil {
		return nil, err
	}
	if view.Len() != size {
		return nil, fmt.Errorf("in process: %d instances of %d", view.Len(), size)
	}
	for _, ref := range l.refs { // what the first choice works out counts too
		if _, err := view.Resolve(auth.Production, ref, "api"); err != nil {
			return nil, err
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	l.bytes = (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / float64(size)
	return l, nil
}

// inProcess measures the choice of an endpoint without a server around it, beside one look-up in a map by the same
// names and an atomic addition, and what an instance takes in memory.
func (b *bench) inProcess(ctx context.Context) ([]figure.Figure, error) {
	var figures []figure.Figure
	for _, size := range []int{few, many} {
		l, err := newLocal(ctx, size)
		if err != nil {
			return nil, err
		}
		found, err := b.choices(ctx, l, size)
		if err != nil {
			return nil, err
		}
		figures = append(figures, found...)
		if size == many {
			figures = append(figures, figure.Summarize("memory-per-instance", "B", []float64{l.bytes}))
		}
	}
	return figures, nil
}

func (b *bench) choices(ctx context.Context, l *local, size int) ([]figure.Figure, error) {
	view, err := l.View(ctx)
	if err != nil {
		return nil, err
	}
	turns := make(map[string]*atomic.Uint64)
	for _, ref := range slices.Sorted(slices.Values(l.refs)) { // so that they do not lie as they are asked for
		turns[ref] = new(atomic.Uint64)
	}
	bare := func(ref string) bool { return turns[ref].Add(1) != 0 }
	pick := func(ref string) bool {
		c, err := view.Resolve(auth.Production, ref, "api")
		return err == nil && c.Port != 0
	}
	if n := testing.AllocsPerRun(len(l.refs), func() { pick(l.refs[0]) }); n != 0 {
		return nil, fmt.Errorf("in process: a choice allocates %v times", n)
	}
	var costs [2][]float64
	for round := range warmups + b.rounds {
		for i, do := range []func(string) bool{bare, pick} {
			ns, err := costOf(200_000, l.refs, do)
			if err != nil {
				return nil, err
			}
			if round >= warmups {
				costs[i] = append(costs[i], ns)
			}
		}
	}
	named := func(name string) string { return fmt.Sprintf("%s/%d", name, size) }
	return []figure.Figure{
		figure.Summarize(named("inprocess-map-and-add"), "ns/op", costs[0]),
		figure.Summarize(named("inprocess-choice"), "ns/op", costs[1]),
		figure.Compare(named("inprocess-choice-to-map-and-add"), costs[1], costs[0]),
	}, nil
}

// costOf returns the processor time in nanoseconds that one of so many look-ups takes.
func costOf(times int, refs []string, do func(ref string) bool) (float64, error) {
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		return 0, err
	}
	at, missed := 0, 0
	for range times {
		if !do(refs[at]) {
			missed++
		}
		if at++; at == len(refs) {
			at = 0
		}
	}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		return 0, err
	}
	if missed > 0 {
		return 0, errors.New("in process: a look-up finds nothing")
	}
	spent := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	return float64(spent) / float64(times), nil
}

// Package clienttest has a registry for tests of what stands on a registry's client: it keeps records in memory, by
// the lifecycle of package registry, and fails when told to. Behaves says what it has in common with the real one.
package clienttest

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/registry"
)

// Registry answers what a client asks of a registry. Every caller may do everything, and every name of a service
// that was given to New is known, with its alias.
type Registry struct {
	now      func() time.Time
	services []string

	mu      sync.Mutex
	records map[string]*record
	gone    []registry.Instance
	index   int64
	horizon int64
	changed chan struct{}
	fault   func(*http.Request) *Answer
	asked   []string
	watches int
}

type record struct {
	registry.Record
	generation int64
	updatedAt  time.Time
}

// New returns a registry of services. It is for tests alone.
func New(_ testing.TB, now func() time.Time, services ...string) *Registry {
	f := &Registry{now: now, services: services, records: map[string]*record{}, changed: make(chan struct{})}
	f.index = now().UnixMicro()
	f.horizon = f.index
	return f
}

// Fail lets answer give every answer that it does not leave to the registry by returning nil; nil ends that.
func (f *Registry) Fail(answer func(*http.Request) *Answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = answer
	f.wake()
}

// Answer is an answer that a test wants to be given.
type Answer struct {
	Status     int
	RetryAfter string
}

func (a *Answer) write(w http.ResponseWriter) {
	if a.RetryAfter != "" {
		w.Header().Set("Retry-After", a.RetryAfter)
	}
	refuse(w, a.Status, "told_to")
}

// Forget lets the registry forget all changes, so that every index is too old.
func (f *Registry) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.step()
	f.horizon, f.gone = f.index, nil
	f.wake()
}

// Asked returns the method and path of every request since it was last called.
func (f *Registry) Asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked
	f.asked = nil
	return asked
}

// Watches returns how many requests wait for changes.
func (f *Registry) Watches() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.watches
}

// Put puts an instance into the registry, in a status.
func (f *Registry) Put(reg registry.Registration, status registry.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next, _, _ := registry.Register(nil, reg, f.now())
	next.Status = status
	f.save(&next)
}

// Remove removes an instance.
func (f *Registry) Remove(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remove(id)
}

// Get returns an instance as readers see it.
func (f *Registry) Get(id string) (registry.Instance, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.records[id]
	if r == nil {
		return registry.Instance{}, false
	}
	return f.instance(r), true
}

// RoundTrip answers without a network, so that it may be used where time is virtual.
func (f *Registry) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r = r.Clone(r.Context())
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	_ = r.Body.Close()
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// since returns what of a service changed after an index; 0 is all that there is, by id.
func (f *Registry) since(index int64, name, env string) []change {
	var found []change
	for _, r := range f.records {
		if r.ServiceName == name && string(r.Environment) == env && r.updatedAt.UnixMicro() > index {
			found = append(found, change{registry.InstanceUpdated, f.instance(r)})
		}
	}
	for _, i := range f.gone {
		if index != 0 && i.ServiceName == name && string(i.Environment) == env && i.UpdatedAt.UnixMicro() > index && f.records[i.ServiceID] == nil {
			found = append(found, change{registry.InstanceDeleted, registry.Instance{Registration: registry.Registration{
				ServiceID: i.ServiceID, ServiceName: i.ServiceName, Environment: i.Environment,
			}}})
		}
	}
	slices.SortFunc(found, func(a, b change) int { return strings.Compare(a.Service.ServiceID, b.Service.ServiceID) })
	return found
}

func (f *Registry) instance(r *record) registry.Instance {
	i := registry.Instance{
		Registration: r.Registration, Status: r.Status, StatusSince: r.StatusSince, Generation: r.generation,
		RegisteredAt: r.RegisteredAt, UpdatedAt: r.updatedAt, Lapsed: r.Record.Lapsed(f.now()),
	}
	if r.Lease != 0 {
		end := r.LeaseEnd
		i.LeaseExpiresAt = &end
	}
	return i
}

func (f *Registry) name(ref string) string {
	for _, name := range f.services {
		if name == ref || strings.TrimPrefix(name, "isectech-") == ref {
			return name
		}
	}
	return ""
}

func (f *Registry) step() time.Time {
	f.index = max(f.index+1, f.now().UnixMicro())
	return time.UnixMicro(f.index).UTC()
}

func (f *Registry) save(next *registry.Record) {
	is := f.records[next.ServiceID]
	r := &record{Record: *next, generation: 1}
	if is != nil {
		r.generation = is.generation + 1
	}
	r.updatedAt = f.step()
	f.records[next.ServiceID] = r
	f.wake()
}

func (f *Registry) remove(id string) {
	r := f.records[id]
	if r == nil {
		return
	}
	delete(f.records, id)
	i := f.instance(r)
	i.UpdatedAt = f.step()
	f.gone = append(f.gone, i)
	f.wake()
}

func (f *Registry) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

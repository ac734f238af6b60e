package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/firestorestore"
	"github.com/isectech/service-networking/shared/store/firestorestore/emulatortest"
	"github.com/isectech/service-networking/test/contract"
)

const pagesPrefix = "backend-services-page-"

// listedWhileWritten lists many instances in pages, on both instances of the registry in turn, while others come
// and go between them.
func listedWhileWritten(t *testing.T, p *Processes) {
	c := newClient(t, p)
	urls := p.Registers()
	want := c.fill(t, p, long(1000, 10_000))
	for _, url := range urls {
		eventually(t, "all are known", func(ctx context.Context) error {
			got, err := c.list(ctx, url, pagesPrefix, 500)
			if err != nil {
				return err
			}
			return differ(want, got)
		})
	}
	raw := c.mustToken(t, backend)
	var got []string
	pages := 0
	for next := ""; ; pages++ {
		listed, err := c.page(t.Context(), urls[pages%len(urls)], min(500, len(want)/10), next)
		check(t, err)
		got = append(got, listed.ids...)
		if next = listed.next; next == "" {
			break
		}
		// Before, after and among the rest; one of the three comes and goes again.
		url := urls[(pages+1)%len(urls)]
		for i, prefix := range []string{"backend-services-a", pagesPrefix, "backend-services-z"} {
			if i != pages%3 && i != 1 {
				continue
			}
			id := fmt.Sprintf("%s%05d-x", prefix, pages*137%len(want))
			c.mustRegister(t, url, instance(id, "1.0.0"))
			if i != 1 {
				a := c.do(t, url, contract.Request{Method: http.MethodDelete, Path: servicesPath + "/" + id, Token: raw})
				a.Want(t, http.StatusNoContent, "", "")
			}
		}
	}
	seen := map[string]bool{}
	var lasting []string
	for _, id := range got {
		if seen[id] {
			t.Errorf("%s is listed twice", id)
		}
		if seen[id] = true; strings.HasPrefix(id, pagesPrefix) && !strings.HasSuffix(id, "-x") {
			lasting = append(lasting, id)
		}
	}
	if err := differ(want, lasting); err != nil {
		t.Error(err)
	}
	t.Logf("%d instances on %d pages", len(got), pages+1)
}

// fillAtOnce is how many instances are stored in a commit. The emulator goes through the whole journal for each, and
// a commit has seconds.
const fillAtOnce = 20

// fill stores n instances as if they had registered, many in a commit.
func (c *client) fill(t *testing.T, p *Processes, n int) map[string]bool {
	t.Helper()
	const template = pagesPrefix + "00000"
	c.mustRegister(t, p.Registers()[0], instance(template, "1.0.0"))
	doc, err := p.store.Get(t.Context(), store.Ref{Collection: store.Services, ID: template})
	check(t, err)
	ids := map[string]bool{template: true}
	var writes []store.Write
	for i := 1; i < n; i++ {
		id := fmt.Sprintf("%s%05d", pagesPrefix, i)
		ids[id] = true
		writes = append(writes, store.Write{
			Ref: store.Ref{Collection: store.Services, ID: id}, If: store.Absent(),
			Data: json.RawMessage(strings.ReplaceAll(string(doc.Data), template, id)),
		})
		if len(writes) == fillAtOnce || i == n-1 {
			_, err := p.store.Commit(t.Context(), store.Batch{Writes: writes, Actor: backend, Cause: "end-to-end test"})
			check(t, err)
			writes = nil
		}
	}
	return ids
}

// writersOfOne has many writers write one document, of which the store's own processes know only some of each
// other: none may be lost, and none given a conflict that it did not ask for.
func writersOfOne(t *testing.T, p *Processes) {
	const (
		processes = 4
		writers   = 32
		each      = 2
	)
	project := emulatortest.Project()
	stores := make([]*firestorestore.Store, processes)
	for i := range stores {
		var err error
		stores[i], err = firestorestore.New(p.firestore.Client(t, project), firestorestore.Options{Now: time.Now})
		check(t, err)
	}
	ref := store.Ref{Collection: store.Services, ID: "one"}
	var group sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	generations := map[int64]bool{}
	ctx, cancel := context.WithTimeout(t.Context(), eventTimeout)
	defer cancel()
	start := time.Now()
	for w := range writers {
		group.Go(func() {
			for n := range each {
				docs, err := stores[w%processes].Commit(ctx, store.Batch{
					Writes: []store.Write{{Ref: ref, Data: map[string]any{"writer": w, "n": n}}},
					Actor:  fmt.Sprintf("writer-%d", w), Cause: "end-to-end test",
				})
				mu.Lock()
				if errs = append(errs, err); err == nil {
					generations[docs[0].Generation] = true
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	check(t, errors.Join(errs...))
	t.Logf("%d commits of %d writers took %s", writers*each, writers, time.Since(start).Round(time.Millisecond))
	doc, err := stores[0].Get(t.Context(), ref)
	check(t, err)
	if len(generations) != writers*each || doc.Generation != writers*each {
		t.Errorf("%d writes have %d generations, the last %d", writers*each, len(generations), doc.Generation)
	}
	report, err := store.Verify(t.Context(), stores[0], time.Now())
	check(t, err)
	if !report.Clean() || report.Entries != writers*each {
		t.Errorf("the journal has %d entries and the faults %v", report.Entries, report.Faults)
	}
}

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/platform/events"
	"github.com/isectech/service-networking/shared/store"
)

// long returns what a test does by default, or when the long tests are asked for.
func long(byDefault, whenAsked int) int {
	if os.Getenv("LONG") == "1" {
		return whenAsked
	}
	return byDefault
}

// many are commands as they are published, and what is to become of them.
type many struct {
	published []events.Event
	valid     map[string]bool   // their ids
	poison    map[string]bool   // ids
	versions  map[string]string // that the instances must have in the end
}

const (
	manySource = "//isectech.com/services/many"
	manyPrefix = "backend-services-many-"
)

// makeMany makes n commands, each a moment younger than the one before. One in a hundred is poison; one in five is a
// newer registration of the instance of the one before it, and overtakes it; three in ten are published twice, the
// second time wherever it may be.
func makeMany(n int, token string, dice *rand.Rand) many {
	m := many{valid: map[string]bool{}, poison: map[string]bool{}, versions: map[string]string{}}
	start := time.Now().Add(-time.Duration(n) * time.Millisecond)
	distinct := make([]events.Event, n)
	for i := range distinct {
		id, version := fmt.Sprintf("%s%d", manyPrefix, i), "1.0.0"
		overtakes := i%5 == 4
		if overtakes {
			id, version = fmt.Sprintf("%s%d", manyPrefix, i-1), "2.0.0"
		}
		e := events.Event{
			ID: fmt.Sprintf("many-%d", i), Source: manySource, Type: events.TypeRegister,
			Time: start.Add(time.Duration(i) * time.Millisecond), Data: []byte(instance(id, version)),
			ContentType: "application/json", Auth: token,
		}
		if i%100 == 50 {
			e.Data = []byte(`{"service_id":50}`)
			m.poison[e.ID] = true
		} else {
			m.valid[e.ID] = true
			m.versions[id] = version
		}
		distinct[i] = e
		if overtakes {
			distinct[i-1], distinct[i] = distinct[i], distinct[i-1]
		}
	}
	m.published = slices.Clone(distinct)
	for _, i := range dice.Perm(n)[:n*3/10] {
		at := dice.IntN(len(m.published) + 1)
		m.published = slices.Insert(m.published, at, distinct[i])
	}
	return m
}

// manyCommands publishes commands twice, out of order and some of them poison; each distinct one that can have an
// effect has it once.
func manyCommands(t *testing.T, p *Processes) {
	c := newClient(t, p)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := makeMany(long(200, 1000), c.mustToken(t, backend), rand.New(rand.NewPCG(seed, seed)))
	out := publisher(t, p)
	for _, e := range m.published {
		check(t, out.Publish(t.Context(), events.TopicRegistryCommands, e))
	}
	eventually(t, "every message is acknowledged", func(context.Context) error {
		if r := readRecord(p); len(r.acknowledged) < len(m.published) {
			return fmt.Errorf("%d of %d", len(r.acknowledged), len(m.published))
		}
		return nil
	})
	r := readRecord(p)
	if err := differ(m.poison, r.ids("poison")); err != nil {
		t.Errorf("poison: %v", err)
	}
	// What took effect, by the journal's word, and what came too late are the distinct commands.
	var effects []string
	for id, version := range m.versions {
		entries, err := store.Entries(t.Context(), p.store, "services/"+id, 0, 10)
		check(t, err)
		for _, e := range entries {
			effects = append(effects, strings.TrimPrefix(e.Cause, manySource+" "))
		}
		doc, err := p.store.Get(t.Context(), store.Ref{Collection: store.Services, ID: id})
		check(t, err)
		var record struct {
			Version string `json:"version"`
		}
		check(t, json.Unmarshal(doc.Data, &record))
		if record.Version != version {
			t.Errorf("%s has version %s, not %s", id, record.Version, version)
		}
	}
	overtaken := slices.DeleteFunc(r.ids("stale"), func(id string) bool { return slices.Contains(effects, id) }) // the second time
	if err := differ(m.valid, append(slices.Clone(effects), overtaken...)); err != nil {
		t.Errorf("effects: %v", err)
	}
	t.Logf("%d messages of %d commands: %d effects, %d overtaken, %d poison", len(m.published), len(m.valid)+len(m.poison),
		len(effects), len(overtaken), len(m.poison))
	p.Verify(t)
}

// record is what the function that takes commands has logged of them.
type record struct {
	acknowledged map[string]bool            // messages
	dropped      map[string]map[string]bool // ids of events by the result
}

func readRecord(p *Processes) record {
	r := record{map[string]bool{}, map[string]map[string]bool{}}
	for line := range strings.Lines(p.commands.output.tail(1 << 30)) {
		var entry struct {
			Message   string `json:"message"`
			Source    string `json:"event_source"`
			EventID   string `json:"event_id"`
			MessageID string `json:"message_id"`
			Result    string `json:"result"`
			Status    int    `json:"status"`
		}
		if json.Unmarshal([]byte(line), &entry) != nil || entry.Source != manySource {
			continue
		}
		if entry.Status == 204 {
			r.acknowledged[entry.MessageID] = true
		}
		if entry.Result != "" {
			if r.dropped[entry.Result] == nil {
				r.dropped[entry.Result] = map[string]bool{}
			}
			r.dropped[entry.Result][entry.EventID] = true
		}
	}
	return r
}

func (r record) ids(result string) []string {
	var ids []string
	for id := range r.dropped[result] {
		ids = append(ids, id)
	}
	return ids
}

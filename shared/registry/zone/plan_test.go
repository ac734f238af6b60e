package zone_test

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry/zone"
)

func set(name, kind string, data ...string) zone.Set {
	return zone.Set{Key: zone.Key{Name: name, Type: kind}, TTL: 30, Data: data}
}

const (
	apex  = "backend.internal.isectech.com."
	srv   = "_api._tcp." + apex
	ip1   = "ip-10-0-0-1." + apex
	label = "_isectech." + apex
)

func mark(types string) zone.Set {
	return set(label, "TXT", `"heritage=isectech environment=production types=`+types+`"`)
}

func sorted(sets []zone.Set) []string {
	sets = slices.Clone(sets)
	slices.SortFunc(sets, func(a, b zone.Set) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Type, b.Type))
	})
	return lines(sets)
}

func TestPlan(t *testing.T) {
	t.Parallel()
	one := []zone.Set{set(srv, "SRV", "0 1 80 "+ip1), set(apex, "A", "10.0.0.1"), set(ip1, "A", "10.0.0.1")}
	unmarked := []zone.Set{set(srv, "SRV", "0 1 443 x.run.app.")}
	longer := set(apex, "A", "10.0.0.1")
	longer.TTL = 60
	routed := set(apex, "A")
	routed.Routed = true
	tests := map[string]struct {
		current, wanted []zone.Set
		gone, made      []zone.Set
		foreign         []zone.Key
	}{
		"nothing":       {},
		"an empty zone": {wanted: one, made: append([]zone.Set{mark("A")}, one...)},
		"as it is":      {current: append(one, mark("A")), wanted: one},
		"as it is, in another spelling": {
			current: []zone.Set{set(strings.ToUpper(apex), "AAAA", "fd12:0:0::2", "FD12::1"), mark("AAAA")},
			wanted:  []zone.Set{set(apex, "AAAA", "fd12::1", "fd12::2")},
		},
		"another address": {
			current: append(one, mark("A")), wanted: []zone.Set{set(apex, "A", "10.0.0.1", "10.0.0.2"), one[0], one[2]},
			gone: []zone.Set{set(apex, "A", "10.0.0.1")}, made: []zone.Set{set(apex, "A", "10.0.0.1", "10.0.0.2")},
		},
		"another time to live": {
			current: []zone.Set{set(apex, "A", "10.0.0.1"), mark("A")}, wanted: []zone.Set{longer},
			gone: []zone.Set{mark("A"), set(apex, "A", "10.0.0.1")},
			made: []zone.Set{func() zone.Set { m := mark("A"); m.TTL = 60; return m }(), longer},
		},
		"the last instance gone": {current: append(one, mark("A")), gone: append([]zone.Set{mark("A")}, one...)},
		"addresses give way to names": {
			current: append(one, mark("A")), wanted: unmarked,
			gone: append([]zone.Set{mark("A")}, one...), made: []zone.Set{mark(""), unmarked[0]},
		},
		"an address that others made": {
			current: []zone.Set{set(apex, "A", "10.9.9.9")}, wanted: one,
			made: []zone.Set{mark(""), one[0], one[2]}, foreign: []zone.Key{{Name: apex, Type: "A"}},
		},
		"an address that others made beside ours": {
			current: []zone.Set{set(apex, "A", "10.9.9.9"), one[0], one[2], mark("")}, wanted: one,
			foreign: []zone.Key{{Name: apex, Type: "A"}},
		},
		"others' when nothing is wanted": {
			current: []zone.Set{set(apex, "A", "10.9.9.9"), set(apex, "TXT", `"v=spf1"`), set("x."+apex, "A", "10.9.9.9"), set(srv, "SRV", "0 0 1 x.")},
		},
		"others' beside a mark": {
			current: []zone.Set{mark("A"), set(apex, "MX", "10 x."), set("x."+apex, "A", "10.9.9.9"), set("ip-1.x."+apex, "A", "10.9.9.9"), set("_x."+apex, "SRV", "0 0 1 x.")},
			gone:    []zone.Set{mark("A")},
		},
		"a CNAME": {
			current: []zone.Set{set(apex, "CNAME", "x.")}, wanted: []zone.Set{one[1]},
			foreign: []zone.Key{{Name: apex, Type: "A"}},
		},
		"records like ours without a mark": {
			current: []zone.Set{set("_other._tcp."+apex, "SRV", "0 0 1 x.")}, wanted: []zone.Set{one[1]},
			foreign: []zone.Key{{Name: apex, Type: "A"}},
		},
		"a routing policy": {
			current: []zone.Set{routed, mark("A")}, wanted: []zone.Set{one[1]},
			gone: []zone.Set{mark("A")}, foreign: []zone.Key{{Name: apex, Type: "A"}},
		},
		"another environment's": {
			current: []zone.Set{set(label, "TXT", `"heritage=isectech environment=staging types=A"`), one[1]}, wanted: []zone.Set{one[0]},
			foreign: []zone.Key{{Name: srv, Type: "SRV"}},
		},
		"a mark that is none": {
			current: []zone.Set{set(label, "TXT", `"mine"`), one[1]}, wanted: []zone.Set{one[0]},
			foreign: []zone.Key{{Name: srv, Type: "SRV"}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			change, foreign := zone.Plan("backend", auth.Production, tt.current, tt.wanted)
			if diff := gocmp.Diff(sorted(tt.gone), lines(change.Deletions)); diff != "" {
				t.Errorf("deletions:\n%s", diff)
			}
			if diff := gocmp.Diff(sorted(tt.made), lines(change.Additions)); diff != "" {
				t.Errorf("additions:\n%s", diff)
			}
			if diff := gocmp.Diff(tt.foreign, foreign); diff != "" {
				t.Errorf("foreign:\n%s", diff)
			}
		})
	}
}

// zoneOf is a zone that takes changes as Cloud DNS does.
type zoneOf map[zone.Key]zone.Set

func (z zoneOf) apply(t *rapid.T, c zone.Change) {
	for _, s := range c.Deletions {
		if !z[s.Key].Equal(s) {
			t.Fatalf("deletion of %v, which is not there", s)
		}
		delete(z, s.Key)
	}
	for _, s := range c.Additions {
		if _, ok := z[s.Key]; ok {
			t.Fatalf("addition of %v, which is there", s)
		}
		z[s.Key] = s
	}
}

func (z zoneOf) sets() []zone.Set {
	var all []zone.Set
	for _, s := range z {
		all = append(all, s)
	}
	return all
}

// However what is wanted and what others do take turns: every change can be made, making it leaves nothing to change,
// nothing of others' is touched, and what is wanted is there unless others hold it.
func TestPlanConverges(t *testing.T) {
	t.Parallel()
	addresses := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}), 1, 3, rapid.ID[string])
	rapid.Check(t, func(t *rapid.T) {
		z, others := zoneOf{}, map[zone.Key]bool{}
		keys := []zone.Key{{Name: apex, Type: "A"}, {Name: srv, Type: "SRV"}, {Name: ip1, Type: "A"}, {Name: apex, Type: "MX"}}
		t.Repeat(map[string]func(*rapid.T){
			"others": func(t *rapid.T) {
				k := rapid.SampledFrom(keys).Draw(t, "key")
				if _, taken := z[k]; !taken {
					others[k], z[k] = true, set(k.Name, k.Type, "10.9.9.9")
				} else if others[k] {
					delete(z, k)
					delete(others, k)
				}
			},
			"sync": func(t *rapid.T) {
				var wanted []zone.Set
				for _, k := range keys[:3] {
					if rapid.Bool().Draw(t, k.Name) {
						wanted = append(wanted, set(k.Name, k.Type, addresses.Draw(t, "data")...))
					}
				}
				_, marked := z[zone.Key{Name: label, Type: "TXT"}]
				for k := range others {
					if marked && k.Name != apex { // below a mark they are the registry's
						delete(others, k)
					}
				}
				occupied := false
				for k := range others {
					occupied = occupied || k.Name != apex
				}
				change, _ := zone.Plan("backend", auth.Production, z.sets(), wanted)
				for _, s := range slices.Concat(change.Deletions, change.Additions) {
					if others[s.Key] {
						t.Fatalf("%v is another's", s)
					}
				}
				z.apply(t, change)
				for _, s := range wanted {
					if !others[s.Key] && !occupied && !z[s.Key].Equal(s) {
						t.Fatalf("%v is %v", s, z[s.Key])
					}
				}
				if again, _ := zone.Plan("backend", auth.Production, z.sets(), wanted); !again.Empty() {
					t.Fatalf("still to do: %v", again)
				}
			},
		})
	})
}

func TestAlias(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		apex: "backend", "_api._tcp.BACKEND.internal.isectech.com.": "backend", "internal.isectech.com.": "", "example.com.": "",
		"xinternal.isectech.com.": "",
	} {
		if got, ok := zone.Alias(name); got != want || ok != (want != "") {
			t.Errorf("Alias(%q) = %q, %v", name, got, ok)
		}
	}
}

func FuzzPlan(f *testing.F) {
	f.Add(label, "TXT", `"heritage=isectech environment=production types=A"`)
	f.Add(label, "TXT", `heritage=isectech" "environment=production" "types=A,AAAA`)
	f.Add(apex, "A", "10.0.0.1")
	f.Fuzz(func(t *testing.T, name, kind, data string) {
		current := []zone.Set{set(name, kind, data), set(apex, "A", "10.9.9.9")}
		if current[0].Key == current[1].Key {
			return
		}
		change, _ := zone.Plan("backend", auth.Production, current, nil)
		for _, s := range change.Deletions {
			if alias, ok := zone.Alias(s.Name); !ok || alias != "backend" {
				t.Errorf("deletes %v", s)
			}
		}
		if len(change.Additions) > 0 {
			t.Errorf("adds %v", change.Additions)
		}
	})
}

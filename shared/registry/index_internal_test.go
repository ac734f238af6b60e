package registry

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestTrieAgainstMap holds every version of a trie to the map that it stands for, after all later changes.
func TestTrieAgainstMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			trie trie[int]
			want map[string]int
		}
		versions := []version{{want: map[string]int{}}}
		key := rapid.Map(rapid.IntRange(0, 30), func(n int) string { return fmt.Sprint(n) })
		for n := range rapid.IntRange(1, 60).Draw(t, "steps") {
			last := versions[len(versions)-1]
			next := version{want: maps.Clone(last.want)}
			k := key.Draw(t, "key")
			if rapid.Bool().Draw(t, "remove") {
				next.trie = last.trie.without(k)
				delete(next.want, k)
			} else {
				next.trie = last.trie.with(k, n)
				next.want[k] = n
			}
			versions = append(versions, next)
		}
		for i, v := range versions {
			if v.trie.size != len(v.want) || len(slices.Collect(v.trie.all())) != len(v.want) {
				t.Fatalf("version %d has %d of %d", i, v.trie.size, len(v.want))
			}
			for n := range 31 {
				k := fmt.Sprint(n)
				got, ok := v.trie.get(k)
				if want, there := v.want[k]; got != want || ok != there {
					t.Fatalf("version %d: %s is %d, %t; want %d, %t", i, k, got, ok, want, there)
				}
			}
		}
	})
}

func TestTrieWithManyKeys(t *testing.T) {
	t.Parallel()
	var m trie[int]
	const n = 20_000
	for i := range n {
		m = m.with(fmt.Sprint(i), i)
	}
	for i := 0; i < n; i += 2 {
		m = m.without(fmt.Sprint(i))
	}
	for i := range n {
		if v, ok := m.get(fmt.Sprint(i)); ok != (i%2 == 1) || ok && v != i {
			t.Fatalf("%d is %d, %t", i, v, ok)
		}
	}
}

// TestPostingsAgainstSet holds every version of the postings to a sorted list.
func TestPostingsAgainstSet(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			tree postings
			want map[posting]bool
		}
		versions := []version{{want: map[posting]bool{}}}
		term := rapid.SampledFrom([]string{"", "a", "b"})
		id := rapid.SampledFrom([]string{"1", "2", "3", "4", "5"})
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			last := versions[len(versions)-1]
			next := version{want: maps.Clone(last.want)}
			p := posting{rapid.SampledFrom([]postingKind{byName, byTag}).Draw(t, "kind"), term.Draw(t, "term"), id.Draw(t, "id")}
			if rapid.Bool().Draw(t, "remove") {
				next.tree = last.tree.without(p)
				delete(next.want, p)
			} else {
				next.tree = last.tree.with(p)
				next.want[p] = true
			}
			versions = append(versions, next)
		}
		kind, name, after := rapid.SampledFrom([]postingKind{byName, byTag}).Draw(t, "of kind"), term.Draw(t, "of term"), rapid.SampledFrom([]string{"", "1", "3", "35", "5"}).Draw(t, "after")
		for i, v := range versions {
			var want []string
			for p := range v.want {
				if p.kind == kind && p.term == name && p.id > after {
					want = append(want, p.id)
				}
			}
			slices.Sort(want)
			if diff := cmp.Diff(want, slices.Collect(v.tree.ids(kind, name, after))); diff != "" || v.tree.size != len(v.want) {
				t.Fatalf("version %d of size %d (-want +got):\n%s", i, v.tree.size, diff)
			}
			for range v.tree.ids(kind, name, after) {
				break // stopping early must not go on
			}
		}
	})
}

package policy

import (
	"fmt"
	"testing"

	"github.com/isectech/service-networking/shared/auth"
)

// TestTable fills tables to the last entry that they have room for, and finds that and nothing else.
func TestTable(t *testing.T) {
	t.Parallel()
	sub := func(i int) auth.Subject { return auth.MustSubject(fmt.Sprintf("s%d", i)) }
	for n := range 200 {
		table := newTable[int](n)
		for i := range n {
			*table.put(pair{sub(i), sub(i / 2)}) = i + 1
			*table.put(pair{sub(i), sub(i / 2)}) += 1000
		}
		for i := range n + 10 {
			got := table.get(pair{sub(i), sub(i / 2)})
			if (got != nil) != (i < n) || got != nil && *got != i+1001 {
				t.Fatalf("of %d, %d: %v", n, i, got)
			}
			if i > 1 && table.get(pair{sub(i / 2), sub(i)}) != nil {
				t.Fatalf("of %d, %d is found the other way round", n, i)
			}
		}
		for _, key := range []pair{{}, {target: sub(0)}, {caller: sub(0)}} {
			if got := table.get(key); got != nil && (n == 0 || key.caller.IsZero() || key.target.IsZero()) {
				t.Fatalf("of %d, %v is found", n, key)
			}
		}
		keys := 0
		for range table.keys() {
			keys++
		}
		if keys != n {
			t.Fatalf("%d keys of %d", keys, n)
		}
	}
}

package registry

import (
	"strconv"
	"testing"
)

// ViewOf returns a view of n healthy instances, whose metadata n counts them.
func ViewOf(t testing.TB, n int) View {
	t.Helper()
	var docs feed
	for i := range n {
		docs = append(docs, documents(t, one("svc", i, func(r *Record) { r.Metadata = map[string]string{"n": strconv.Itoa(i)} }), 1)...)
	}
	c := newCache(docs, func(err error) { t.Error(err) })
	if err := c.refresh(t.Context(), noon); err != nil {
		t.Fatal(err)
	}
	return View{snapshot: c.current.Load(), now: noon.UnixMicro()}
}

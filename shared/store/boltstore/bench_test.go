package boltstore_test

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/boltstore"
)

// benchmarked returns a store of 10,000 services.
func benchmarked(b *testing.B) *boltstore.DB {
	b.Helper()
	db := open(b, filepath.Join(b.TempDir(), "store.db"), time.Now)
	for n := 0; n < 10_000; {
		var writes []store.Write
		for range store.MaxWrites {
			writes = append(writes, store.Write{Ref: service(n), Data: map[string]any{
				"service_name": fmt.Sprintf("isectech-%d", n%50), "environment": "production", "weight": n % 100,
				"tags": []string{"a", "b"}, "endpoints": []map[string]any{{"name": "http", "url": "http://10.0.0.1:8080/", "port": 8080}}}})
			n++
		}
		if _, err := db.Commit(b.Context(), store.Batch{Actor: "a", Cause: "c", Writes: writes}); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	return db
}

func service(n int) store.Ref {
	return store.Ref{Collection: store.Services, ID: fmt.Sprintf("service-%05d", n)}
}

func BenchmarkGet(b *testing.B) {
	db := benchmarked(b)
	for n := 0; b.Loop(); n++ {
		if _, err := db.Get(b.Context(), service(n%10_000)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 32} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			db := open(b, filepath.Join(b.TempDir(), "store.db"), time.Now)
			var n atomic.Int64
			b.SetParallelism(writers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					w := store.Write{Ref: service(int(n.Add(1)) % 10_000), Data: map[string]any{"n": 1}}
					if _, err := db.Commit(b.Context(), store.Batch{Actor: "a", Cause: "c", Writes: []store.Write{w}}); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func BenchmarkQuery(b *testing.B) {
	db := benchmarked(b)
	for name, q := range map[string]store.Query{
		"by id, 100 of 10,000":       {Collection: store.Services},
		"all pages of 10,000":        {Collection: store.Services, Limit: 500},
		"equal, 100 of 200":          {Collection: store.Services, Where: []store.Filter{{Field: "service_name", Op: store.Eq, Value: "isectech-7"}}},
		"ordered, 100 of 10,000":     {Collection: store.Services, OrderBy: "weight"},
		"journal by key, 500 a page": {Collection: store.Journal, OrderBy: "key", Limit: 500},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				page, err := db.Query(b.Context(), q)
				for err == nil && page.Next != "" && name == "all pages of 10,000" {
					q.PageToken = page.Next
					page, err = db.Query(b.Context(), q)
				}
				if err != nil {
					b.Fatal(err)
				}
				q.PageToken = ""
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	db := benchmarked(b)
	for b.Loop() {
		if report, err := store.Verify(b.Context(), db, time.Now()); err != nil || !report.Clean() {
			b.Fatal(report, err)
		}
	}
}

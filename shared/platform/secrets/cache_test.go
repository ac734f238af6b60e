package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/platform/secrets"
)

// source answers with the name and the number, and records what it was asked.
type source struct {
	mu    sync.Mutex
	asked []string
	err   error
}

func (s *source) Access(_ context.Context, name string, version int64) (secrets.Value, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	label := fmt.Sprint(name, version)
	s.asked = append(s.asked, label)
	return secrets.NewValue([]byte(label)), s.err
}

func TestCache(t *testing.T) {
	t.Parallel()
	src, now := &source{}, noon
	cache := secrets.NewCache(src, 2, time.Minute, func() time.Time { return now })
	read := func(name string, version int64) {
		t.Helper()
		value, err := cache.Access(t.Context(), name, version)
		if want := fmt.Sprint(name, version); err != nil || string(value.Reveal()) != want {
			t.Errorf("Access(%s, %d) = %q, %v", name, version, value.Reveal(), err)
		}
	}
	asked := func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, src.asked); diff != "" {
			t.Errorf("asked of the source (-want +got):\n%s", diff)
		}
		src.asked = nil
	}
	read("a", 1)
	read("a", 1)
	read("a", 2)
	asked("a1", "a2")
	now = now.Add(59 * time.Second)
	read("a", 1)
	asked()
	now = now.Add(time.Second) // a1 is a minute old
	read("a", 1)
	asked("a1")
	read("b", 1) // a third: a2, the oldest, goes
	read("a", 1)
	asked("b1")
	read("a", 2)
	asked("a2")

	src.err = secrets.ErrDestroyed
	now = now.Add(time.Minute)
	if value, err := cache.Access(t.Context(), "a", 2); !errors.Is(err, secrets.ErrDestroyed) || value.Len() > 0 {
		t.Errorf("a destroyed version past its age: %d bytes, %v", value.Len(), err)
	}
	src.err, src.asked = nil, nil
	read("a", 2) // the error is not remembered
	asked("a2")
}

func TestCacheIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	cache := secrets.NewCache(&source{}, 3, time.Nanosecond, time.Now)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range int64(100) {
				if _, err := cache.Access(t.Context(), "a", n%5+int64(i%2)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/isectech/service-networking/shared/store"
)

const (
	contenders = 32
	increments = 4
)

// testIncrements has many writers count in one document, each retrying on conflict: none may be lost.
func testIncrements(t *testing.T, f *fixture) {
	a := ref(store.Services, "a")
	f.set(t, a, object{"n": 0})
	errs := parallel(t.Context(), contenders, func(ctx context.Context, w int) error {
		for done := 0; done < increments; {
			d, err := f.Get(ctx, a)
			if err != nil {
				return err
			}
			var state struct{ N int }
			if err := d.Decode(&state); err != nil {
				return err
			}
			b := batch(store.Write{Ref: a, Data: object{"n": state.N + 1}, If: store.AtGeneration(d.Generation)})
			switch _, err := f.Commit(ctx, b); {
			case err == nil:
				done++
			case !errors.Is(err, store.ErrConflict):
				return err
			}
		}
		return nil
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	d := f.get(t, a)
	wantEqual(t, "count", fmt.Sprintf(`{"n":%d}`, contenders*increments), string(d.Data))
	if d.Generation != contenders*increments+1 {
		t.Errorf("generation %d; want %d", d.Generation, contenders*increments+1)
	}
	f.verify(t)
}

// testWriters has many writers write one document without a precondition: contention is not theirs to
// see, and each write is a generation.
func testWriters(t *testing.T, f *fixture) {
	a := ref(store.Services, "a")
	seen := make([][]int64, contenders)
	errs := parallel(t.Context(), contenders, func(ctx context.Context, w int) error {
		for range increments {
			docs, err := f.Commit(ctx, batch(store.Write{Ref: a, Data: object{"w": w}}))
			if err != nil {
				return err
			}
			seen[w] = append(seen[w], docs[0].Generation)
		}
		return nil
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	given := map[int64]bool{}
	for _, generations := range seen {
		for _, g := range generations {
			if given[g] {
				t.Errorf("generation %d was given twice", g)
			}
			given[g] = true
		}
	}
	if g := f.get(t, a).Generation; g != contenders*increments {
		t.Errorf("generation %d; want %d", g, contenders*increments)
	}
	f.verify(t)
}

// testRacingCreates has many create one document at once: one does.
func testRacingCreates(t *testing.T, f *fixture) {
	for _, collection := range []string{store.Services, store.Nonces} {
		a := ref(collection, "a")
		errs := parallel(t.Context(), 50, func(ctx context.Context, w int) error {
			_, err := f.Commit(ctx, batch(store.Write{Ref: a, Data: object{"same": true}, If: store.Absent()}))
			return err
		})
		won := 0
		for _, err := range errs {
			var conflict *store.ConflictError
			switch {
			case err == nil:
				won++
			case !errors.As(err, &conflict) || conflict.Ref != a || conflict.Generation != 1:
				t.Errorf("%s: %v; want a conflict at generation 1", collection, err)
			}
		}
		if won != 1 {
			t.Errorf("%s: %d creations won; want 1", collection, won)
		}
	}
	f.verify(t)
}

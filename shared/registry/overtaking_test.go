package registry_test

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/store"
)

// slowReturn keeps the caller of a commit of one record waiting, though it is done.
type slowReturn struct {
	store.Store
	of              store.Ref
	done, mayReturn chan struct{}
}

func (s *slowReturn) Commit(ctx context.Context, b store.Batch) ([]store.Document, error) {
	docs, err := s.Store.Commit(ctx, b)
	if b.Writes[0].Ref == s.of {
		close(s.done)
		<-s.mayReturn
	}
	return docs, err
}

// Of two commits the earlier may become known later: when it is this process's own and its writer was held up,
// or another process's. A watcher who was told of the other must be told of it all the same.
func TestWatchMissesNoOvertakenCommit(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ own bool }{"of this process": {true}, "of another": {false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			slow := &slowReturn{
				Store: f.store, of: store.Ref{Collection: store.Services, ID: "backend-services-001"},
				done: make(chan struct{}), mayReturn: make(chan struct{}),
			}
			other := f.registry()
			f.store = slow
			here := f.registry()
			me := by(principal("isectech-backend-services", auth.Production))
			mustRegister(t, other, me, instance("backend-services-000"))
			start := view(t, here).Index()

			first := other
			if tt.own {
				first = here
			} else {
				close(slow.mayReturn)
			}
			returned := make(chan error, 1)
			go func() {
				_, _, err := first.Register(context.Background(), me, instance("backend-services-001"))
				returned <- err
			}()
			if tt.own {
				<-slow.done
			} else if err := <-returned; err != nil {
				t.Fatal(err)
			}
			mustRegister(t, here, me, instance("backend-services-002"))
			v, changes, err := here.Watch(t.Context(), start, "", "", 0)
			if err != nil {
				t.Fatal(err)
			}
			if tt.own {
				close(slow.mayReturn)
				if err := <-returned; err != nil {
					t.Fatal(err)
				}
			}
			_, later, err := here.Watch(t.Context(), v.Index(), "", "", 0)
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"created backend-services-001", "created backend-services-002"}
			if diff := cmp.Diff(want, told(slices.Concat(changes, later))); diff != "" {
				t.Errorf("told of (-want +got):\n%s", diff)
			}
		})
	}
}

// Whoever reads a list sees its index cover the writes of the process that answers.
func TestWholeCoversOwnWrites(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.registry()
	view(t, r)
	made := mustRegister(t, r, by(principal("isectech-backend-services", auth.Production)), instance("backend-services-001"))
	if got := view(t, r).Index(); got >= made.UpdatedAt.UnixMicro() {
		t.Errorf("a snapshot claims to miss nothing up to %d, where it has not looked", got)
	}
	v, err := r.Whole(t.Context())
	if err != nil || v.Index() != made.UpdatedAt.UnixMicro() {
		t.Errorf("index %d, want %d: %v", v.Index(), made.UpdatedAt.UnixMicro(), err)
	}
}

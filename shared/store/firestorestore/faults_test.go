package firestorestore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/firestorestore"
	"github.com/isectech/service-networking/shared/store/firestorestore/emulatortest"
	"github.com/isectech/service-networking/shared/store/storetest"
)

var serviceA = store.Ref{Collection: store.Services, ID: "a"}

func newStore(t *testing.T, client *firestore.Client, now func() time.Time) *firestorestore.Store {
	t.Helper()
	s, err := firestorestore.New(client, firestorestore.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func batchOf(writes ...store.Write) store.Batch {
	return store.Batch{Writes: writes, Actor: "operator:test@isectech.com", Cause: "test"}
}

func verifyClean(t *testing.T, s store.Store, now time.Time) {
	t.Helper()
	report, err := store.Verify(t.Context(), s, now)
	if err != nil || !report.Clean() {
		t.Errorf("verify: %v, %v", report.Faults, err)
	}
}

// onCommit answers the next calls of Commit itself: after they have happened, or instead of them.
func onCommit(times *atomic.Int32, happen bool, code codes.Code) grpc.DialOption {
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if !strings.HasSuffix(method, "/Commit") || times.Add(-1) < 0 {
			return call(ctx, method, req, reply, conn, opts...)
		}
		if happen {
			if err := call(ctx, method, req, reply, conn, opts...); err != nil {
				return err
			}
		}
		return status.Error(code, "injected")
	})
}

// TestLostAnswer loses the answer of a commit that happened: it is found in the journal, neither repeated
// nor reported as a conflict with itself.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.Internal, codes.Unknown, codes.InvalidArgument, codes.Aborted} {
		for name, cond := range map[string]store.Precondition{"none": {}, "absent": store.Absent(), "generation": store.AtGeneration(1)} {
			t.Run(fmt.Sprintf("%s/%s", code, name), func(t *testing.T) {
				t.Parallel()
				var times atomic.Int32
				clock := new(storetest.Clock)
				s := newStore(t, emulatortest.Client(t, onCommit(&times, true, code)), clock.Now)
				want := int64(1)
				if cond == store.AtGeneration(1) {
					if _, err := s.Commit(t.Context(), batchOf(store.Write{Ref: serviceA, Data: map[string]any{}})); err != nil {
						t.Fatal(err)
					}
					want = 2
				}
				times.Store(1)
				docs, err := s.Commit(t.Context(), batchOf(
					store.Write{Ref: store.Ref{Collection: store.Leases, ID: "a"}, Data: map[string]any{}},
					store.Write{Ref: serviceA, Data: map[string]any{"n": 1}, If: cond}))
				if err != nil {
					t.Fatal(err)
				}
				got, err := s.Get(t.Context(), serviceA)
				if err != nil || got.Generation != want {
					t.Errorf("generation %d, %v; want %d", got.Generation, err, want)
				}
				if diff := cmp.Diff(got, docs[1]); diff != "" {
					t.Errorf("read against committed:\n%s", diff)
				}
				verifyClean(t, s, clock.Now())
			})
		}
	}
}

func TestLostAnswerOfOnce(t *testing.T) {
	t.Parallel()
	var times atomic.Int32
	times.Store(1)
	clock := new(storetest.Clock)
	s := newStore(t, emulatortest.Client(t, onCommit(&times, true, codes.DeadlineExceeded)), clock.Now)
	b := batchOf(store.Write{Ref: serviceA, Data: map[string]any{}})
	b.Once = "event"
	if docs, err := s.Commit(t.Context(), b); err != nil || docs[0].Generation != 1 {
		t.Errorf("%v, %v", docs, err)
	}
	if _, err := s.Commit(t.Context(), b); !errors.Is(err, store.ErrDuplicate) {
		t.Errorf("again: %v; want ErrDuplicate", err)
	}
	verifyClean(t, s, clock.Now())
}

// TestCommitErrors gives what the contract says for what the server answers.
func TestCommitErrors(t *testing.T) {
	t.Parallel()
	for code, want := range map[codes.Code]error{
		codes.DeadlineExceeded: store.ErrUnavailable,
		codes.Internal:         store.ErrUnavailable,
		codes.InvalidArgument:  store.ErrInvalid,
	} {
		var times atomic.Int32
		times.Store(100)
		s := newStore(t, emulatortest.Client(t, onCommit(&times, false, code)), new(storetest.Clock).Now)
		if _, err := s.Commit(t.Context(), batchOf(store.Write{Ref: serviceA, Data: map[string]any{}})); !errors.Is(err, want) {
			t.Errorf("%s: %v; want %v", code, err, want)
		}
		// Nobody was quicker: the caller's own context ends it.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		t.Cleanup(cancel)
		s = newStore(t, emulatortest.Client(t, onCommit(&times, false, codes.FailedPrecondition)), new(storetest.Clock).Now)
		times.Store(1_000_000)
		if _, err := s.Commit(ctx, batchOf(store.Write{Ref: serviceA, Data: map[string]any{}})); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrConflict) {
			t.Errorf("contention without end: %v; want the context's error", err)
		}
	}
}

// TestSeveralProcesses has stores that do not know of each other write the same documents.
func TestSeveralProcesses(t *testing.T) {
	t.Parallel()
	const processes, writes = 6, 5
	clock := new(storetest.Clock)
	client := emulatortest.Client(t)
	errs := make([]error, processes)
	var group sync.WaitGroup
	for p := range processes {
		s := newStore(t, client, clock.Now)
		group.Go(func() {
			for i := range writes {
				b := batchOf(
					store.Write{Ref: serviceA, Data: map[string]any{"p": p, "i": i}},
					store.Write{Ref: store.Ref{Collection: store.Services, ID: fmt.Sprint(p)}, Data: map[string]any{"i": i}})
				b.Once = fmt.Sprintf("%d", i) // one of all processes wins each round
				if _, err := s.Commit(t.Context(), b); err != nil && !errors.Is(err, store.ErrDuplicate) {
					errs[p] = err
				}
				if _, err := s.Commit(t.Context(), batchOf(store.Write{Ref: serviceA, Data: map[string]any{}})); err != nil {
					errs[p] = errors.Join(errs[p], err)
				}
			}
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	s := newStore(t, client, clock.Now)
	got, err := s.Get(t.Context(), serviceA)
	if want := int64(processes*writes + writes); err != nil || got.Generation != want {
		t.Errorf("generation %d, %v; want %d", got.Generation, err, want)
	}
	verifyClean(t, s, clock.Now())
}

// TestRemovedByTTL takes away what TTL would: generations and chain go on from the journal.
func TestRemovedByTTL(t *testing.T) {
	t.Parallel()
	clock := new(storetest.Clock)
	client := emulatortest.Client(t)
	s := newStore(t, client, clock.Now)
	commit := func(w store.Write, once string) store.Document {
		t.Helper()
		b := batchOf(w)
		b.Once = once
		docs, err := s.Commit(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		return docs[0]
	}
	commit(store.Write{Ref: serviceA, Data: map[string]any{}}, "first")
	commit(store.Write{Ref: serviceA}, "second")
	snap, err := client.Collection(store.Services).Doc("a").Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if at, ok := snap.Data()["expires_at"].(time.Time); !ok || at.Before(clock.Now().Add(24*time.Hour)) {
		t.Errorf("the tombstone may go at %v", at)
	}
	if _, err := snap.Ref.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	clock.Advance(48 * time.Hour)
	verifyClean(t, s, clock.Now())
	if d := commit(store.Write{Ref: serviceA, Data: map[string]any{}, If: store.Absent()}, ""); d.Generation != 3 {
		t.Errorf("generation %d; want 3", d.Generation)
	}
	verifyClean(t, s, clock.Now())
}

// TestForeignChanges changes documents behind the store's back, as somebody at a console would.
func TestForeignChanges(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		path    string
		value   any
		problem string
		corrupt bool
	}{
		"data":            {"n", 2, "content", false},
		"field added":     {"m", 2, "content", false},
		"generation":      {"generation", 7, "generation", false},
		"generation type": {"generation", "1", "field generation", true},
		"author":          {"updated_by", "x", "author", false},
		"author gone":     {"updated_by", firestore.Delete, "field updated_by", true},
		"head":            {"head", "x", "head", false},
		"deleted":         {"deleted", true, "field n", true},
		"expiry":          {"expires_at", time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), "content", false},
		"expiry type":     {"expires_at", "2030", "field expires_at", true},
		"timestamp":       {"n", time.Now(), "time.Time", true},
		"not a number":    {"n", 0.0, "content", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := new(storetest.Clock)
			client := emulatortest.Client(t)
			s := newStore(t, client, clock.Now)
			for _, id := range []string{"a", "b"} {
				if _, err := s.Commit(t.Context(), batchOf(store.Write{Ref: store.Ref{Collection: store.Services, ID: id}, Data: map[string]any{"n": 1}})); err != nil {
					t.Fatal(err)
				}
			}
			doc := client.Collection(store.Services).Doc("a")
			if _, err := doc.Update(t.Context(), []firestore.Update{{Path: tt.path, Value: tt.value}}); err != nil {
				t.Fatal(err)
			}
			report, err := store.Verify(t.Context(), s, clock.Now())
			if err != nil || len(report.Faults) != 1 || report.Faults[0].Object != "services/a" || !strings.Contains(report.Faults[0].Problem, tt.problem) {
				t.Errorf("verify: %v, %v; want %s", report.Faults, err, tt.problem)
			}
			if _, err := s.Get(t.Context(), serviceA); errors.Is(err, store.ErrCorrupt) != tt.corrupt {
				t.Errorf("get: %v", err)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	refuse := grpc.WithChainUnaryInterceptor(func(context.Context, string, any, any, *grpc.ClientConn, grpc.UnaryInvoker, ...grpc.CallOption) error {
		return status.Error(codes.Aborted, "injected")
	})
	cut := grpc.WithChainStreamInterceptor(func(context.Context, *grpc.StreamDesc, *grpc.ClientConn, string, grpc.Streamer, ...grpc.CallOption) (grpc.ClientStream, error) {
		return nil, status.Error(codes.Aborted, "injected")
	})
	s := newStore(t, emulatortest.Client(t, refuse, cut), new(storetest.Clock).Now)
	_, getErr := s.Get(t.Context(), serviceA)
	_, queryErr := s.Query(t.Context(), store.Query{Collection: store.Services})
	_, commitErr := s.Commit(t.Context(), batchOf(store.Write{Ref: serviceA, Data: map[string]any{}}))
	var feedErr error
	for _, err := range s.Changes(t.Context(), store.Services, 0) {
		feedErr = err
	}
	for call, err := range map[string]error{"get": getErr, "query": queryErr, "commit": commitErr, "changes": feedErr} {
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v; want ErrUnavailable", call, err)
		}
	}
}

// Package firestorestore keeps a store in Firestore.
//
// A document's data lie as native fields beside those of its envelope: generation, updated_at (the
// server's timestamp), updated_by, deleted, expires_at (for a TTL policy) and head. Nothing is locked:
// a commit reads the documents, decides, and writes on condition that they are still as they were read,
// until that succeeds.
package firestorestore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/isectech/service-networking/shared/store"
)

// Options are what a store is made with. Now is required.
type Options struct {
	Now func() time.Time
}

// Store implements store.Store in a Firestore database.
type Store struct {
	client *firestore.Client
	now    func() time.Time
	turns  turns
}

// New returns the store that the client's database holds. The client stays the caller's to close.
func New(client *firestore.Client, opts Options) (*Store, error) {
	if client == nil || opts.Now == nil {
		return nil, fmt.Errorf("%w: firestorestore: no client or no clock", store.ErrInvalid)
	}
	return &Store{client: client, now: opts.Now}, nil
}

// Open returns the store in a project's default database, with a client of its own.
func Open(ctx context.Context, project string, now func() time.Time) (*Store, error) {
	if project == "" {
		return nil, fmt.Errorf("%w: firestorestore: GOOGLE_CLOUD_PROJECT is not set", store.ErrInvalid)
	}
	client, err := firestore.NewClient(ctx, project)
	if err != nil {
		return nil, fmt.Errorf("open Firestore: %w", err)
	}
	return New(client, Options{Now: now})
}

// Close closes the client of a store that Open returned.
func (s *Store) Close(_ context.Context) error { return s.client.Close() }

func (s *Store) doc(ref store.Ref) *firestore.DocumentRef {
	return s.client.Collection(ref.Collection).Doc(ref.ID)
}

// mapped turns an error of the client into one of the contract's. ctx is the caller's own: its end is told
// from a deadline of one attempt and from the server's.
func mapped(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return fmt.Errorf("%w: %w", ctxErr, err)
	}
	for _, sentinel := range []error{store.ErrCorrupt, store.ErrInvalid, store.ErrUnavailable, store.ErrNotFound} {
		if errors.Is(err, sentinel) {
			return err
		}
	}
	switch code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted, codes.Internal, codes.Canceled:
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	case codes.InvalidArgument, codes.OutOfRange:
		return fmt.Errorf("%w: %w", store.ErrInvalid, err)
	default:
		return err
	}
}

// code returns the gRPC code of an error, also of a context's.
func code(err error) codes.Code {
	if c := status.Code(err); c != codes.Unknown {
		return c
	}
	var grpc interface{ GRPCStatus() *status.Status }
	switch {
	case errors.As(err, &grpc):
		return grpc.GRPCStatus().Code()
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	default:
		return codes.Unknown
	}
}

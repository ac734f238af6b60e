package secrets

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Errors that every method returns, wrapped with the operation and the secret.
var (
	ErrNotFound    = errors.New("not found")
	ErrExists      = errors.New("already exists")
	ErrDisabled    = errors.New("version is disabled")
	ErrDestroyed   = errors.New("version is destroyed")
	ErrConflict    = errors.New("etag does not match") // changed since it was read: read again
	ErrInvalid     = errors.New("invalid")             // the call itself is wrong; repeating it cannot help
	ErrDenied      = errors.New("permission denied")
	ErrCorrupt     = errors.New("corrupt")     // the payload is not the one its checksum was made from
	ErrUnavailable = errors.New("unavailable") // not reached, or no answer in time; may be tried again
)

// translate maps an error of the API to ours. Secret Manager says FAILED_PRECONDITION both for a version
// in the wrong state and for an etag that does not match; its text names the state in the first case.
func translate(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("secrets: %s %s: %w: %s", op, name, sentinel(err), status.Convert(err).Message())
}

func sentinel(err error) error {
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	switch status.Code(err) {
	case codes.NotFound:
		return ErrNotFound
	case codes.AlreadyExists:
		return ErrExists
	case codes.FailedPrecondition:
		return precondition(status.Convert(err).Message())
	case codes.InvalidArgument, codes.OutOfRange, codes.Unimplemented:
		return ErrInvalid
	case codes.PermissionDenied, codes.Unauthenticated:
		return ErrDenied
	case codes.DataLoss:
		return ErrCorrupt
	case codes.Canceled:
		return context.Canceled
	default:
		// DEADLINE_EXCEEDED, UNAVAILABLE, RESOURCE_EXHAUSTED, INTERNAL, and errors that carry no code,
		// such as a context that ended before the call: nothing is known of the secret.
		return ErrUnavailable
	}
}

func precondition(message string) error {
	switch {
	case strings.Contains(message, "DESTROYED"):
		return ErrDestroyed
	case strings.Contains(message, "DISABLED"):
		return ErrDisabled
	default:
		return ErrConflict
	}
}

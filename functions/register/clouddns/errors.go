package clouddns

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"google.golang.org/api/googleapi"
)

// Errors of a Zone.
var (
	// ErrConflict means that the zone is not as the change was planned from: read again.
	ErrConflict = errors.New("the zone has changed")
	// ErrUnavailable means that Cloud DNS cannot be reached, or takes no more now: try later.
	ErrUnavailable = errors.New("the zone is unavailable")
	// ErrWrongZone means that the managed zone is another domain's.
	ErrWrongZone = errors.New("not the registry's zone")
)

// What is done with a zone.
const (
	opRead   = "read the zone"
	opChange = "change the zone"
)

// translate maps an error of the API to ours. What is left, such as a refusal of the caller or of a record, no
// repetition mends.
func translate(op string, err error) error {
	if err == nil || errors.Is(err, errTooMany) {
		return err
	}
	answer, ok := errors.AsType[*googleapi.Error](err)
	if !ok { // no answer at all
		return fmt.Errorf("%s: %w: %w", op, ErrUnavailable, err)
	}
	switch {
	case answer.Code == http.StatusConflict || answer.Code == http.StatusPreconditionFailed,
		answer.Code == http.StatusNotFound && op == opChange: // a deletion of what is not there; a missing zone fails to be read
		return fmt.Errorf("%s: %w: %w", op, ErrConflict, err)
	case answer.Code == http.StatusTooManyRequests || answer.Code >= http.StatusInternalServerError,
		answer.Code == http.StatusForbidden && about(answer, "rateLimitExceeded", "quotaExceeded", "userRateLimitExceeded"):
		return fmt.Errorf("%s: %w: %w", op, ErrUnavailable, err)
	default:
		return fmt.Errorf("%s: %w", op, err)
	}
}

// about reports whether an error gives one of some reasons.
func about(answer *googleapi.Error, reasons ...string) bool {
	return slices.ContainsFunc(answer.Errors, func(item googleapi.ErrorItem) bool {
		return slices.Contains(reasons, item.Reason)
	})
}

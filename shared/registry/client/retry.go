package client

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/isectech/service-networking/shared/registry/balance"
)

// again reports whether a call that ended like this may be made once more without any harm but its cost.
func again(r *http.Request, res *http.Response, err error) bool {
	if r.Context().Err() != nil {
		return false
	}
	if err != nil {
		return idempotent(r) || unsent(err)
	}
	switch res.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return idempotent(r)
	default:
		return false
	}
}

// idempotent reports whether making a call twice is the same as making it once (RFC 9110, 9.2.2), by its method or
// by a key that its caller gives for this.
func idempotent(r *http.Request) bool {
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	default:
		return r.Header.Get("Idempotency-Key") != "" || r.Header.Get("X-Idempotency-Key") != ""
	}
}

// unsent reports whether a call failed before there was a connection to send it on.
func unsent(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// rewind returns the body of a request for sending it again.
func rewind(r *http.Request) (body io.ReadCloser, ok bool) {
	if r.Body == nil || r.Body == http.NoBody {
		return r.Body, true
	}
	if r.GetBody == nil {
		return nil, false
	}
	body, err := r.GetBody()
	return body, err == nil
}

// budget bounds second attempts, so that they do not double the load of a service that is failing as a whole: each
// failure takes one of ten, each tenth success gives one back, and while more than half are left there are second
// attempts (as gRPC's retry throttling has it).
type budget struct {
	spent atomic.Int64 // in tenths; the zero budget is full
}

const (
	fullBudget = 100
	perFailure = 10
	perSuccess = 1
)

// count takes note of how a first attempt ended, unless its caller gave up.
func (b *budget) count(r *http.Request, res *http.Response, err error) {
	switch {
	case err == nil && res.StatusCode < 500:
		b.move(-perSuccess)
	case err == nil || outcomeOf(r.Context(), err) == balance.Failure:
		b.move(perFailure)
	}
}

// take reports whether there may be a second attempt.
func (b *budget) take() bool { return b.spent.Load() <= fullBudget/2 }

func (b *budget) move(by int64) {
	for {
		is := b.spent.Load()
		next := min(max(is+by, 0), fullBudget)
		if next == is || b.spent.CompareAndSwap(is, next) {
			return
		}
	}
}

package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/isectech/service-networking/shared/auth"
)

const (
	callTimeout = 10 * time.Second
	maxAnswer   = 64 << 20 // bytes of one answer: twice a page of the largest records
)

// RefusedError is an answer of the registry that is not the one asked for. Those of 5xx, 408 and 429 unwrap to
// ErrUnavailable.
type RefusedError struct {
	Status     int
	Code       string        // not_owner, invalid_request, …
	Message    string        // for people
	Fields     []Field       // what is wrong with a registration
	RetryAfter time.Duration // 0 where the registry did not say
}

// Field is something wrong with one field of a registration.
type Field struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Error gives status and message, and the first field.
func (e *RefusedError) Error() string {
	text := fmt.Sprintf("the registry answers %d %s: %s", e.Status, e.Code, e.Message)
	if len(e.Fields) > 0 {
		text += fmt.Sprintf(" (%s: %s)", e.Fields[0].Field, e.Fields[0].Message)
	}
	return text
}

// Unwrap makes errors.Is(err, ErrUnavailable) true for what may pass.
func (e *RefusedError) Unwrap() error {
	if e.Status >= 500 || e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout {
		return ErrUnavailable
	}
	return nil
}

// lasting reports whether an error is a refusal that asking again does not change.
func lasting(err error) bool {
	_, ok := errors.AsType[*RefusedError](err)
	return ok && !errors.Is(err, ErrUnavailable)
}

// answered reports whether an error is an answer with a status.
func answered(err error, status int) bool {
	refused, ok := errors.AsType[*RefusedError](err)
	return ok && refused.Status == status
}

// call makes one call of the registry and decodes its answer, where there is one, into something.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, body, into any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return c.callWithin(ctx, method, path, query, body, into)
}

// callWithin is call with a deadline of its caller's.
func (c *Client) callWithin(ctx context.Context, method, path string, query url.Values, body, into any) (http.Header, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
		content = bytes.NewReader(text)
	}
	at := c.server.JoinPath(path)
	at.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, at.String(), content)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.options.Token != nil {
		token, err := c.options.Token(ctx, auth.PlatformAudience)
		if err != nil {
			return nil, fmt.Errorf("%w: access token: %w", ErrUnavailable, err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %s %s: %w", ErrUnavailable, method, path, err)
	}
	if res.StatusCode/100 != 2 {
		return nil, c.refusal(res, text)
	}
	if into == nil || len(text) == 0 {
		return res.Header, nil
	}
	if len(text) > maxAnswer {
		return nil, fmt.Errorf("%w: %s %s: the answer has more than %d bytes", ErrUnavailable, method, path, maxAnswer)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return nil, fmt.Errorf("%w: %s %s: %w", ErrUnavailable, method, path, err)
	}
	return res.Header, nil
}

// refusal reads what is no success. A proxy's page instead of an answer leaves the status.
func (c *Client) refusal(res *http.Response, text []byte) error {
	var said struct {
		Error   string  `json:"error"`
		Message string  `json:"message"`
		Fields  []Field `json:"fields"`
	}
	if json.Unmarshal(text[:min(len(text), 64<<10)], &said) != nil {
		said.Message = http.StatusText(res.StatusCode)
	}
	return &RefusedError{
		Status: res.StatusCode, Code: said.Error, Message: said.Message, Fields: said.Fields,
		RetryAfter: retryAfter(res.Header.Get("Retry-After"), c.options.Now()),
	}
}

// retryAfter reads seconds or a date (RFC 9110, 10.2.3); 0 is neither, or a time that has passed.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// ownClient returns a client that sends a token nowhere but to the server.
func ownClient(given *http.Client) *http.Client {
	own := http.Client{}
	if given != nil {
		own = *given
	}
	own.Timeout = 0 // each call has a deadline, and one that waits for changes a late one
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own
}

// loopback reports whether a host is this machine.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

package httpx

import (
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/isectech/service-networking/shared/auth"
)

// Error is an answer that is not a success. All of it but Err is for the caller.
type Error struct {
	Status  int
	Code    string         // the member "error"
	Message string         // the member "message"
	Fields  map[string]any // further members; none can replace the four that every error has
	Header  http.Header    // further headers
	Err     error          // the cause; it is logged and never sent
}

// Error returns the code, the message and the cause, for logs.
func (e *Error) Error() string {
	text := e.Code + ": " + e.Message
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// With returns a copy of e with one more member in its body.
func (e *Error) With(name string, value any) *Error {
	c := e.clone()
	if c.Fields == nil {
		c.Fields = map[string]any{}
	}
	c.Fields[name] = value
	return c
}

// WithHeader returns a copy of e with a header.
func (e *Error) WithHeader(name, value string) *Error {
	c := e.clone()
	if c.Header == nil {
		c.Header = http.Header{}
	}
	c.Header.Set(name, value)
	return c
}

// Because returns a copy of e with its cause.
func (e *Error) Because(err error) *Error {
	c := e.clone()
	c.Err = err
	return c
}

func (e *Error) clone() *Error {
	c := *e
	c.Fields, c.Header = maps.Clone(e.Fields), e.Header.Clone()
	return &c
}

// FieldError says what is wrong with one member of a request: endpoints[0].port.
type FieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// InvalidRequest is a 400 that lists the members at fault.
func InvalidRequest(message string, fields ...FieldError) *Error {
	return &Error{Status: http.StatusBadRequest, Code: "invalid_request", Message: message, Fields: fieldList(fields)}
}

// Unprocessable is a 422: the request is well formed and cannot be done.
func Unprocessable(message string, fields ...FieldError) *Error {
	return &Error{Status: http.StatusUnprocessableEntity, Code: "unprocessable", Message: message, Fields: fieldList(fields)}
}

func fieldList(fields []FieldError) map[string]any {
	if fields == nil {
		fields = []FieldError{}
	}
	return map[string]any{"fields": fields}
}

// Refused is the answer to a failed authentication or authorization: the status that carries the reason,
// the reason itself and a detail, which must be safe to show. WriteError makes one of every auth.Refusal.
func Refused(reason auth.Reason, detail string) *Error {
	e := &Error{
		Status: reason.Status(), Code: reason.Code(), Message: detail,
		Fields: map[string]any{"reason": string(reason)},
	}
	if detail == "" {
		e.Message = strings.ReplaceAll(string(reason), "_", " ")
	}
	switch e.Status {
	case http.StatusForbidden:
		if reason == auth.InsufficientScope {
			return e.WithHeader("WWW-Authenticate", challenge("error", "insufficient_scope", "error_description", e.Message))
		}
	case http.StatusUnauthorized:
		if reason == auth.NoCredentials {
			return e.WithHeader("WWW-Authenticate", challenge())
		}
		return e.WithHeader("WWW-Authenticate", challenge("error", "invalid_token", "error_description", e.Message))
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return e.WithHeader("Retry-After", seconds(time.Second))
	}
	return e
}

// InsufficientScope is the 403 for a caller that lacks scopes.
func InsufficientScope(required auth.Scopes) *Error {
	return Refused(auth.InsufficientScope, "the caller lacks a required scope").
		With("required", required.Names()).
		WithHeader("WWW-Authenticate", challenge("error", "insufficient_scope", "scope", required.String()))
}

// Forbidden is a 403 of another kind: not_owner, untrusted_edge.
func Forbidden(code, message string) *Error {
	return &Error{Status: http.StatusForbidden, Code: code, Message: message}
}

// NotFound is a 404.
func NotFound(message string) *Error {
	return &Error{Status: http.StatusNotFound, Code: "not_found", Message: message}
}

// MethodNotAllowed is a 405 that says which methods there are.
func MethodNotAllowed(allow ...string) *Error {
	e := &Error{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Message: "the method is not allowed here"}
	return e.WithHeader("Allow", strings.Join(allow, ", "))
}

// Conflict is the 409 of a write that came too late, with the generation that is current.
func Conflict(generation int64, message string) *Error {
	e := &Error{Status: http.StatusConflict, Code: "conflict", Message: message}
	return e.With("generation", generation)
}

// PreconditionFailed is the 412 of an If-Match that does not hold, with the generation that is current.
func PreconditionFailed(generation int64) *Error {
	e := &Error{Status: http.StatusPreconditionFailed, Code: "precondition_failed", Message: "a precondition of the request does not hold"}
	return e.With("generation", generation)
}

// Gone is a 410.
func Gone(message string) *Error {
	return &Error{Status: http.StatusGone, Code: "gone", Message: message}
}

// TooLarge is the 413 for a body over limit bytes.
func TooLarge(limit int64) *Error {
	return &Error{
		Status: http.StatusRequestEntityTooLarge, Code: "too_large",
		Message: fmt.Sprintf("the body is larger than %d bytes", limit),
	}
}

// UnsupportedMediaType is a 415.
func UnsupportedMediaType(message string) *Error {
	return &Error{Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type", Message: message}
}

// Unavailable is a 503 that says when to try again.
func Unavailable(retryAfter time.Duration, message string) *Error {
	e := &Error{Status: http.StatusServiceUnavailable, Code: "unavailable", Message: message}
	return e.WithHeader("Retry-After", seconds(retryAfter))
}

// Internal is the 500 whose cause stays inside.
func Internal(err error) *Error {
	return &Error{Status: http.StatusInternalServerError, Code: "internal", Message: "internal error", Err: err}
}

// OAuth is an error of an OAuth endpoint (RFC 6749 §5.2): error and error_description beside our members.
func OAuth(status int, code, description string) *Error {
	e := &Error{Status: status, Code: code, Message: description}
	return e.With("error_description", description)
}

// Quota is a rate limit as it stands for a caller, for the RateLimit header fields.
type Quota struct {
	Policy    string // the limit's name
	Limit     int64  // requests a window
	Window    time.Duration
	Remaining int64
	Reset     time.Duration // until all of the limit is there again; of what was refused, until the caller may ask again
}

// SetHeaders sets RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers).
func (q Quota) SetHeaders(h http.Header) {
	q.SetStanding(h)
	b := append(appendQuoted(make([]byte, 0, 64), q.Policy), ";q="...)
	b = append(strconv.AppendInt(b, q.Limit, 10), ";w="...)
	h["Ratelimit-Policy"] = []string{string(strconv.AppendInt(b, wholeSeconds(q.Window), 10))}
}

// SetStanding sets RateLimit alone, which every decision has.
func (q Quota) SetStanding(h http.Header) {
	b := append(appendQuoted(make([]byte, 0, 64), q.Policy), ";r="...)
	b = append(strconv.AppendInt(b, max(q.Remaining, 0), 10), ";t="...)
	h["Ratelimit"] = []string{string(strconv.AppendInt(b, wholeSeconds(q.Reset), 10))}
}

// RateLimited is the 429 of a quota that is used up.
func RateLimited(q Quota) *Error {
	e := Refused(auth.RateLimited, "too many requests").WithHeader("Retry-After", seconds(q.Reset))
	q.SetHeaders(e.Header)
	return e
}

// seconds renders a duration in whole seconds.
func seconds(d time.Duration) string { return strconv.FormatInt(wholeSeconds(d), 10) }

// wholeSeconds rounds a duration up, and to one at least, since asking a moment early is asking in vain.
func wholeSeconds(d time.Duration) int64 { return max(int64((d+time.Second-1)/time.Second), 1) }

// challenge renders a WWW-Authenticate of RFC 6750 §3 from names and values.
func challenge(params ...string) string {
	var b strings.Builder
	b.WriteString(`Bearer realm="isectech"`)
	for i := 0; i+1 < len(params); i += 2 {
		b.WriteString(", " + params[i] + "=" + quote(params[i+1]))
	}
	return b.String()
}

// quote renders a quoted-string of the characters that RFC 6750 allows in one; others become a space.
func quote(s string) string { return string(appendQuoted(nil, s)) }

func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			r = ' '
		}
		b = append(b, byte(r)) // ASCII
	}
	return append(b, '"')
}

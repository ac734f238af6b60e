package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry/balance"
	"github.com/isectech/service-networking/shared/registry/endpoint"
)

// Transport is an http.RoundTripper that calls services by their names: http://backend-services/… and
// https://backend.internal.isectech.com/… go to an instance that Client chooses; with https to one that speaks it,
// with http to any that speaks either. All other hosts go to Base untouched: those with a port, a dot or an
// address in them, and localhost. A name that is nobody's is an error and is not looked up elsewhere.
//
// What becomes of calls decides which instances are called next: an answer of 5xx, a broken connection and a timeout
// count against an instance, the caller's own cancellation does not. A call that failed is made once more, of
// another instance, where that is safe: its method is idempotent, or nothing of it was sent; its body can be had
// again; and not too many others failed of late.
type Transport struct {
	Client   *Client
	Base     http.RoundTripper // nil means http.DefaultTransport
	Endpoint string            // which endpoint of a service; "" means its first that fits

	budget budget
}

// Zone is the domain under which services are known by their aliases.
const Zone = ".internal.isectech.com"

// Target is the instance that a request has been given to.
type Target struct {
	ServiceName string // also the audience of a token for it
	ServiceID   string
}

type targetKey struct{}

// TargetOf returns where Transport sends a request, for a Base that adds what proves who calls.
func TargetOf(ctx context.Context) (Target, bool) {
	t, ok := ctx.Value(targetKey{}).(Target)
	return t, ok
}

// serviceOf returns the service that a URL names.
func serviceOf(u *url.URL) (ref string, over Over, ok bool) {
	switch u.Scheme {
	case "http":
		over = HTTP
	case "https":
		over = HTTPS
	default:
		return "", 0, false
	}
	ref = strings.ToLower(strings.TrimSuffix(u.Host, "."))
	ref = strings.TrimSuffix(ref, Zone)
	// A name of digits alone is an address to some resolvers.
	return ref, over, u.Opaque == "" && auth.ValidID(ref) && ref != "localhost" && strings.Trim(ref, "0123456789") != ""
}

// RoundTrip makes a call.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ref, over, ok := serviceOf(r.URL)
	if !ok {
		return t.base().RoundTrip(r)
	}
	wanted := want{t.Endpoint, over}
	found, err := t.Client.find(r.Context(), ref, wanted, "")
	if err != nil {
		closeBody(r)
		return nil, err
	}
	res, err := t.try(r, found)
	t.budget.count(r, res, err)
	if !again(r, res, err) || !t.budget.take() {
		return res, err
	}
	body, rewound := rewind(r)
	if !rewound {
		return res, err
	}
	other, none := t.Client.find(r.Context(), ref, wanted, found.ServiceID)
	if none != nil {
		if body != nil {
			_ = body.Close()
		}
		return res, err
	}
	if res != nil {
		_, _ = io.CopyN(io.Discard, res.Body, 4<<10) // so that the connection may be used again
		_ = res.Body.Close()
	}
	second := *r
	second.Body = body
	return t.try(&second, other)
}

func (t *Transport) base() http.RoundTripper {
	if t.Base == nil {
		return http.DefaultTransport
	}
	return t.Base
}

// CloseIdleConnections closes those of Base.
func (t *Transport) CloseIdleConnections() {
	if closer, ok := t.base().(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

// try makes the call of one instance, and reports what becomes of it.
func (t *Transport) try(r *http.Request, found Found) (*http.Response, error) {
	ctx := context.WithValue(r.Context(), targetKey{}, Target{found.ServiceName, found.ServiceID})
	out := r.Clone(ctx)
	if err := direct(out, found); err != nil {
		closeBody(r)
		found.Done(balance.Failure)
		return nil, fmt.Errorf("instance %s: %w", found.ServiceID, err)
	}
	res, err := t.base().RoundTrip(out)
	if err != nil {
		found.Done(outcomeOf(r.Context(), err))
		return nil, err
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		found.Done(balance.Success)
		return res, nil
	}
	body := &reporting{ReadCloser: res.Body, found: found, ctx: r.Context()}
	switch {
	case res.StatusCode >= 500:
		body.report(balance.Failure)
	case found.Probe:
		body.report(balance.Success) // a long answer does not keep the trial waiting
	}
	res.Body = body
	return res, nil
}

// direct points a request at an endpoint. Its host becomes the endpoint's, which is what Cloud Run finds a service by.
func direct(r *http.Request, found Found) error {
	at, err := endpoint.Parse(found.URL)
	if err != nil {
		return err
	}
	host := at.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	scheme, port := at.Scheme, at.Port
	if found.Protocol == "http" || found.Protocol == "https" {
		scheme = found.Protocol
	}
	if scheme == "http" && port != 80 || scheme == "https" && port != 443 {
		host = net.JoinHostPort(at.Host, fmt.Sprint(port))
	}
	base := strings.TrimSuffix(at.Path, "/") + strings.TrimSuffix(found.Path, "/")
	raw := base + "/" + strings.TrimPrefix(r.URL.EscapedPath(), "/")
	path, err := url.PathUnescape(raw)
	if err != nil {
		return fmt.Errorf("path: %w", err)
	}
	r.URL.Scheme, r.URL.Host, r.URL.Path, r.URL.RawPath = scheme, host, path, raw
	r.Host = ""
	return nil
}

// outcomeOf says what an error tells of an instance: nothing when the caller gave up.
func outcomeOf(ctx context.Context, err error) balance.Outcome {
	if errors.Is(ctx.Err(), context.Canceled) || ctx.Err() == nil && errors.Is(err, context.Canceled) {
		return balance.Ignored
	}
	return balance.Failure
}

// reporting is the body of an answer, whose end is the end of the call.
type reporting struct {
	io.ReadCloser
	found    Found
	ctx      context.Context
	reported atomic.Bool
	released sync.Once
}

func (b *reporting) report(o balance.Outcome) {
	if b.reported.CompareAndSwap(false, true) {
		b.found.Report(o)
	}
}

func (b *reporting) end(o balance.Outcome) {
	b.report(o)
	b.released.Do(b.found.Release)
}

// Read reads on, and notes the end.
func (b *reporting) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.end(balance.Success)
	default:
		b.end(outcomeOf(b.ctx, err))
	}
	return n, err
}

// Close closes the body. Who does not read to the end has had what was wanted.
func (b *reporting) Close() error {
	err := b.ReadCloser.Close()
	b.end(balance.Success)
	return err
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}

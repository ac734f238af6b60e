// Package client calls the platform's HTTP interface on behalf of isectl: bounded, without redirects, and
// with refusals told as the platform tells them.
package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// The bounds of a call.
const (
	timeout   = 30 * time.Second
	maxAnswer = 16 << 20
)

// ErrAddress means that what should be the platform's address is none that a credential may be sent to.
var ErrAddress = errors.New("not an address of the platform")

// ErrUnreachable means that nothing answered at the platform's address.
var ErrUnreachable = errors.New("cannot reach the platform")

// Client calls one platform. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	http  *http.Client
	agent string
}

// New returns a client of the platform at a base URL: https, or http to this machine alone, since tokens
// travel to it.
func New(base, agent string) (*Client, error) {
	u, err := url.Parse(strings.TrimSuffix(base, "/"))
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("%q: %w: want https://HOST[:PORT]", base, ErrAddress)
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
	default:
		return nil, fmt.Errorf("%q: %w: want https (http reaches this machine alone)", base, ErrAddress)
	}
	transport := &http.Transport{
		Proxy:                 proxy(u),
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: timeout,
		MaxIdleConns:          2,
		ForceAttemptHTTP2:     true,
	}
	return &Client{
		base: u, agent: agent,
		http: &http.Client{
			Transport: transport, Timeout: timeout,
			// A redirect would carry the credential to wherever it points.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// proxy keeps what is on this machine on this machine.
func proxy(u *url.URL) func(*http.Request) (*url.URL, error) {
	if loopback(u.Hostname()) {
		return nil
	}
	return http.ProxyFromEnvironment
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// Base returns the platform's base URL.
func (c *Client) Base() string { return c.base.String() }

// Call is one request.
type Call struct {
	Method string
	Path   []string // segments, escaped by the client
	Query  url.Values
	Header http.Header
	Token  string // of the Authorization header; empty: none
	Type   string // media type of the body
	Body   []byte
}

// Answer is a successful answer.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Decode reads the answer's JSON; members that the caller does not know are left out.
func (a Answer) Decode(v any) error {
	if err := json.Unmarshal(a.Body, v); err != nil {
		return fmt.Errorf("the platform's answer cannot be read: %w", err)
	}
	return nil
}

// Request makes the request of a call, for whoever has to sign it before it is sent.
func (c *Client) Request(ctx context.Context, call Call) (*http.Request, error) {
	u := *c.base
	escaped := make([]string, len(call.Path))
	for i, segment := range call.Path {
		if segment == "" || segment == "." || segment == ".." {
			return nil, fmt.Errorf("%q cannot be part of a path", segment)
		}
		escaped[i] = url.PathEscape(segment)
	}
	u.RawPath = c.base.EscapedPath() + "/" + strings.Join(escaped, "/")
	u.Path = c.base.Path + "/" + strings.Join(call.Path, "/")
	u.RawQuery = call.Query.Encode()
	req, err := http.NewRequestWithContext(ctx, call.Method, u.String(), bytes.NewReader(call.Body))
	if err != nil {
		return nil, err
	}
	for name, values := range call.Header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", c.agent)
	req.Header.Set("Accept", "application/json")
	if call.Type != "" {
		req.Header.Set("Content-Type", call.Type)
	}
	if call.Token != "" {
		req.Header.Set("Authorization", "Bearer "+call.Token)
	}
	return req, nil
}

// Do makes a call. An answer that is no success is an *Error.
func (c *Client) Do(ctx context.Context, call Call) (Answer, error) {
	req, err := c.Request(ctx, call)
	if err != nil {
		return Answer{}, err
	}
	return c.Send(req)
}

// Send sends a request that Request made.
func (c *Client) Send(req *http.Request) (Answer, error) {
	res, err := c.http.Do(req)
	if err != nil {
		return Answer{}, fmt.Errorf("%w at %s: %w", ErrUnreachable, c.Base(), cause(err))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return Answer{}, fmt.Errorf("%w at %s: the answer broke off: %w", ErrUnreachable, c.Base(), err)
	case len(body) > maxAnswer:
		return Answer{}, fmt.Errorf("the answer of %s is larger than %d MiB", c.Base(), maxAnswer>>20)
	case res.StatusCode < 200 || res.StatusCode > 299:
		return Answer{}, refusal(res, body)
	}
	return Answer{Status: res.StatusCode, Header: res.Header, Body: body}, nil
}

// cause leaves out the method and the URL, which may hold what was asked about.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

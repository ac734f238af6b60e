// Package jwks keeps the public keys that another issuer publishes at a URL (RFC 7517 §5), such as Google's
// for ID tokens. They are fetched when a token asks for one, are as fresh as the issuer asks for, and
// outlive an issuer that is out of reach for a while. How often the issuer is asked is bounded, whatever
// the tokens name: a kid that nobody knows is refused from memory.
package jwks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/isectech/service-networking/shared/auth/token"
)

// The bounds of what is believed, and for how long.
const (
	maxSize = 256 << 10 // of an answer

	minFresh = time.Minute // used without another look, whatever the issuer says
	maxFresh = 24 * time.Hour
	outlive  = 6 * time.Hour // used beyond that while the issuer is out of reach

	// Window is how long a kid that is not in the key set waits for the next look at it.
	Window = 30 * time.Second
	// retry is how long an issuer that could not be reached is left alone.
	retry = 5 * time.Second

	defaultTimeout = 5 * time.Second
)

// ErrUnavailable means that the issuer cannot be reached, or does not answer with a key set, and that too
// little is known without it.
var ErrUnavailable = errors.New("the issuer's keys cannot be fetched")

// ErrURL means that keys must not be fetched from an address: whoever is on the way could replace them.
var ErrURL = errors.New("want an https URL, or http on this machine")

// Options are what a Source is made with.
type Options struct {
	Now       func() time.Time
	Transport http.RoundTripper // nil: http.DefaultTransport
	Timeout   time.Duration     // of one fetch; 0: five seconds
}

// Source holds the keys of one URL. It implements token.Keys and is safe for concurrent use.
type Source struct {
	url    string
	client *http.Client
	now    func() time.Time

	mu     sync.Mutex
	known  known
	flight *flight // nil: nobody is fetching
	tried  time.Time
	failed error // of the last try; nil when it went well
}

// known is the key set that was fetched last.
type known struct {
	keys  *token.KeySet // nil: none
	fresh time.Time     // until when it needs no other look
}

// flight is a fetch under way, for all who wait.
type flight struct{ done chan struct{} }

// New returns a Source of the keys at rawURL. Nothing is fetched yet.
func New(rawURL string, o Options) (*Source, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" ||
		u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, ErrURL // which does not repeat the URL: it might hold a password
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	return &Source{url: u.String(), now: o.Now, client: &http.Client{
		Transport: o.Transport,
		Timeout:   o.Timeout,
		// The keys are what the operator named, not what that refers to.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Key implements token.Keys. A kid that is not in the key set is unknown when the issuer was asked since
// it last could have been added, which is at most once in Window for all callers together.
func (s *Source) Key(ctx context.Context, kid string) (token.Key, error) {
	key, found, running, err := s.look(ctx, kid)
	if running == nil {
		return key, err
	}
	select {
	case <-running.done:
	case <-ctx.Done():
		if found { // beyond its time, and good enough for who cannot wait
			return key, nil
		}
		return token.Key{}, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key, _, err = s.answer(ctx, kid)
	return key, err
}

// look answers from memory, or else says which fetch to wait for, which it starts where one is due.
func (s *Source) look(ctx context.Context, kid string) (key token.Key, found bool, wait *flight, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	key, found, err = s.answer(ctx, kid)
	if found && now.Before(s.known.fresh) {
		return key, true, nil, nil
	}
	if s.flight != nil {
		if found {
			return key, true, nil, nil
		}
		return key, false, s.flight, nil
	}
	pause := Window
	if s.failed != nil || !now.Before(s.known.fresh) {
		pause = retry
	}
	if !s.tried.IsZero() && now.Sub(s.tried) < pause {
		return key, found, nil, err
	}
	s.tried, s.flight = now, &flight{done: make(chan struct{})}
	go s.fetch(context.WithoutCancel(ctx), s.flight, now) // for all, not for as long as one caller has patience
	return key, found, s.flight, nil
}

// answer says what is known of a kid.
func (s *Source) answer(ctx context.Context, kid string) (token.Key, bool, error) {
	usable := s.known.keys != nil && s.now().Before(s.known.fresh.Add(outlive))
	if usable {
		if key, err := s.known.keys.Key(ctx, kid); err == nil {
			return key, true, nil
		}
	}
	switch {
	case s.failed != nil: // it may have been added since
		return token.Key{}, false, fmt.Errorf("%w: %w", ErrUnavailable, s.failed)
	case !usable:
		return token.Key{}, false, ErrUnavailable
	default:
		return token.Key{}, false, token.ErrUnknownKey
	}
}

// fetch brings the key set up to date and tells those who wait.
func (s *Source) fetch(ctx context.Context, f *flight, began time.Time) {
	keys, age, err := s.get(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed = err; err == nil {
		s.known = known{keys: keys, fresh: began.Add(age)}
	}
	s.flight = nil
	close(f.done)
}

// get asks the issuer once.
func (s *Source) get(ctx context.Context) (*token.KeySet, time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, http.NoBody)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept", "application/json")
	res, err := s.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("status %d", res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxSize+1))
	switch {
	case err != nil:
		return nil, 0, err
	case len(body) > maxSize:
		return nil, 0, fmt.Errorf("longer than %d KiB", maxSize>>10)
	}
	keys, err := token.ParseJWKS(body)
	if err != nil {
		return nil, 0, err
	}
	if len(keys.Keys()) == 0 { // nobody's tokens could be verified: a fault there rather than an intention
		return nil, 0, errors.New("no key in it is of a kind that is used here")
	}
	return keys, freshness(res.Header), nil
}

// freshness is how long an answer may be used by its Cache-Control and Age (RFC 9111 §4.2), within bounds.
func freshness(h http.Header) time.Duration {
	fresh := minFresh
	for part := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return minFresh
		case "max-age":
			if n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				fresh = time.Duration(n) * time.Second
			}
		}
	}
	if n, err := strconv.ParseUint(h.Get("Age"), 10, 31); err == nil {
		fresh -= time.Duration(n) * time.Second
	}
	return min(max(fresh, minFresh), maxFresh)
}

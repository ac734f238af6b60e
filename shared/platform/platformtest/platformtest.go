// Package platformtest is a bootstrapped platform without its functions: an embedded store and a Secret
// Manager that hold the shipped policy, a signing key, the root CA and an API key for every service. Tests
// of functions run against it and hold real credentials.
package platformtest

import (
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/bootstrap"
	"github.com/isectech/service-networking/shared/platform/secrets"
	"github.com/isectech/service-networking/shared/platform/secrets/secretserver"
	"github.com/isectech/service-networking/shared/platform/trust"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/boltstore"
)

// Operator is the e-mail address of the operator that the policy knows; it holds every scope of the
// platform's own.
const Operator = "ops@isectech.com"

// Platform is what functions run over.
type Platform struct {
	Clock   *Clock
	Store   store.Store
	Secrets *secrets.Client
	Issuer  *authtest.Authority // has the current signing key, also for tokens that no honest signer makes
	Logs    *Logs
}

// New bootstraps a platform that lasts as long as the test.
func New(t testing.TB) *Platform {
	t.Helper()
	clock := NewClock(time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC))
	db, err := boltstore.Open(filepath.Join(t.TempDir(), "platform.db"), boltstore.Options{Now: clock.Now})
	check(t, err)
	t.Cleanup(func() { _ = db.Close() })
	server, err := secretserver.Open("", clock.Now)
	check(t, err)
	t.Cleanup(func() { _ = server.Close() })
	client, err := server.Client(t.Context())
	check(t, err)
	t.Cleanup(func() { _ = client.Close() })

	p := &Platform{Clock: clock, Store: db, Secrets: client, Logs: new(Logs)}
	boot := p.Bootstrap()
	doc := policy.Default(auth.Production, auth.Development)
	doc.Operators = map[string]policy.Operator{Operator: {Scopes: []string{
		auth.AdminRead.String(), auth.AdminWrite.String(), auth.ServiceDiscover.String(), auth.MetricsRead.String(),
	}}}
	_, err = boot.Run(t.Context(), doc)
	check(t, err)
	for name := range doc.Services {
		_, err := boot.AddAPIKey(t.Context(), auth.MustSubject(name))
		check(t, err)
	}
	p.loadIssuer(t)
	return p
}

// Bootstrap returns what writes trust into the platform, as its operator.
func (p *Platform) Bootstrap() *bootstrap.Platform {
	return &bootstrap.Platform{
		Store: p.Store, Secrets: p.Secrets, Now: p.Clock.Now,
		Actor: auth.MustSubject("operator:" + Operator), Cause: "test",
	}
}

func (p *Platform) loadIssuer(t testing.TB) {
	st, err := trust.NewSource(p.Store, p.Clock.Now).State(t.Context())
	check(t, err)
	rec, ok := st.CurrentKey()
	if !ok {
		t.Fatal("no signing key is current")
	}
	value, err := p.Secrets.Access(t.Context(), trust.SigningKeySecret, rec.SecretVersion)
	check(t, err)
	private, algorithm, err := token.ParsePrivateKey(value.Reveal())
	check(t, err)
	signer, err := token.NewSigner(rec.ID, algorithm, private)
	check(t, err)
	p.Issuer = &authtest.Authority{Signer: signer, Key: private}
}

// Token mints an access token in production, good for five minutes.
func (p *Platform) Token(t testing.TB, subject, audience string, scopes auth.Scopes) string {
	t.Helper()
	return p.Mint(t, p.Claims(subject, audience, scopes))
}

// Claims returns the claims of such a token.
func (p *Platform) Claims(subject, audience string, scopes auth.Scopes) token.Claims {
	now := p.Clock.Now().Truncate(time.Second)
	c := token.Claims{
		Subject: auth.MustSubject(subject), Audience: audience, Scopes: scopes, Environment: auth.Production,
		IssuedAt: now, NotBefore: now, ExpiresAt: now.Add(5 * time.Minute), ID: token.NewID(),
	}
	if c.Subject.IsOperator() {
		c.Environment = ""
	} else {
		c.ServiceID = c.Subject.Alias() + "-test"
	}
	return c
}

// Mint signs claims with the platform's key.
func (p *Platform) Mint(t testing.TB, c token.Claims) string {
	t.Helper()
	return p.Issuer.Token(t, c)
}

// APIKey returns what signs the requests of a service.
func (p *Platform) APIKey(t testing.TB, service string) signature.Signer {
	t.Helper()
	sub := auth.MustSubject(service)
	value, err := p.Secrets.Access(t.Context(), trust.APIKeySecret(sub), 1)
	check(t, err)
	key, err := signature.ParseKey(string(value.Reveal()))
	check(t, err)
	return signature.Signer{Service: sub, KeyID: "k1", Key: key, Now: p.Clock.Now}
}

// Logger writes to Logs.
func (p *Platform) Logger() *slog.Logger { return slog.New(slog.NewJSONHandler(p.Logs, nil)) }

// Clock is a clock that tests move.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that stands at a time.
func NewClock(at time.Time) *Clock { return &Clock{now: at} }

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Logs keeps what was logged.
type Logs struct {
	mu   sync.Mutex
	text strings.Builder
}

var _ io.Writer = (*Logs)(nil)

// Write implements io.Writer.
func (l *Logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// String returns all lines so far.
func (l *Logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

package authz

import (
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/ratelimit"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/signingkeys"
	"github.com/isectech/service-networking/shared/platform/telemetry"
)

// TestRotationUnderLoad rotates the signing keys twice and then revokes the one that signs, while three instances
// are asked about fresh and old tokens all the time: no token that is good is refused, none of the revoked key
// accepted five seconds later. Time flows as it does, but for the hours that a rotation waits: it jumps over those
// while nobody asks.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	perSecond, lasts := 300, 6*time.Second
	if os.Getenv("LONG") != "" {
		perSecond, lasts = 2000, 60*time.Second
	}
	l := newLoad(t)
	ctx, stop := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	workers.Go(func() { l.flow(ctx) })
	workers.Go(func() { l.mint(ctx) })
	const askers = 8
	for range askers {
		workers.Go(func() { l.ask(ctx, time.Second*askers/time.Duration(perSecond)) })
	}

	// Each rotation: published, promoted after a quarter of an hour, the old key retired after half an hour more.
	const jumps, each = 2 * 15, 3*time.Minute + time.Second
	for i := range jumps {
		if i == 0 || i == jumps/2 {
			l.rotate()
		}
		l.wait(ctx, lasts*3/4/jumps)
		l.jump(each)
		l.rotateDue()
	}
	if got := l.promoted; got != 2 {
		t.Errorf("%d keys have been promoted, want 2", got)
	}
	l.revokeCurrent()
	eventually := time.Now().Add(time.Minute)
	for l.stillAccepted() && time.Now().Before(eventually) {
		l.wait(ctx, 50*time.Millisecond)
	}
	l.wait(ctx, lasts/4)
	stop()
	workers.Wait()

	last := time.Duration(l.lastAccepted.Load())
	t.Logf("%d requests, %d tokens; a revoked one was accepted for %s after its key was revoked", l.asked.Load(), l.minted.Load(), last)
	if last > 5*time.Second || l.refusedRevoked.Load() == 0 {
		t.Errorf("tokens of the revoked key: accepted for %s, refused %d times", last, l.refusedRevoked.Load())
	}
	if least := int64(perSecond) * int64(lasts/time.Second) / 10; l.asked.Load() < least {
		t.Errorf("only %d requests, want %d at least", l.asked.Load(), least)
	}
}

// rotationLoad is three instances and all that is asked of them.
type rotationLoad struct {
	t         *testing.T
	f         *fixture
	instances []*httptest.Server
	signer    signature.Signer
	client    *http.Client

	still sync.RWMutex // held for reading by everyone who asks, for writing while time jumps

	mu      sync.Mutex
	live    []minted
	keySet  *token.KeySet // as someone has it who keeps it for as long as it may be kept
	fetched time.Time

	revokedKey     atomic.Pointer[string]
	revokedAt      time.Time
	asked, minted  atomic.Int64
	refusedRevoked atomic.Int64
	lastAccepted   atomic.Int64 // of a revoked token, after its key was revoked
	promoted       int
}

type minted struct {
	raw, kid string
	ends     time.Time
}

func newLoad(t *testing.T) *rotationLoad {
	t.Helper()
	l := &rotationLoad{t: t, f: newFixture(t)}
	cfg := l.f.cfg
	cfg.RateLimit, cfg.AllowLogRate = ratelimit.Limit{}, 0
	for range 3 {
		instance := New(cfg, Deps{
			Store: l.f.Store, Secrets: l.f.Secrets, Now: l.f.Clock.Now, Logger: l.f.Logger(), Metrics: telemetry.NewMetrics(),
			Assertions: l.f.deps.Assertions, Nonces: l.f.deps.Nonces,
		})
		server := httptest.NewServer(instance.Handler())
		t.Cleanup(server.Close)
		l.instances = append(l.instances, server)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	l.client = &http.Client{Transport: transport, Timeout: time.Minute}
	l.signer = l.f.APIKey(t, gateway)
	return l
}

// flow lets the clock go with the time.
func (l *rotationLoad) flow(ctx context.Context) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-tick.C: // whose own time may lie before last
			now := time.Now()
			l.f.Clock.Advance(now.Sub(last))
			last = now
		case <-ctx.Done():
			return
		}
	}
}

func (l *rotationLoad) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (l *rotationLoad) jump(d time.Duration) {
	l.still.Lock()
	defer l.still.Unlock()
	l.f.Clock.Advance(d)
}

// send asks an instance; a transport error is the test's.
func (l *rotationLoad) send(r *http.Request) (status int, body map[string]any) {
	res, err := l.client.Do(r)
	if err != nil {
		l.t.Error(err)
		return 0, nil
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		l.t.Error(err)
	}
	_ = json.Unmarshal(data, &body)
	return res.StatusCode, body
}

func (l *rotationLoad) request(ctx context.Context, method, url, bearer, kind, body string) *http.Request {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	r.Header.Set("Content-Type", kind)
	return r
}

const formType = "application/x-www-form-urlencoded"

// mint gets one token after the other, and looks at each as someone does who has kept the key set.
func (l *rotationLoad) mint(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		l.still.RLock()
		l.mintOne(context.WithoutCancel(ctx), l.instances[n%len(l.instances)].URL)
		l.still.RUnlock()
	}
}

func (l *rotationLoad) mintOne(ctx context.Context, base string) {
	const form = "grant_type=client_credentials&audience=" + backend
	r := l.request(ctx, http.MethodPost, base+"/internal/auth/token", "", formType, form)
	if err := l.signer.SignHTTP(r, []byte(form)); err != nil {
		l.t.Fatal(err)
	}
	now := l.f.Clock.Now()
	status, body := l.send(r)
	raw, _ := body["access_token"].(string)
	if status != http.StatusOK || raw == "" {
		l.t.Errorf("token: %d %v", status, body)
		return
	}
	l.minted.Add(1)
	_, kid := headerOf(l.t, raw)
	revoked := l.revokedKey.Load() != nil
	l.mu.Lock()
	l.live = append(l.live, minted{raw, kid, now.Add(9 * time.Minute)})
	l.live = slices.DeleteFunc(l.live, func(m minted) bool { return !m.ends.After(now) })
	stale := l.keySet == nil || now.Sub(l.fetched) >= 300*time.Second
	l.mu.Unlock()
	if stale || revoked { // who hears of a leaked key fetches the others
		l.fetch(ctx, base, now)
	}
	l.mu.Lock()
	keys := l.keySet
	l.mu.Unlock()
	verifier := token.Verifier{Keys: keys, Now: l.f.Clock.Now}
	if _, err := verifier.Verify(ctx, raw); err != nil && l.revokedKey.Load() == nil {
		l.t.Errorf("a new token, by a key set that is %s old: %v", now.Sub(l.fetched), err)
	}
}

// fetch gets the key set.
func (l *rotationLoad) fetch(ctx context.Context, base string, now time.Time) {
	res, err := l.client.Do(l.request(ctx, http.MethodGet, base+"/.well-known/jwks.json", "", "", ""))
	if err != nil {
		l.t.Error(err)
		return
	}
	defer func() { _ = res.Body.Close() }()
	data, _ := io.ReadAll(res.Body)
	set, err := token.ParseJWKS(data)
	if err != nil {
		l.t.Error(err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keySet, l.fetched = set, now
}

// ask asks about one token after the other.
func (l *rotationLoad) ask(ctx context.Context, every time.Duration) {
	pace := time.NewTicker(every)
	defer pace.Stop()
	for {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return
		}
		l.still.RLock()
		l.askOne(context.WithoutCancel(ctx))
		l.still.RUnlock()
	}
}

func (l *rotationLoad) askOne(ctx context.Context) {
	now := l.f.Clock.Now()
	l.mu.Lock()
	if len(l.live) == 0 {
		l.mu.Unlock()
		return
	}
	m := l.live[rand.IntN(len(l.live))]
	l.mu.Unlock()
	if !m.ends.After(now) {
		return
	}
	r := l.request(ctx, http.MethodGet, l.instances[rand.IntN(len(l.instances))].URL+"/internal/auth/validate", m.raw, "", "")
	r.Header.Set("X-Target-Service", backend)
	status, body := l.send(r)
	l.asked.Add(1)
	revoked := l.revokedKey.Load()
	switch {
	case status == http.StatusOK && revoked != nil && *revoked == m.kid:
		since := int64(l.f.Clock.Now().Sub(l.revokedAt))
		for {
			last := l.lastAccepted.Load()
			if since <= last || l.lastAccepted.CompareAndSwap(last, since) {
				break
			}
		}
	case status == http.StatusOK:
	case revoked != nil && *revoked == m.kid:
		if reason, _ := body["reason"].(string); reason != string(auth.Revoked) {
			l.t.Errorf("a token of the revoked key: %d %v", status, body)
		}
		l.refusedRevoked.Add(1)
	default:
		l.t.Errorf("a good token is refused: %d %v", status, body)
	}
}

// operator does something that takes an operator.
func (l *rotationLoad) operator(path, body string) {
	l.still.RLock()
	defer l.still.RUnlock()
	base := l.instances[rand.IntN(len(l.instances))].URL
	form := url.Values{"grant_type": {grantJWTBearer}, "assertion": {l.f.idToken(l.t, nil)}}.Encode()
	status, got := l.send(l.request(l.t.Context(), http.MethodPost, base+"/internal/auth/token", "", formType, form))
	raw, _ := got["access_token"].(string)
	if status != http.StatusOK {
		l.t.Fatalf("operator's token: %d %v", status, got)
	}
	status, got = l.send(l.request(l.t.Context(), http.MethodPost, base+path, raw, "application/json", body))
	if status != http.StatusOK {
		l.t.Fatalf("%s: %d %v", path, status, got)
	}
}

// rotate begins a rotation, as an operator does.
func (l *rotationLoad) rotate() { l.operator("/internal/auth/keys/rotate", `{}`) }

// rotateDue takes what steps are due, as the schedule does.
func (l *rotationLoad) rotateDue() {
	report, err := l.f.rotation.Rotate(l.t.Context(), signingkeys.Request{Actor: "test", Cause: "schedule"})
	if err != nil {
		l.t.Fatal(err)
	}
	for _, step := range report.Done {
		if step.Kind == signingkeys.Promote {
			l.promoted++
		}
	}
}

// revokeCurrent takes the key that signs out of use, as after a leak.
func (l *rotationLoad) revokeCurrent() {
	st, err := l.f.trust.State(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	rec, _ := st.CurrentKey()
	l.still.Lock() // so that nobody is being answered
	l.revokedAt = l.f.Clock.Now()
	l.revokedKey.Store(&rec.ID)
	l.still.Unlock()
	l.operator("/internal/auth/revoke", `{"kid":"`+rec.ID+`","reason":"leaked"}`)
}

// stillAccepted reports whether no token of the revoked key was refused yet.
func (l *rotationLoad) stillAccepted() bool { return l.refusedRevoked.Load() == 0 }

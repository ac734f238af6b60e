package authz

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authn"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/secrets"
	"github.com/isectech/service-networking/shared/platform/trust"
)

// What old clients prove themselves with, for as long as the configuration lets them. Both are off unless
// LEGACY_HS256 or LEGACY_API_KEYS says otherwise, and both are judged here alone: whoever else receives a
// legacy key asks, and nobody else takes an HS256 token.

// tokenVerifier returns what verifies access tokens, those of old clients among them where they are allowed.
func (s *Service) tokenVerifier(v *token.Verifier) authn.Tokens {
	if !s.cfg.LegacyHS256 {
		return v
	}
	secret := &legacySecret{secrets: s.deps.Secrets, version: s.cfg.LegacyHS256Version, now: s.deps.Now, logger: s.deps.Logger}
	return &token.Legacy{Next: v, KeyID: trust.KeyID(s.cfg.LegacyHS256Version), Secret: secret.read}
}

// How long the secret of HS256 is used without another look at it, and how long a failed look is the answer.
const (
	secretFor   = 5 * time.Minute
	secretRetry = 5 * time.Second
)

// legacySecret reads the secret of HS256, not more often than it has to.
type legacySecret struct {
	secrets *secrets.Client
	version int64
	now     func() time.Time
	logger  *slog.Logger

	mu    sync.Mutex
	value secrets.Value
	err   error
	until time.Time // when to look again
}

func (l *legacySecret) read(ctx context.Context) ([]byte, error) {
	l.mu.Lock() // for as long as a look takes: it is for all who ask meanwhile
	defer l.mu.Unlock()
	if l.now().Before(l.until) {
		return l.value.Reveal(), l.err
	}
	l.value, l.err = l.secrets.Access(context.WithoutCancel(ctx), trust.LegacySecret, l.version)
	if l.err == nil {
		l.err = token.CheckSecret(l.value.Reveal())
	}
	l.until = l.now().Add(secretFor)
	if l.err != nil {
		l.value, l.until = secrets.Value{}, l.now().Add(secretRetry)
		l.logger.LogAttrs(ctx, slog.LevelError, "HS256 tokens are refused: their secret cannot be used",
			slog.String("secret", trust.LegacySecret), slog.Int64("version", l.version), slog.String("error", l.err.Error()))
	}
	return l.value.Reveal(), l.err
}

// errLegacyKey is the refusal of a legacy key, whether it is wrong or none is accepted here.
var errLegacyKey = auth.Refuse(auth.BadSignature, signature.HeaderKeyID+": the header is missing or empty")

// verifyLegacyKey judges the legacy form of an API key. It proves no more than that someone has seen one of the
// service's requests, and so lets nobody do more than discover services.
func (s *Service) verifyLegacyKey(ctx context.Context, st *trust.State, signed authn.Signed) (auth.Principal, error) {
	if !s.cfg.LegacyAPIKeys {
		return auth.Principal{}, errLegacyKey
	}
	service, ok := st.Resolve(signed.Request.Service)
	if !ok {
		return auth.Principal{}, errLegacyKey
	}
	ids, err := s.keys.IDs(ctx, service)
	if errors.Is(err, signature.ErrUnknownKey) {
		return auth.Principal{}, errLegacyKey
	}
	if err != nil {
		return auth.Principal{}, err
	}
	for _, id := range ids {
		key, err := s.keys.Key(ctx, service, id)
		if err != nil {
			return auth.Principal{}, err
		}
		if !key.MatchLegacy(signed.Request.Service, signed.MAC) {
			continue
		}
		s.deps.Logger.LogAttrs(ctx, slog.LevelWarn, "a legacy API key was used: whoever has seen it can use it too",
			slog.String("service_name", service.String()), slog.String("key_id", id))
		return auth.Principal{
			Subject: service, Environment: s.cfg.Environment, Method: auth.MethodLegacyKey, KeyID: id,
			Scopes: st.Policy.Grant(service, s.cfg.Environment) & auth.ServiceDiscover,
		}, nil
	}
	return auth.Principal{}, errLegacyKey
}

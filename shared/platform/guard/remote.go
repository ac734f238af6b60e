package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authn"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/tracing"
)

// Bounds of a question to authz.
const (
	askTimeout = 10 * time.Second
	maxAnswer  = 64 << 10
)

// Authz asks authz about request signatures, whose keys nobody else holds. The marker proves that the
// question comes from a hop that may speak for another request.
type Authz struct {
	url    string
	marker config.Secret
	env    auth.Environment
	client *http.Client
}

// NewAuthz returns an Authz that asks at base. Signed requests act in env, the deployment's environment.
func NewAuthz(base string, marker config.Secret, env auth.Environment) (*Authz, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, fmt.Errorf("authz at %q: want an http or https URL", base)
	}
	return &Authz{
		url: u.JoinPath("internal/auth/validate").String(), marker: marker, env: env,
		client: &http.Client{
			Timeout:       askTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// errNoMarker is the fault of a deployment that verifies signatures and cannot ask about them: to authz it
// would seem that the question itself is signed, and wrongly.
var errNoMarker = errors.New("ask authz: no TRUSTED_PROXY_MARKER is set to prove the hop with")

// VerifySignature implements authn.Signatures.
func (a *Authz) VerifySignature(ctx context.Context, s authn.Signed) (auth.Principal, error) {
	if a.marker.IsZero() {
		return auth.Principal{}, errNoMarker
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url, http.NoBody)
	if err != nil {
		return auth.Principal{}, err
	}
	for name, value := range map[string]string{
		signature.HeaderService: s.Request.Service, signature.HeaderKeyID: s.Request.KeyID,
		signature.HeaderTimestamp: s.Request.Timestamp, signature.HeaderNonce: s.Request.Nonce,
		signature.HeaderContentHash: s.Request.BodySHA256, signature.HeaderKey: s.MAC,
		authn.HeaderProxyMarker: a.marker.Reveal(),
	} {
		if value != "" { // what the legacy form of an API key leaves out
			req.Header.Set(name, value)
		}
	}
	authn.Forward(req.Header, authn.Original{
		Method: s.Request.Method, Path: s.Request.Path, RawQuery: s.Request.RawQuery, Host: s.Request.Host,
	})
	res, err := tracing.Do(a.client, req)
	if err != nil {
		return auth.Principal{}, fmt.Errorf("ask authz: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return auth.Principal{}, fmt.Errorf("ask authz: %w", err)
	}
	return a.read(res.StatusCode, body)
}

// told is a refusal that authz has told of.
type told struct{ error }

func (t told) Unwrap() error { return t.error }

func (a *Authz) read(status int, body []byte) (auth.Principal, error) {
	var answer struct {
		Valid       bool        `json:"valid"`
		ServiceName string      `json:"service_name"`
		AuthMethod  auth.Method `json:"auth_method"`
		Scopes      []string    `json:"scopes"`
		Reason      auth.Reason `json:"reason"`
		Message     string      `json:"message"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return auth.Principal{}, fmt.Errorf("ask authz: answer of status %d cannot be read: %w", status, err)
	}
	if status != http.StatusOK || !answer.Valid {
		if answer.Reason == "" || answer.Reason == auth.Allowed || answer.Reason.Status() != status {
			return auth.Principal{}, fmt.Errorf("ask authz: status %d", status)
		}
		return auth.Principal{}, told{auth.Refuse(answer.Reason, answer.Message)}
	}
	subject, err := auth.ParseSubject(answer.ServiceName)
	if err != nil {
		return auth.Principal{}, errors.Join(errors.New("ask authz"), err)
	}
	p := auth.Principal{Subject: subject, Environment: a.env, Method: auth.MethodAPIKey}
	if answer.AuthMethod == auth.MethodLegacyKey {
		p.Method = answer.AuthMethod
	}
	for _, name := range answer.Scopes {
		scope, _ := auth.ParseScope(name)
		p.Scopes |= scope
	}
	return p, nil
}

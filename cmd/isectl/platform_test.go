package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/secrets/secretserver"
	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/boltstore"
)

const (
	gateway = "isectech-api-gateway"
	backend = "isectech-backend-services"
	// The tokens that the platform of a script gives, by who asks.
	operatorToken = "operator-token"
	serviceToken  = "token-of-" // and the service's name
)

// platform answers as the contract says the functions do. It verifies what isectl proves itself with by the
// code that they verify it with, and wants each later call to bear the token that it gave.
type platform struct {
	operator token.Keys // of ID tokens
	keys     signature.Keys
	nonces   signature.Nonces
}

// keys are the API keys of a script's services.
type keys map[string]signature.Key

// Key implements signature.Keys.
func (k keys) Key(_ context.Context, service auth.Subject, id string) (signature.Key, error) {
	key, ok := k[service.String()+"/"+id]
	if !ok {
		return signature.Key{}, signature.ErrUnknownKey
	}
	return key, nil
}

// setup gives a script the state of a local platform: secrets and the operator's credential in .local, the
// journal's file in stopped, and in the work directory what offline checks need.
func setup(env *testscript.Env) error {
	dir := filepath.Join(env.WorkDir, ".local")
	known, err := addKeys(context.Background(), filepath.Join(dir, "secrets"))
	if err != nil {
		return err
	}
	operator, err := token.GenerateKey(token.ES256)
	if err != nil {
		return err
	}
	pem, err := token.MarshalPrivateKey(operator)
	if err != nil {
		return err
	}
	set, err := token.NewKeySet(token.Key{ID: "op", Algorithm: token.ES256, Public: operator.Public()})
	if err != nil {
		return err
	}
	server := httptest.NewServer(&platform{operator: set, keys: known, nonces: signature.NewMemoryNonces(100, time.Now)})
	env.Defer(server.Close)
	info, err := json.Marshal(map[string]any{
		"server": server.URL, "pid": os.Getpid(), "operator": "operator@local.isectech.com",
		"operator_key": string(pem), "operator_key_id": "op",
	})
	if err != nil {
		return err
	}
	env.Setenv("SERVER", server.URL)
	env.Setenv("ADDRESS", strings.TrimPrefix(server.URL, "http://"))
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "local.json"), info, 0o600),
		offlineFiles(env),
		stoppedPlatform(filepath.Join(env.WorkDir, "stopped")),
	)
}

// addKeys gives the gateway two keys, of which the newer one is disabled, and the backend one.
func addKeys(ctx context.Context, dir string) (keys, error) {
	server, err := secretserver.Open(dir, time.Now)
	if err != nil {
		return nil, err
	}
	defer server.Close()
	client, err := server.Client(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	known := keys{}
	for name, versions := range map[string]int{gateway: 2, backend: 1} {
		secret := "isectech-api-key-" + name
		err := client.Create(ctx, secret, nil)
		for n := range versions {
			key := signature.NewKey()
			known[fmt.Sprintf("%s/k%d", name, n+1)] = key
			_, addErr := client.AddVersion(ctx, secret, []byte(key.Encode()))
			err = errors.Join(err, addErr)
		}
		if err != nil {
			return nil, err
		}
	}
	return known, client.Disable(ctx, "isectech-api-key-"+gateway, 2, "")
}

// offlineFiles writes a key set, tokens of its key, a policy and an API key.
func offlineFiles(env *testscript.Env) error {
	key, err := token.GenerateKey(token.ES256)
	if err != nil {
		return err
	}
	signer, err := token.NewSigner("k", token.ES256, key)
	if err != nil {
		return err
	}
	set, err := token.NewKeySet(signer.Public())
	if err != nil {
		return err
	}
	jwks, err := json.Marshal(set)
	if err != nil {
		return err
	}
	shipped, err := json.MarshalIndent(policy.Default(), "", "  ")
	if err != nil {
		return err
	}
	var tokens strings.Builder
	noon := time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC)
	for _, caller := range []string{gateway, "isectech-frontend", "isectech-nobody"} {
		raw, err := signer.Sign(token.Claims{
			Subject: auth.MustSubject(caller), Audience: backend, Environment: auth.Production, Scopes: auth.APIRead,
			IssuedAt: noon, ExpiresAt: noon.Add(10 * time.Minute), ID: "AAAAAAAAAAAAAAAAAAAAAA", ServiceID: caller[len("isectech-"):] + "-1",
		})
		if err != nil {
			return err
		}
		tokens.WriteString(raw + "\n")
	}
	for name, data := range map[string]string{
		"jwks.json": string(jwks), "tokens": tokens.String(), "policy.json": string(shipped),
		"vector.key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n",
	} {
		if err := os.WriteFile(filepath.Join(env.WorkDir, name), []byte(data), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// stoppedPlatform makes the store of a platform that has been stopped, and a copy of it in which a byte
// of an entry is another.
func stoppedPlatform(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	db, err := boltstore.Open(filepath.Join(dir, "platform.db"), boltstore.Options{Now: time.Now})
	if err != nil {
		return err
	}
	for range 3 {
		_, err = db.Commit(context.Background(), store.Batch{
			Writes: []store.Write{{Ref: store.Ref{Collection: store.Services, ID: "a-1"}, Data: map[string]any{"x": 1}}},
			Actor:  "operator:tester@example.com", Cause: "damage-me",
		})
		if err != nil {
			return err
		}
	}
	if err := db.Close(); err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(dir, "platform.db"))
	if err != nil {
		return err
	}
	damaged := filepath.Join(filepath.Dir(dir), "damaged")
	at := strings.LastIndex(string(data), "damage-me")
	if at < 0 {
		return errors.New("the store's file does not show the cause of a write")
	}
	data[at] = 'D'
	return errors.Join(os.MkdirAll(damaged, 0o700), os.WriteFile(filepath.Join(damaged, "platform.db"), data, 0o600))
}

// ServeHTTP implements http.Handler.
func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		fail(w, http.StatusBadRequest, `"error":"invalid_request"`)
		return
	}
	if r.URL.Path == "/internal/auth/token" {
		p.token(w, r, body)
		return
	}
	caller, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || caller != operatorToken && !strings.HasPrefix(caller, serviceToken) {
		fail(w, http.StatusUnauthorized, `"error":"authentication_required","reason":"no_credentials","message":"authentication is required"`)
		return
	}
	query := ""
	if r.URL.RawQuery != "" {
		query = "?" + r.URL.RawQuery
	}
	route := r.Method + " " + r.URL.EscapedPath() + query
	answer, known := routes[route]
	switch route {
	case "GET /internal/auth/validate":
		answer, known = validation(r.Header), true
	case "GET /internal/auth/policy":
		w.Header().Set("ETag", `"3"`)
		w.Header().Set("X-Policy-Version", "3")
	case "PUT /internal/auth/policy":
		answer, known = replacement(r.Header, body), true
	}
	if !known {
		fail(w, http.StatusNotFound, `"error":"not_found","message":`+string(must(json.Marshal("no "+route))))
		return
	}
	if answer.body == "" {
		w.WriteHeader(answer.status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(answer.status)
	_, _ = io.WriteString(w, strings.ReplaceAll(answer.body, "CALLER", caller)) //nolint:gosec // no browser reads it
}

func must(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}

func fail(w http.ResponseWriter, status int, members string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{%s,"request_id":"req-1","timestamp":"2026-01-04T12:00:00Z"}`, members)
}

// token is the token endpoint: it verifies the credential and says in the token whose it was.
func (p *platform) token(w http.ResponseWriter, r *http.Request, body []byte) {
	form, err := url.ParseQuery(string(body))
	if err != nil || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		fail(w, http.StatusBadRequest, `"error":"invalid_request"`)
		return
	}
	issued := map[string]any{"token_type": "Bearer", "expires_in": 600, "scope": form.Get("scope"), "asked": form}
	switch form.Get("grant_type") {
	case "client_credentials":
		request, mac, err := signature.FromHTTP(r)
		if err == nil {
			err = (&signature.Verifier{Keys: p.keys, Nonces: p.nonces, Now: time.Now}).Verify(r.Context(), request, mac)
		}
		if err == nil {
			err = signature.CheckBody(request, body)
		}
		if err != nil {
			fail(w, http.StatusUnauthorized, fmt.Sprintf(`"error":"invalid_client","error_description":%q`, err))
			return
		}
		if form.Get("audience") == "isectech-forbidden" {
			fail(w, http.StatusBadRequest, `"error":"invalid_target","error_description":"isectech-api-gateway may not call isectech-forbidden","message":"isectech-api-gateway may not call isectech-forbidden","reason":"untrusted_edge"`)
			return
		}
		issued["access_token"] = serviceToken + request.Service + "/" + request.KeyID
	default:
		assertion := form.Get("assertion")
		payload, err := (&token.Verifier{Keys: p.operator, Now: time.Now}).VerifySignature(r.Context(), assertion)
		var claims struct {
			Iss, Aud, Email string
			Verified        bool `json:"email_verified"`
			Iat, Exp        int64
		}
		if err == nil {
			err = json.Unmarshal(payload, &claims)
		}
		now := time.Now().Unix()
		if err != nil || claims.Iss != "https://local.isectech.com" || claims.Aud != "isectech-authz" || !claims.Verified ||
			claims.Email != "operator@local.isectech.com" || claims.Iat > now || claims.Exp <= now || claims.Exp-claims.Iat > 300 {
			fail(w, http.StatusBadRequest, `"error":"invalid_grant","error_description":"the ID token is none"`)
			return
		}
		delete(form, "assertion")
		issued["access_token"] = operatorToken
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(must(json.Marshal(issued))) // a client that went away
}

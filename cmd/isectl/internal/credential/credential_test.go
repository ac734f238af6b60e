package credential_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/cmd/isectl/internal/credential"
	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/secrets"
	"github.com/isectech/service-networking/shared/platform/secrets/secretserver"
)

var noon = time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return noon }

func TestReadAPIKey(t *testing.T) {
	t.Parallel()
	server, err := secretserver.Open("", clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	client, err := server.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	var keys []signature.Key
	add := func(service string, payloads ...string) {
		err := client.Create(t.Context(), "isectech-api-key-"+service, nil)
		for _, payload := range payloads {
			_, addErr := client.AddVersion(t.Context(), "isectech-api-key-"+service, []byte(payload))
			err = errors.Join(err, addErr)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		keys = append(keys, signature.NewKey())
	}
	add("isectech-a", keys[0].Encode(), keys[1].Encode(), keys[2].Encode())
	add("other", keys[0].Encode())
	add("isectech-none")
	add("isectech-off", keys[0].Encode())
	add("isectech-bad", "not a key, though 43 characters of text long")
	if err := errors.Join(
		client.Disable(t.Context(), "isectech-api-key-isectech-a", 3, ""),
		client.Destroy(t.Context(), "isectech-api-key-isectech-off", 1, ""),
	); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]struct {
		service, keyID string
		key            signature.Key
	}{
		"isectech-a": {"isectech-a", "k2", keys[1]},
		"a":          {"isectech-a", "k2", keys[1]},
		"other":      {"other", "k1", keys[0]},
	} {
		got, err := credential.ReadAPIKey(t.Context(), client, ref)
		if err != nil || got.Service.String() != want.service || got.KeyID != want.keyID || got.Key.Encode() != want.key.Encode() {
			t.Errorf("%s: %v, %v; want %v", ref, got, err, want)
		}
	}
	for ref, want := range map[string]error{
		"nobody":               credential.ErrNoKey,
		"none":                 credential.ErrNoKey,
		"off":                  credential.ErrNoKey,
		"operator:a@b.example": credential.ErrNoKey,
		"A":                    auth.ErrMalformed,
		"":                     auth.ErrMalformed,
		"bad":                  auth.ErrMalformed,
	} {
		got, err := credential.ReadAPIKey(t.Context(), client, ref)
		if !errors.Is(err, want) || strings.Contains(err.Error(), "not a key") {
			t.Errorf("%s: %v, %v; want %v", ref, got, err, want)
		}
	}
}

func TestReadAPIKeyTellsAFailureFromAbsence(t *testing.T) {
	t.Parallel()
	server, err := secretserver.Open("", clock)
	if err != nil {
		t.Fatal(err)
	}
	client, err := server.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(client.Close(), server.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := credential.ReadAPIKey(t.Context(), client, "a"); err == nil || errors.Is(err, credential.ErrNoKey) || errors.Is(err, secrets.ErrNotFound) {
		t.Errorf("of a closed client: %v", err)
	}
}

func TestAssertion(t *testing.T) {
	t.Parallel()
	key, err := token.GenerateKey(token.ES256)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := token.MarshalPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	operator := credential.Operator{Email: "op@local.isectech.com", Key: string(pem), KeyID: "kid"}
	raw, err := operator.Assertion(noon)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := token.NewKeySet(token.Key{ID: "kid", Algorithm: token.ES256, Public: key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := (&token.Verifier{Keys: keys, Now: clock}).VerifySignature(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(payload, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"iss": "https://local.isectech.com", "aud": "isectech-authz", "sub": "op@local.isectech.com",
		"email": "op@local.isectech.com", "email_verified": true,
		"iat": float64(noon.Unix()), "exp": float64(noon.Unix() + 300),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}

	other, err := token.GenerateKey(token.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	otherPEM, err := token.MarshalPrivateKey(other)
	if err != nil {
		t.Fatal(err)
	}
	for name, broken := range map[string]credential.Operator{
		"no key":      {Email: "a@b.example", KeyID: "kid"},
		"no PEM":      {Email: "a@b.example", KeyID: "kid", Key: "hunter2"},
		"no e-mail":   {Key: string(pem), KeyID: "kid"},
		"no key id":   {Email: "a@b.example", Key: string(pem)},
		"another key": {Email: "a@b.example", KeyID: "kid", Key: string(otherPEM)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := broken.Assertion(noon); !errors.Is(err, credential.ErrOperator) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v, want ErrOperator", err)
			}
		})
	}
}

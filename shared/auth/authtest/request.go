package authtest

import (
	"context"
	"net/http"
	"testing"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/signature"
)

// Client is a service with a key of its own.
type Client struct{ signature.Signer }

// NewClient returns a client with a new key of id k1, whose clock stands at Now.
func NewClient(service string) *Client {
	return &Client{signature.Signer{
		Service: auth.MustSubject(service), KeyID: "k1", Key: signature.NewKey(), Now: Clock,
	}}
}

// Sign signs an outgoing request. One that httptest.NewRequest made is signed as it will be received.
func (c *Client) Sign(tb testing.TB, r *http.Request, body []byte) {
	tb.Helper()
	if err := c.SignHTTP(r, body); err != nil {
		tb.Fatal(err)
	}
}

// Ring holds the keys of clients. It implements signature.Keys.
type Ring []*Client

// Key returns the key of a client, or signature.ErrUnknownKey.
func (r Ring) Key(_ context.Context, service auth.Subject, keyID string) (signature.Key, error) {
	for _, c := range r {
		if c.Service == service && c.KeyID == keyID {
			return c.Signer.Key, nil
		}
	}
	return signature.Key{}, signature.ErrUnknownKey
}

// Verifier returns a verifier of the clients' requests at Now, with a memory for nonces of its own.
func (r Ring) Verifier() *signature.Verifier {
	return &signature.Verifier{Keys: r, Nonces: signature.NewMemoryNonces(1000, Clock), Now: Clock}
}

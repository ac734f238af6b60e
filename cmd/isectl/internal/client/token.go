package client

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

// The grants of the token endpoint.
const (
	clientCredentials = "client_credentials"
	jwtBearer         = "urn:ietf:params:oauth:grant-type:jwt-bearer" //nolint:gosec // a grant's name
)

// Ask says which token is wanted; what is empty is left to the platform.
type Ask struct {
	Scope       string
	Audience    string
	Environment string
	ServiceID   string
}

// Issued is an answer of the token endpoint.
type Issued struct {
	AccessToken string `json:"access_token"`
	Scope       string `json:"scope"`
	Body        []byte `json:"-"` // the whole answer
}

// Signer signs a request with its body, as the owner of an API key does.
type Signer interface {
	SignHTTP(req *http.Request, body []byte) error
}

// ServiceToken gets a token for the service whose API key signs the request.
func (c *Client) ServiceToken(ctx context.Context, signer Signer, ask Ask) (Issued, error) {
	form := ask.form(clientCredentials)
	return c.token(ctx, form, signer)
}

// OperatorToken exchanges an operator's ID token.
func (c *Client) OperatorToken(ctx context.Context, assertion string, ask Ask) (Issued, error) {
	form := ask.form(jwtBearer)
	form.Set("assertion", assertion)
	return c.token(ctx, form, nil)
}

func (a Ask) form(grant string) url.Values {
	form := url.Values{"grant_type": {grant}}
	for name, value := range map[string]string{
		"scope": strings.Join(strings.Fields(a.Scope), " "), "audience": a.Audience,
		"environment": a.Environment, "service_id": a.ServiceID,
	} {
		if value != "" {
			form.Set(name, value)
		}
	}
	return form
}

func (c *Client) token(ctx context.Context, form url.Values, signer Signer) (Issued, error) {
	body := []byte(form.Encode())
	req, err := c.Request(ctx, Call{
		Method: http.MethodPost, Path: []string{"internal", "auth", "token"},
		Type: "application/x-www-form-urlencoded", Body: body,
	})
	if err != nil {
		return Issued{}, err
	}
	if signer != nil {
		if err := signer.SignHTTP(req, body); err != nil {
			return Issued{}, err
		}
	}
	answer, err := c.Send(req)
	if err != nil {
		return Issued{}, err
	}
	issued := Issued{Body: answer.Body}
	if err := answer.Decode(&issued); err != nil {
		return Issued{}, err
	}
	return issued, nil
}

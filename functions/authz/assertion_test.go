package authz

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/platformtest"
)

const issuer = "https://accounts.google.com"

// idToken makes an ID token of the operator; edit replaces claims, by pairs of a name and raw JSON.
func (f *fixture) idToken(t testing.TB, edit []string) string {
	t.Helper()
	now := f.Clock.Now().Unix()
	at := func(s int64) string { return strconv.FormatInt(now+s, 10) }
	claims := `{"iss":"` + issuer + `","aud":"isectech-authz","sub":"1","email":"` + platformtest.Operator +
		`","email_verified":true,"iat":` + at(0) + `,"exp":` + at(3600) + `}`
	for i := 0; i+1 < len(edit); i += 2 {
		claims = authtest.With(t, claims, edit[i], edit[i+1])
	}
	k := f.idp.Signer.Public()
	return f.idp.Raw(t, `{"alg":"`+k.Algorithm+`","kid":"`+k.ID+`","typ":"JWT"}`, claims)
}

func TestAssertions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	now := f.Clock.Now()
	at := func(d time.Duration) string { return strconv.FormatInt(now.Add(d).Unix(), 10) }
	none := auth.Reason("")
	for _, tc := range []struct {
		name string
		edit []string
		want auth.Reason
	}{
		{"good", nil, none},
		{"issued a little ahead", []string{"iat", at(30 * time.Second)}, none},
		{"just expired", []string{"iat", at(-time.Hour), "exp", at(-30 * time.Second)}, none},
		{"valid from now", []string{"nbf", at(0)}, none},
		{"expired", []string{"iat", at(-time.Hour), "exp", at(-31 * time.Second)}, auth.Expired},
		{"of the future", []string{"iat", at(31 * time.Second)}, auth.NotYetValid},
		{"valid from later", []string{"nbf", at(time.Minute)}, auth.NotYetValid},
		{"too long", []string{"exp", at(62 * time.Minute)}, auth.MalformedToken},
		{"for ever", []string{"exp", "9223372036854775807"}, auth.Expired}, // beyond what a time can be
		{"no expiry", []string{"exp", ""}, auth.MalformedToken},
		{"no issue", []string{"iat", ""}, auth.MalformedToken},
		{"expiry as text", []string{"exp", `"` + at(60) + `"`}, auth.MalformedToken},
		{"expiry with a fraction", []string{"exp", at(0) + ".5"}, auth.MalformedToken},
		{"another issuer", []string{"iss", `"https://evil.example"`}, auth.WrongIssuer},
		{"the platform's own issuer", []string{"iss", `"isectech-platform"`}, auth.WrongIssuer},
		{"no issuer", []string{"iss", ""}, auth.WrongIssuer},
		{"another audience", []string{"aud", `"isectech-services"`}, auth.WrongAudience},
		{"no audience", []string{"aud", ""}, auth.WrongAudience},
		{"several audiences", []string{"aud", `["isectech-authz","other"]`}, auth.MalformedToken},
		{"address not verified", []string{"email_verified", "false"}, auth.IdentityMismatch},
		{"address verified, as text", []string{"email_verified", `"true"`}, auth.MalformedToken},
		{"verification not said", []string{"email_verified", ""}, auth.IdentityMismatch},
		{"no address", []string{"email", ""}, auth.IdentityMismatch},
		{"another case of a claim", []string{"email", "", "Email", `"` + platformtest.Operator + `"`}, auth.IdentityMismatch},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			mail, err := f.deps.Assertions.Verify(t.Context(), f.idToken(t, tc.edit))
			if auth.ReasonOf(err) != tc.want || (err == nil) != (mail == platformtest.Operator) {
				t.Errorf("%q %v", mail, err)
			}
		})
	}
	honest := f.idToken(t, nil)
	k := f.idp.Signer.Public()
	head := `{"alg":"` + k.Algorithm + `","kid":"` + k.ID + `"}`
	for name, tc := range map[string]struct {
		raw  string
		want auth.Reason
	}{
		"nothing":          {"", auth.MalformedToken},
		"two claims twice": {f.idp.Raw(t, head, `{"iss":"a","iss":"`+issuer+`"}`), auth.MalformedToken},
		"no object":        {f.idp.Raw(t, head, `[]`), auth.MalformedToken},
		"null":             {f.idp.Raw(t, head, `null`), auth.MalformedToken},
		"unsigned":         {authtest.Unsigned(`{"alg":"none","kid":"`+k.ID+`"}`, `{}`), auth.BadSignature},
		"with the public key as secret": {
			authtest.HMAC(t, "HS256", f.idp.PublicPEM(t), `{"alg":"HS256","kid":"`+k.ID+`"}`, `{}`), auth.BadSignature,
		},
		"the platform's own token": {f.operator(t), auth.UnknownKey},
		"another provider's":       {authtest.NewAuthority(t, token.RS256).Raw(t, head, `{}`), auth.BadSignature},
		"9 KiB":                    {honest + strings.Repeat("A", 9<<10), auth.MalformedToken},
	} {
		if mail, err := f.deps.Assertions.Verify(t.Context(), tc.raw); auth.ReasonOf(err) != tc.want || mail != "" {
			t.Errorf("%s: %q %v, want %s", name, mail, err, tc.want)
		}
	}
}

// A caller cannot say itself from which network its forgeries come, whether or not it shows credentials of its own.
func TestSourceOfForgedAssertions(t *testing.T) {
	t.Parallel()
	for _, more := range []string{"X-Request-ID", "X-Client-Cert-Present", "X-ISECTECH-Proxy-Marker"} {
		f := newFixture(t)
		f.form(t, "", url.Values{"grant_type": {grantJWTBearer}, "assertion": {"x.y.z"}}.Encode(), func(h http.Header) {
			h.Set("X-Forwarded-For", "203.0.113.7")
			h.Set(more, "true")
		}).want(t, 400, "invalid_grant", auth.MalformedToken)
		if logs := f.Logs.String(); !strings.Contains(logs, "source_network") || strings.Contains(logs, "203.0.113") {
			t.Errorf("beside %s: %s", more, logs)
		}
	}
}

// The token of an operator is for the platform alone; a service account's is its service's.
func TestExchange(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const account = "backend@project.iam.gserviceaccount.com"
	f.edit(t, func(d *policy.Document) {
		d.ServiceAccounts = map[string]policy.Account{account: {Service: backend, Environment: "development"}}
	})
	exchange := func(edit []string, more string, header ...string) answer {
		form := url.Values{"grant_type": {grantJWTBearer}, "assertion": {f.idToken(t, edit)}}.Encode()
		return f.form(t, "", form+more, func(h http.Header) {
			for i := 0; i+1 < len(header); i += 2 {
				h.Add(header[i], header[i+1])
			}
		})
	}
	asAccount := []string{"email", `"` + account + `"`}
	a := exchange(nil, "")
	a.want(t, 200, "", "")
	f.get(t, "/internal/auth/policy", a.text("access_token")).want(t, 200, "", "")
	exchange(nil, "&audience="+backend).want(t, 400, "invalid_target", auth.UntrustedEdge)
	exchange([]string{"email", `"eve@isectech.com"`}, "").want(t, 400, "invalid_grant", auth.UnknownService)
	exchange([]string{"exp", "1"}, "").want(t, 400, "invalid_grant", auth.Expired)

	b := exchange(asAccount, "&audience=api-gateway&scope=api:read")
	b.want(t, 200, "", "")
	v := f.get(t, "/internal/auth/validate", b.text("access_token"), "X-Target-Service", gateway)
	if v.text("service_name") != backend || v.text("environment") != "development" || v.text("service_id") != "backend-services-account" {
		t.Errorf("%s", v.Body)
	}

	// Everything on the request names the same.
	exchange(asAccount, "", "X-Service-Name", "backend").want(t, 200, "", "")
	named := exchange(asAccount, "&client_id=backend&environment=development&service_id=backend-services-7")
	named.want(t, 200, "", "")
	if claims, err := f.guard.Tokens.Verify(t.Context(), named.text("access_token")); err != nil || claims.ServiceID != "backend-services-7" {
		t.Errorf("%+v %v", claims, err)
	}
	exchange(asAccount, "&client_id="+frontend).want(t, 401, "invalid_client", auth.IdentityMismatch)
	exchange(asAccount, "&environment=production").want(t, 401, "invalid_client", auth.IdentityMismatch)
	exchange(asAccount, "&service_id=frontend-1").want(t, 400, "invalid_request", "")
	exchange(nil, "&client_id=operator:"+platformtest.Operator).want(t, 200, "", "")
	exchange(nil, "&client_id="+backend).want(t, 401, "invalid_client", auth.IdentityMismatch)
	exchange(nil, "&service_id=backend-services-7").want(t, 400, "invalid_request", "")
	exchange(asAccount, "", "X-Service-Name", frontend).want(t, 401, "invalid_client", auth.IdentityMismatch)
	exchange(nil, "", "X-Service-Name", frontend).want(t, 401, "invalid_client", auth.IdentityMismatch)
	development := f.Claims(backend, auth.PlatformAudience, 0)
	development.Environment = auth.Development
	exchange(asAccount, "", "Authorization", "Bearer "+f.Mint(t, development)).want(t, 200, "", "")
	exchange(asAccount, "", "Authorization", "Bearer "+f.Token(t, backend, auth.PlatformAudience, 0)).want(t, 401, "invalid_client", auth.IdentityMismatch)
	exchange(asAccount, "", "Authorization", "Bearer "+f.Token(t, frontend, auth.PlatformAudience, 0)).want(t, 401, "invalid_client", auth.IdentityMismatch)
	// And everything that is there is good.
	exchange(asAccount, "", "Authorization", "Bearer x.y.z").want(t, 401, "invalid_client", auth.MalformedToken)
	exchange(asAccount, "", "Authorization", "", "Authorization", "Bearer x.y.z").want(t, 401, "invalid_client", auth.MalformedToken)
	exchange(asAccount, "", "Authorization", "").want(t, 401, "invalid_client", auth.MalformedToken)
	exchange(asAccount, "", "X-ISECTECH-Proxy-Marker", marker, "X-Client-Cert-Present", "true").want(t, 401, "invalid_client", auth.BadSignature)
	exchange(asAccount, "", "X-Client-Cert-Present", "true").want(t, 200, "", "") // taken off: anyone can send it
}

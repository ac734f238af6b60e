package check_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/cmd/isectl/internal/check"
	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/shared/auth/signature"
	"github.com/isectech/service-networking/shared/auth/token"
)

func shipped(t *testing.T) *policy.Policy {
	t.Helper()
	compiled, err := policy.Compile(policy.Default(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func TestToken(t *testing.T) {
	t.Parallel()
	authority, stranger := authtest.NewAuthority(t, token.ES256), authtest.NewAuthority(t, token.ES256)
	mint := func(caller, audience string) string {
		return authority.Token(t, authtest.Claims(caller, audience, auth.APIRead))
	}
	const gateway, backend, frontend = "isectech-api-gateway", "isectech-backend-services", "isectech-frontend"
	good := mint(gateway, backend)
	tests := map[string]struct {
		raw    string
		change func(*check.Tokens)
		want   auth.Reason
	}{
		"good":                          {good, func(*check.Tokens) {}, auth.Allowed},
		"its audience":                  {good, func(c *check.Tokens) { c.Audience = backend }, auth.Allowed},
		"another audience":              {good, func(c *check.Tokens) { c.Audience = "isectech-admin" }, auth.WrongAudience},
		"edge":                          {good, func(c *check.Tokens) { c.Audience, c.Policy = backend, shipped(t) }, auth.Allowed},
		"edge, by alias":                {good, func(c *check.Tokens) { c.Audience, c.Policy = "backend-services", shipped(t) }, auth.Allowed},
		"no edge":                       {mint(frontend, backend), func(c *check.Tokens) { c.Audience, c.Policy = backend, shipped(t) }, auth.UntrustedEdge},
		"no edge comes before audience": {mint(frontend, gateway), func(c *check.Tokens) { c.Audience, c.Policy = backend, shipped(t) }, auth.UntrustedEdge},
		"edge, another audience":        {mint(gateway, frontend), func(c *check.Tokens) { c.Audience, c.Policy = backend, shipped(t) }, auth.WrongAudience},
		"edge to nobody":                {good, func(c *check.Tokens) { c.Audience, c.Policy = "isectech-nobody", shipped(t) }, auth.UnknownService},
		"audience that is no name":      {good, func(c *check.Tokens) { c.Audience, c.Policy = "A B", shipped(t) }, auth.WrongAudience},
		"platform":                      {mint(frontend, auth.PlatformAudience), func(c *check.Tokens) { c.Audience, c.Policy = auth.PlatformAudience, shipped(t) }, auth.Allowed},
		"a service's at the platform":   {good, func(c *check.Tokens) { c.Audience, c.Policy = auth.PlatformAudience, shipped(t) }, auth.WrongAudience},
		"unknown caller":                {mint("isectech-nobody", backend), func(c *check.Tokens) { c.Policy = shipped(t) }, auth.UnknownService},
		"unknown caller, no policy":     {mint("isectech-nobody", backend), func(*check.Tokens) {}, auth.Allowed},
		"expired":                       {good, func(c *check.Tokens) { c.Now = func() time.Time { return authtest.Now.Add(time.Hour) } }, auth.Expired},
		"not yet":                       {good, func(c *check.Tokens) { c.Now = func() time.Time { return authtest.Now.Add(-time.Hour) } }, auth.NotYetValid},
		"expired, signature only": {good, func(c *check.Tokens) {
			c.SignatureOnly, c.Now = true, func() time.Time { return authtest.Now.Add(time.Hour) }
		}, auth.Allowed},
		"another issuer":                 {good, func(c *check.Tokens) { c.Issuer = "elsewhere" }, auth.WrongIssuer},
		"another key":                    {stranger.Token(t, authtest.Claims(gateway, backend, auth.APIRead)), func(*check.Tokens) {}, auth.UnknownKey},
		"another key, signature only":    {stranger.Token(t, authtest.Claims(gateway, backend, auth.APIRead)), func(c *check.Tokens) { c.SignatureOnly = true }, auth.UnknownKey},
		"broken signature":               {good[:len(good)-3] + "AAA", func(*check.Tokens) {}, auth.BadSignature},
		"nothing":                        {"", func(*check.Tokens) {}, auth.MalformedToken},
		"a blank":                        {" " + good, func(*check.Tokens) {}, auth.MalformedToken},
		"an end of line of another kind": {good + "\r", func(*check.Tokens) {}, auth.MalformedToken},
		"too long":                       {good + strings.Repeat("A", 9<<10), func(*check.Tokens) {}, auth.MalformedToken},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tokens := &check.Tokens{Keys: authority.Keys(t), Now: authtest.Clock}
			test.change(tokens)
			got := tokens.Judge(t.Context(), test.raw)
			if got.Reason != test.want || got.Valid != (test.want == auth.Allowed) {
				t.Errorf("%+v, want %s", got, test.want)
			}
		})
	}
}

func TestClaimsAreShownWhereTheyCanBeRead(t *testing.T) {
	t.Parallel()
	authority := authtest.NewAuthority(t, token.ES256)
	tokens := &check.Tokens{Keys: authority.Keys(t), Now: authtest.Clock}
	claims := authtest.Claims("isectech-frontend", "isectech-api-gateway", auth.APIRead)
	encode := base64.RawURLEncoding.EncodeToString
	for name, test := range map[string]struct {
		raw  string
		want string // "" for null
	}{
		"valid":           {authority.Token(t, claims), `"service_name":"isectech-frontend"`},
		"of nobody's key": {encode([]byte(`{}`)) + "." + encode([]byte(`{"a": 1}`)) + ".x", `{"a":1}`},
		"duplicate":       {encode([]byte(`{}`)) + "." + encode([]byte(`{"a":1,"a":2}`)) + ".x", ""},
		"not UTF-8":       {encode([]byte(`{}`)) + "." + encode([]byte("{\"a\":\"\xff\"}")) + ".x", ""},
		"an array":        {encode([]byte(`{}`)) + "." + encode([]byte(`[1]`)) + ".x", ""},
		"two objects":     {encode([]byte(`{}`)) + "." + encode([]byte(`{}{}`)) + ".x", ""},
		"not base64url":   {"a.$.c", ""},
		"two parts":       {"a.b", ""},
		"padded":          {encode([]byte(`{}`)) + "." + base64.URLEncoding.EncodeToString([]byte(`{"a":1}`)) + ".x", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			encoded, err := json.Marshal(tokens.Judge(t.Context(), test.raw))
			if err != nil {
				t.Fatal(err)
			}
			want := `"claims":null`
			if test.want != "" {
				want = test.want
			}
			if !strings.Contains(string(encoded), want) || !json.Valid(encoded) {
				t.Errorf("%s\nwant in it: %s", encoded, want)
			}
		})
	}
}

func TestSPIFFE(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]check.SPIFFEVerdict{
		"spiffe://isectech.com/production/isectech-frontend": {
			Valid: true, TrustDomain: "isectech.com", Path: "/production/isectech-frontend",
			ServiceName: "isectech-frontend", Environment: auth.Production,
		},
		"spiffe://example.org/a/b":         {Valid: true, TrustDomain: "example.org", Path: "/a/b"},
		"spiffe://example.org":             {Valid: true, TrustDomain: "example.org"},
		"spiffe://Example.org/a":           {},
		"spiffe://example.org/a/":          {},
		"spiffe://example.org/../a":        {},
		"spiffe://example.org:1/a":         {},
		"spiffe://example.org/a?b":         {},
		"https://example.org/a":            {},
		"":                                 {},
		"spiffe://example.org/a\x20":       {},
		strings.Repeat("spiffe://a", 10e3): {},
	} {
		t.Run(raw[:min(len(raw), 60)], func(t *testing.T) {
			t.Parallel()
			got := check.SPIFFE(raw)
			if got.Valid == (got.Reason != "") {
				t.Errorf("valid %t with reason %q", got.Valid, got.Reason)
			}
			got.Reason = ""
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	const service = `{"service_id":"backend-services-001","service_name":"isectech-backend-services","version":"1.0.0",
		"environment":"development","region":"us-central1","endpoints":[{"name":"api","url":"http://127.0.0.1:9000/api","protocol":"http","port":9000,"path":"/api"}]}`
	tests := map[string]struct {
		got   check.DocumentVerdict
		valid bool
		paths []string // of findings that are there, among others
	}{
		"service on loopback":          {check.Service([]byte(service), shipped(t), true), true, nil},
		"service on refused loopback":  {check.Service([]byte(service), shipped(t), false), false, []string{"endpoints[0].url"}},
		"service nobody knows":         {check.Service([]byte(strings.ReplaceAll(service, "backend-services", "nobody")), shipped(t), true), false, []string{"service_name"}},
		"service with a strange field": {check.Service([]byte(`{"x":1,`+service[1:]), shipped(t), true), false, []string{"x"}},
		"service that is no JSON":      {check.Service([]byte(`{`), shipped(t), true), false, []string{""}},
		"nothing":                      {check.Service(nil, shipped(t), true), false, []string{""}},
		"policy that is no JSON":       {check.Policy([]byte(`[`)), false, []string{""}},
		"policy of an unknown caller":  {check.Policy([]byte(`{"services":{},"edges":[{"caller":"isectech-a","target":"isectech-b"}],"operators":{},"service_accounts":{}}`)), false, []string{"edges[0].caller"}},
	}
	document, err := json.Marshal(policy.Default())
	if err != nil {
		t.Fatal(err)
	}
	tests["shipped policy"] = struct {
		got   check.DocumentVerdict
		valid bool
		paths []string
	}{check.Policy(document), true, nil}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.got.Valid != test.valid || test.got.Findings == nil {
				t.Errorf("%+v, want valid %t and a list", test.got, test.valid)
			}
			for _, path := range test.paths {
				found := false
				for _, f := range test.got.Findings {
					found = found || f.Path == path && f.Severity == "error" && f.Message != "" && f.Code != ""
				}
				if !found {
					t.Errorf("no error at %q in %+v", path, test.got.Findings)
				}
			}
		})
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	length := func(line string) any { return len(line) }
	long := strings.Repeat("x", 200<<10)
	for name, test := range map[string]struct{ in, want string }{
		"nothing":                {"", ""},
		"an empty line":          {"\n", "0\n"},
		"no end":                 {"a", "1\n"},
		"several":                {"a\nbb\n\nccc", "1\n2\n0\n3\n"},
		"other ends are text":    {"a\r\nb\x00\n", "2\n2\n"},
		"a long one":             {"a\n" + long + "\nbb\n", "1\n65536\n2\n"},
		"a long one at the end":  {"a\n" + long, "1\n65536\n"},
		"as long as the buffer":  {long[:64<<10] + "\nb\n", "65536\n1\n"},
		"one less than it":       {long[:64<<10-1] + "\nb\n", "65535\n1\n"},
		"as long, without end":   {long[:64<<10], "65536\n"},
		"two long ones in a row": {long + "\n" + long + "\n", "65536\n65536\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if err := check.Lines(strings.NewReader(test.in), &out, length); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLinesAnswersBeforeTheInputEnds(t *testing.T) {
	t.Parallel()
	in, ask := io.Pipe()
	answer, out := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- errors.Join(check.Lines(in, out, func(line string) any { return line }), out.Close()) }()
	for _, line := range []string{"a", "b"} {
		if _, err := io.WriteString(ask, line+"\n"); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 4)
		if _, err := io.ReadFull(answer, got); err != nil || string(got) != `"`+line+"\"\n" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if err := ask.Close(); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(answer); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSignVector(t *testing.T) {
	t.Parallel()
	raw := make([]byte, 32)
	for i := range raw {
		raw[i] = byte(i)
	}
	key, err := signature.ParseKey(base64.RawURLEncoding.EncodeToString(raw))
	if err != nil {
		t.Fatal(err)
	}
	signing := check.Signing{
		Service: "isectech-api-gateway", KeyID: "k2", Key: key, Timestamp: "2026-01-04T12:00:00Z", Nonce: "AAECAwQFBgcICQoLDA0ODw",
	}
	request := "POST /internal/auth/token?a=&a=1&b=%20x%2B HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n" +
		"grant_type=client_credentials&scope=api%3Aread"
	signed, err := check.Sign(strings.NewReader(request), signing)
	if err != nil {
		t.Fatal(err)
	}
	if got := signed.Fields["X-API-Key"]; got != "f467a880252c015b2bf228fbdd7c51dea36e845fbf0d15808e86f4ec743d1292" {
		t.Errorf("X-API-Key = %s", got)
	}
	want := "POST\n/internal/auth/token\na=&a=1&b=%20x%2B\n127.0.0.1:8080\n" + signed.Fields["X-Content-SHA256"]
	if diff := cmp.Diff(want, signed.Canonical); diff != "" {
		t.Errorf("canonical request (-want +got):\n%s", diff)
	}

	signing.Timestamp, signing.Nonce, signing.Now = "", "", authtest.Clock
	signed, err = check.Sign(strings.NewReader(request), signing)
	if err != nil || signed.Fields["X-API-Timestamp"] != "2026-01-04T12:00:00Z" || len(signed.Fields["X-API-Nonce"]) != 22 {
		t.Errorf("%+v, %v", signed.Fields, err)
	}
	for name, change := range map[string]func(*check.Signing, *string){
		"service": func(s *check.Signing, _ *string) { s.Service = "A B" },
		"key id":  func(s *check.Signing, _ *string) { s.KeyID = "2" },
		"time":    func(s *check.Signing, _ *string) { s.Timestamp = "2026-01-04T12:00:00+00:00" },
		"nonce":   func(s *check.Signing, _ *string) { s.Nonce = "x" },
		"request": func(_ *check.Signing, r *string) { *r = "hello" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			signing, request := signing, request
			change(&signing, &request)
			if signed, err := check.Sign(strings.NewReader(request), signing); err == nil {
				t.Errorf("signed %+v", signed)
			}
		})
	}
}

func FuzzClaims(f *testing.F) {
	f.Add("a.eyJhIjoxfQ.c")
	f.Add("..")
	f.Fuzz(func(t *testing.T, raw string) {
		tokens := &check.Tokens{Keys: (*token.KeySet)(nil), Now: authtest.Clock}
		verdict := tokens.Judge(t.Context(), raw)
		if encoded, err := json.Marshal(verdict); err != nil || verdict.Valid || !json.Valid(encoded) {
			t.Errorf("%q: %+v, %v", raw, verdict, err)
		}
	})
}

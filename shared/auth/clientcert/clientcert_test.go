package clientcert_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authtest"
	"github.com/isectech/service-networking/shared/auth/clientcert"
)

const (
	frontend = "isectech-frontend"
	gateway  = "isectech-api-gateway"

	id          = "spiffe://isectech.com/production/isectech-frontend"
	fingerprint = "om8vGt3r6eTx5TI1kCeNKRJYZTUreIbHGu+Gu8FN8To"
	thumbprint  = "om8vGt3r6eTx5TI1kCeNKRJYZTUreIbHGu-Gu8FN8To"
	digest      = "a26f2f1addebe9e4f1e5323590278d29125865352b7886c71aef86bbc14df13a"
	serial      = "00:ad:3e:0e:bc:c3:d4:f4:2d:ae:5b:21:3b:e4:cb:8b:f4:9d:49:a1"
	notAfter    = "2026-01-05T12:00:00+00:00"
)

var (
	reader = &clientcert.Reader{Now: authtest.Clock}
	told   = clientcert.Identity{
		Service: auth.MustSubject(frontend), Environment: auth.Production, Thumbprint: thumbprint,
		Serial: "ad3e0ebcc3d4f42dae5b213be4cb8bf49d49a1", NotAfter: authtest.Now.Add(24 * time.Hour),
	}
	bare = clientcert.Identity{Service: auth.MustSubject(frontend), Environment: auth.Production, Thumbprint: thumbprint}
)

// balancer returns the load balancer's headers, with pairs of names and values set upon them; a value of "-"
// takes the header away.
func balancer(pairs ...string) http.Header {
	h := http.Header{}
	for _, all := range [][]string{{
		"Present", "true", "Chain-Verified", "true", "SPIFFE", id, "SHA256-Fingerprint", fingerprint,
		"Serial-Number", serial, "Not-After", notAfter,
	}, pairs} {
		for i := 0; i < len(all); i += 2 {
			h.Set("X-Client-Cert-"+all[i], all[i+1])
			if all[i+1] == "-" {
				h.Del("X-Client-Cert-" + all[i])
			}
		}
	}
	return h
}

func envoy(h http.Header, values ...string) http.Header {
	if h == nil {
		h = http.Header{}
	}
	h["X-Forwarded-Client-Cert"] = values
	return h
}

func add(h http.Header, name, value string) http.Header {
	h.Add(name, value)
	return h
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	xfcc := "Hash=" + digest + ";URI=" + id
	for _, tc := range []struct {
		name   string
		header http.Header
		want   clientcert.Identity
		none   bool
		reason auth.Reason
	}{
		{name: "nothing", none: true},
		{name: "the load balancer", header: balancer(), want: told},
		{name: "the load balancer, of no certificate", none: true, header: http.Header{
			"X-Client-Cert-Present": {"false"}, "X-Client-Cert-Chain-Verified": {"false"}, "X-Client-Cert-Spiffe": {""},
			"X-Client-Cert-Error": {"client_cert_not_provided"},
		}},
		{name: "the workload alone", header: balancer("SHA256-Fingerprint", "-", "Serial-Number", "", "Not-After", "-"),
			want: clientcert.Identity{Service: bare.Service, Environment: bare.Environment}},
		{name: "base64 with padding", header: balancer("SHA256-Fingerprint", fingerprint+"="), want: told},
		{name: "base64url", header: balancer("SHA256-Fingerprint", thumbprint), want: told},
		{name: "hex", header: balancer("SHA256-Fingerprint", digest), want: told},
		{name: "upper-case hex", header: balancer("SHA256-Fingerprint", strings.ToUpper(digest)), want: told},
		{name: "hex with colons", header: balancer("SHA256-Fingerprint", colons(digest)), want: told},
		{name: "a serial without colons", header: balancer("Serial-Number", "AD3E0EBCC3D4F42DAE5B213BE4CB8BF49D49A1"), want: told},
		{name: "a time ending in Z", header: balancer("Not-After", "2026-01-05T12:00:00Z"), want: told},
		{name: "the last moment", header: balancer("Not-After", "2026-01-04T12:00:00Z"), want: func() clientcert.Identity {
			i := told
			i.NotAfter = authtest.Now
			return i
		}()},

		{name: "no chain was verified", header: balancer("Chain-Verified", "false"), reason: auth.BadSignature},
		{name: "nobody says that one was", header: balancer("Chain-Verified", "-"), reason: auth.BadSignature},
		{name: "True", header: balancer("Chain-Verified", "True"), reason: auth.BadSignature},
		{name: "not present, but named", header: balancer("Present", "false"), reason: auth.UntrustedProxy},
		{name: "nobody says that it is present", header: balancer("Present", "-"), reason: auth.UntrustedProxy},
		{name: "present and nothing else", header: http.Header{"X-Client-Cert-Present": {"true"}}, reason: auth.BadSignature},
		{name: "a name twice", header: add(balancer(), "X-Client-Cert-SPIFFE", id), reason: auth.UntrustedProxy},
		{name: "present twice", header: add(balancer(), "X-Client-Cert-Present", "false"), reason: auth.UntrustedProxy},
		{name: "two empty names of nobody", header: http.Header{"X-Client-Cert-Spiffe": {"", ""}}, reason: auth.UntrustedProxy},
		{name: "a name that is too long", header: balancer("SPIFFE", "spiffe://isectech.com/"+strings.Repeat("a", 3000)), reason: auth.UntrustedProxy},
		{name: "no workload", header: balancer("SPIFFE", ""), reason: auth.IdentityMismatch},
		{name: "of another domain", header: balancer("SPIFFE", "spiffe://evil.example/production/isectech-frontend"), reason: auth.IdentityMismatch},
		{name: "of no environment", header: balancer("SPIFFE", "spiffe://isectech.com/isectech-frontend"), reason: auth.IdentityMismatch},
		{name: "of an unknown environment", header: balancer("SPIFFE", "spiffe://isectech.com/prod/isectech-frontend"), reason: auth.IdentityMismatch},
		{name: "a path too long", header: balancer("SPIFFE", id+"/x"), reason: auth.IdentityMismatch},
		{name: "two workloads in one", header: balancer("SPIFFE", id+","+id), reason: auth.IdentityMismatch},
		{name: "an upper-case scheme", header: balancer("SPIFFE", "SPIFFE"+id[6:]), reason: auth.IdentityMismatch},
		{name: "expired", header: balancer("Not-After", "2026-01-04T11:59:59Z"), reason: auth.Expired},
		{name: "a time of another form", header: balancer("Not-After", "Jan  5 12:00:00 2026 GMT"), reason: auth.UntrustedProxy},
		{name: "a time with one digit", header: balancer("Not-After", "2026-01-05T1:00:00Z"), reason: auth.UntrustedProxy},
		{name: "a serial of other digits", header: balancer("Serial-Number", "ad3g"), reason: auth.UntrustedProxy},
		{name: "a SHA-1", header: balancer("SHA256-Fingerprint", digest[:40]), reason: auth.UntrustedProxy},
		{name: "spare bits", header: balancer("SHA256-Fingerprint", fingerprint[:42]+"p"), reason: auth.UntrustedProxy},
		{name: "a break", header: balancer("SHA256-Fingerprint", fingerprint[:42]+"\n"), reason: auth.UntrustedProxy},
		{name: "both alphabets", header: balancer("SHA256-Fingerprint", "-"+fingerprint[1:]), reason: auth.UntrustedProxy},

		{name: "Envoy", header: envoy(nil, xfcc), want: bare},
		{name: "Envoy, of all it can tell", header: envoy(nil, "By=spiffe://isectech.com/production/edge;By=x;"+xfcc+`;Subject="CN=isectech-frontend,O=\"a;b\"";DNS=a;DNS=b`), want: bare},
		{name: "Envoy, by the name alone", header: envoy(nil, "uri="+id), want: clientcert.Identity{Service: bare.Service, Environment: bare.Environment}},
		{name: "Envoy, of no certificate", header: envoy(nil, ""), none: true},
		{name: "two hops", header: envoy(nil, xfcc+","+xfcc), reason: auth.UntrustedProxy},
		{name: "two headers", header: envoy(nil, xfcc, xfcc), reason: auth.UntrustedProxy},
		{name: "two headers, one empty", header: envoy(nil, "", xfcc), reason: auth.UntrustedProxy},
		{name: "two workloads", header: envoy(nil, xfcc+";URI="+id), reason: auth.IdentityMismatch},
		{name: "no workload of Envoy's", header: envoy(nil, "Hash="+digest), reason: auth.IdentityMismatch},
		{name: "an empty workload", header: envoy(nil, "Hash="+digest+";URI="), reason: auth.IdentityMismatch},
		{name: "a hash of another kind", header: envoy(nil, "Hash="+digest[:40]+";URI="+id), reason: auth.UntrustedProxy},
		{name: "a hash in base64", header: envoy(nil, `Hash="`+fingerprint+`";URI=`+id), reason: auth.UntrustedProxy},
		{name: "an empty hash", header: envoy(nil, `Hash=;URI=`+id), reason: auth.UntrustedProxy},
		{name: "a certificate that is none", header: envoy(nil, xfcc+`;Cert="x"`), reason: auth.UntrustedProxy},
		{name: "an empty certificate", header: envoy(nil, xfcc+`;Cert=`), reason: auth.UntrustedProxy},

		{name: "both, of one certificate", header: envoy(balancer(), xfcc), want: told},
		{name: "both, of two workloads", header: envoy(balancer(), "URI=spiffe://isectech.com/production/isectech-api-gateway"), reason: auth.IdentityMismatch},
		{name: "both, of two environments", header: envoy(balancer(), "URI=spiffe://isectech.com/staging/isectech-frontend"), reason: auth.IdentityMismatch},
		{name: "both, of two certificates", header: envoy(balancer(), "Hash="+strings.Repeat("00", 32)+";URI="+id), reason: auth.UntrustedProxy},
		{name: "one of them malformed", header: envoy(balancer(), "x"), reason: auth.UntrustedProxy},
		{name: "Envoy beside a load balancer that saw none", header: envoy(http.Header{"X-Client-Cert-Present": {"false"}}, xfcc), reason: auth.UntrustedProxy},
		{name: "Envoy beside a load balancer without client certificates", header: envoy(http.Header{"X-Client-Cert-Present": {""}}, xfcc), reason: auth.UntrustedProxy},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			if tc.header != nil {
				r.Header = tc.header
			}
			wantIdentity(t, r, tc.want, tc.none, tc.reason)
		})
	}
}

func wantIdentity(t *testing.T, r *http.Request, want clientcert.Identity, none bool, reason auth.Reason) {
	t.Helper()
	got, ok, err := reader.Read(r)
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b auth.Subject) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if auth.ReasonOf(err) != reason || (err != nil) != (reason != "") || ok != (err == nil && !none) {
		t.Errorf("ok %v, error %v, want reason %q", ok, err, reason)
	}
	if clientcert.Present(r) == none {
		t.Errorf("present: %v", !none)
	}
}

func colons(digits string) string {
	var pairs []string
	for i := 0; i < len(digits); i += 2 {
		pairs = append(pairs, digits[i:i+2])
	}
	return strings.Join(pairs, ":")
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	ca := authtest.NewCA(t)
	uri := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for _, tc := range []struct {
		name   string
		edit   func(*x509.Certificate)
		reason auth.Reason
	}{
		{name: "honest"},
		{name: "for servers too", edit: func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) }},
		{name: "with a DNS name", edit: func(c *x509.Certificate) { c.DNSNames = []string{"frontend.internal.isectech.com"} }},
		{name: "an authority's", edit: func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, reason: auth.BadSignature},
		{name: "that signs others", edit: func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, reason: auth.BadSignature},
		{name: "for servers", edit: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, reason: auth.BadSignature},
		{name: "for anything", edit: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, reason: auth.BadSignature},
		{name: "for nothing said", edit: func(c *x509.Certificate) { c.ExtKeyUsage = nil }, reason: auth.BadSignature},
		{name: "expired", edit: func(c *x509.Certificate) { c.NotAfter = authtest.Now.Add(-time.Second) }, reason: auth.Expired},
		{name: "of tomorrow", edit: func(c *x509.Certificate) { c.NotBefore = authtest.Now.Add(time.Second) }, reason: auth.NotYetValid},
		{name: "without a URI", edit: func(c *x509.Certificate) { c.URIs = nil }, reason: auth.IdentityMismatch},
		{name: "with two URIs", edit: func(c *x509.Certificate) { c.URIs = append(c.URIs, uri("https://isectech.com")) }, reason: auth.IdentityMismatch},
		{name: "of another domain", edit: func(c *x509.Certificate) { c.URIs[0] = uri("spiffe://evil.example/production/" + frontend) }, reason: auth.IdentityMismatch},
		{name: "with an empty query", edit: func(c *x509.Certificate) { c.URIs[0].ForceQuery = true }, reason: auth.IdentityMismatch},
		{name: "of another common name", edit: func(c *x509.Certificate) { c.Subject.CommonName = gateway }, reason: auth.IdentityMismatch},
		{name: "of an alias", edit: func(c *x509.Certificate) { c.Subject.CommonName = "frontend" }, reason: auth.IdentityMismatch},
		{name: "without a common name", edit: func(c *x509.Certificate) { c.Subject.CommonName = "" }, reason: auth.IdentityMismatch},
		{name: "of another scheme's case", edit: func(c *x509.Certificate) { c.URIs[0].Scheme = "SPIFFE" }, reason: auth.IdentityMismatch},
		{name: "with a long serial", edit: func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 159) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			template := authtest.ClientTemplate(frontend, auth.Production)
			if tc.edit != nil {
				tc.edit(template)
			}
			leaf := ca.Issue(t, template).Leaf
			var want clientcert.Identity
			if tc.reason == "" {
				want = clientcert.Identity{
					Service: auth.MustSubject(frontend), Environment: auth.Production, Thumbprint: clientcert.Thumbprint(leaf),
					Serial: template.SerialNumber.Text(16), NotAfter: leaf.NotAfter,
				}
			}
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
			wantIdentity(t, r, clientcert.Identity{}, false, auth.BadSignature) // which nobody verified
			r.TLS.VerifiedChains = [][]*x509.Certificate{{leaf, ca.Root}}
			wantIdentity(t, r, want, false, tc.reason)

			// Envoy's word of the same certificate, whole.
			escaped := strings.ReplaceAll(url.PathEscape(authtest.CertificatePEM(leaf)), "=", "%3D")
			sum, err := base64.RawURLEncoding.DecodeString(clientcert.Thumbprint(leaf))
			if err != nil {
				t.Fatal(err)
			}
			element := "Hash=" + hex.EncodeToString(sum) + ";URI=" + id
			chain := escaped + url.PathEscape(authtest.CertificatePEM(ca.Root))
			for _, pairs := range []string{`;Cert="` + escaped + `"`, `;Chain="` + chain + `"`, `;Cert="` + escaped + `";Chain="` + chain + `"`} {
				r = httptest.NewRequest(http.MethodGet, "/", nil)
				r.Header = envoy(nil, element+pairs)
				wantIdentity(t, r, want, false, tc.reason)
			}
			if tc.reason != "" {
				return
			}
			for name, contradiction := range map[string]string{
				"another hash":        "Hash=" + digest + ";URI=" + id + `;Cert="` + escaped + `"`,
				"another in front":    element + `;Cert="` + escaped + `";Chain="` + url.PathEscape(authtest.CertificatePEM(ca.Root)) + `"`,
				"two in Cert":         element + `;Cert="` + chain + `"`,
				"text in front of it": element + `;Cert="x%0A` + escaped + `"`,
			} {
				r.Header = envoy(nil, contradiction)
				if _, _, err := reader.Read(r); auth.ReasonOf(err) != auth.UntrustedProxy {
					t.Errorf("%s: %v", name, err)
				}
			}
			// Beside what the load balancer tells of it.
			end := leaf.NotAfter.UTC().Format(time.RFC3339)
			for _, beside := range []struct {
				serial, end string
				reason      auth.Reason
			}{{want.Serial, end, ""}, {"", "", ""}, {"01", end, auth.UntrustedProxy}, {want.Serial, notAfter, auth.UntrustedProxy}} {
				r.Header = envoy(balancer("SHA256-Fingerprint", "", "Serial-Number", beside.serial, "Not-After", beside.end),
					element+`;Cert="`+escaped+`"`)
				together := want
				if beside.reason != "" {
					together = clientcert.Identity{}
				}
				wantIdentity(t, r, together, false, beside.reason)
			}
			r.Header = envoy(nil, strings.Replace(element, frontend, gateway, 1)+`;Cert="`+escaped+`"`)
			wantIdentity(t, r, clientcert.Identity{}, false, auth.IdentityMismatch)
		})
	}
}

func TestParseSerial(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"1": "1", "01": "1", "00:01": "1", "AD": "ad", "0aD3e": "ad3e", "00:ad:3E": "ad3e", strings.Repeat("ff", 32): strings.Repeat("ff", 32),
		"00" + strings.Repeat("ff", 32): strings.Repeat("ff", 32),
		"":                              "", "0": "", "00:00": "", ":": "", "a:b": "", "ad:": "", ":ad": "", "0xad": "", "-1": "", " 1": "", "ad 3e": "",
		"1" + strings.Repeat("ff", 32): "", strings.Repeat("0", 66): "", "ä": "",
	} {
		got, err := clientcert.ParseSerial(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v, want %q", text, got, err, want)
		}
		if again, err := clientcert.ParseSerial(got); want != "" && (again != got || err != nil) {
			t.Errorf("%q became %q: %v", got, again, err)
		}
	}
}

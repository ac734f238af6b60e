package clientcert

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/authtest"
)

const (
	seedID     = "spiffe://isectech.com/production/isectech-frontend"
	seedDigest = "a26f2f1addebe9e4f1e5323590278d29125865352b7886c71aef86bbc14df13a"
)

func TestXFCC(t *testing.T) {
	t.Parallel()
	once := func(keys ...string) map[string]bool {
		m := map[string]bool{}
		for _, k := range keys {
			m[k] = true
		}
		return m
	}
	for value, want := range map[string][]element{
		"By=a;Hash=b;URI=c":           {{by: []string{"a"}, hash: "b", uri: []string{"c"}, keys: once("hash")}},
		"bY=;hAsH=;uRi=":              {{by: []string{""}, uri: []string{""}, keys: once("hash")}},
		"URI=a;URI=b,DNS=c":           {{uri: []string{"a", "b"}}, {dns: []string{"c"}}},
		`Subject="a,b;c=d";URI=e`:     {{subject: "a,b;c=d", uri: []string{"e"}, keys: once("subject")}},
		`Subject="";Cert="x",Chain=y`: {{cert: "x", keys: once("subject", "cert")}, {chain: "y", keys: once("chain")}},
		`Subject="CN=\"a\", b\\"`:     {{subject: `CN="a", b\\`, keys: once("subject")}},
		`Subject="a\,b"`:              {{subject: `a\,b`, keys: once("subject")}},
		`Subject="ä"`:                 {{subject: "ä", keys: once("subject")}},

		"": nil, ",": nil, ";": nil, "=": nil, "URI": nil, "URI=a;": nil, "URI=a,": nil, ",URI=a": nil, ";URI=a": nil, "URI=a,,URI=b": nil, "URI=a;;URI=b": nil,
		"URI=a, URI=b": nil, "URI=a; URI=b": nil, " URI=a": nil, "URI =a": nil, "URI= a": nil, "URI=a ": nil,
		"Hash=a;Hash=a": nil, "Hash=a;hash=b": nil, `Subject=;Subject=""`: nil, "Spiffe=a": nil, "X-URI=a": nil, "=a": nil,
		"URI=a=b": nil, `URI=a"b`: nil, `URI=a\b`: nil, "URI=ä": nil, "URI=a\tb": nil, "URI=a\x00": nil,
		`URI="a`: nil, `URI="a\"`: nil, `URI="a\`: nil, `URI="a"b`: nil, `URI="a" `: nil, "URI=\"a\nb\"": nil, "URI=\"\\\n\"": nil, `"URI"=a`: nil,
		"URI=" + strings.Repeat("a", maxXFCC):               nil,
		strings.Repeat("URI=a;", maxNames) + "URI=a":        nil,
		strings.Repeat("URI=a,", maxNames) + "URI=a":        nil,
		strings.Repeat(`Subject="a";URI=a;`, 2) + "URI=end": nil,
	} {
		got, err := parseXFCC(value)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(element{})); diff != "" || (err == nil) != (want != nil) {
			t.Errorf("%.60q: error %v (-want +got):\n%s", value, err, diff)
		}
	}
}

// text writes an element as Envoy would.
func (e element) text() string {
	quote := func(s string) string {
		return `"` + s + `"`
	}
	var pairs []string
	for key, value := range map[string]string{"hash": e.hash, "cert": e.cert, "chain": e.chain, "subject": e.subject} {
		if e.keys[key] {
			pairs = append(pairs, key+"="+quote(strings.ReplaceAll(value, `"`, `\"`)))
		}
	}
	for key, values := range map[string][]string{"By": e.by, "URI": e.uri, "DNS": e.dns} {
		for _, value := range values {
			pairs = append(pairs, key+"="+quote(strings.ReplaceAll(value, `"`, `\"`)))
		}
	}
	slices.SortStableFunc(pairs, func(a, b string) int { return strings.Compare(a[:2], b[:2]) })
	return strings.Join(pairs, ";")
}

// Whatever is parsed comes back when it is written again, and nothing but one whole element names anyone.
func FuzzXFCC(f *testing.F) {
	for _, seed := range []string{
		"By=http://frontend;Hash=" + seedDigest + `;Subject="/C=US/CN=Test Client";URI=` + seedID + ";DNS=a;DNS=b",
		"URI=" + seedID + ",URI=" + seedID, `Subject="a\"b\\";uri="` + seedID + `"`, "URI=a;", `Cert="-----BEGIN%20CERTIFICATE-----%0A"`,
		`Subject="\\\"";URI=` + seedID, "Hash=;URI=",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		elements, err := parseXFCC(value)
		if (err == nil) != (len(elements) > 0) {
			t.Fatalf("%d elements, error %v", len(elements), err)
		}
		var texts []string
		for _, e := range elements {
			texts = append(texts, e.text())
		}
		if joined := strings.Join(texts, ","); err == nil && len(joined) <= maxXFCC {
			again, err := parseXFCC(joined)
			if diff := cmp.Diff(elements, again, cmp.AllowUnexported(element{})); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header[headerXFCC] = []string{value}
		id, ok := readAny(t, r)
		if ok && (len(elements) != 1 || len(elements[0].uri) != 1 || elements[0].uri[0] != id.Service.SPIFFE(id.Environment)) {
			t.Errorf("%q became %+v", value, id)
		}
	})
}

func FuzzBalancer(f *testing.F) {
	f.Add("true", "true", seedID, seedDigest, "00:ad:3e", "2026-01-05T12:00:00+00:00")
	f.Add("false", "", "", "", "", "")
	f.Add("true", "true", seedID, "om8vGt3r6eTx5TI1kCeNKRJYZTUreIbHGu+Gu8FN8To=", "1", "2026-01-04T12:00:00.5Z")
	f.Add("true", "false", "spiffe://isectech.com/", strings.Repeat("0:", 47)+"0", "::", "9999-12-31T23:59:59-23:59")
	f.Fuzz(func(t *testing.T, present, verified, uri, fingerprint, serial, notAfter string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for i, v := range []string{present, verified, uri, fingerprint, serial, notAfter} {
			r.Header[balancerHeaders[i]] = []string{v}
		}
		id, ok := readAny(t, r)
		if ok && (present != "true" || verified != "true" || uri != id.Service.SPIFFE(id.Environment)) {
			t.Errorf("%q %q %q became %+v", present, verified, uri, id)
		}
		if ok && (fingerprint != "") != (id.Thumbprint != "") || ok && (serial != "") != (id.Serial != "") || ok && (notAfter != "") != !id.NotAfter.IsZero() {
			t.Errorf("something got lost: %+v", id)
		}
	})
}

// readAny reads a request and checks what holds of any: refusals have a reason, identities are whole, and forms
// are the platform's own.
func readAny(t *testing.T, r *http.Request) (Identity, bool) {
	t.Helper()
	id, ok, err := (&Reader{Now: authtest.Clock}).Read(r)
	switch {
	case err != nil && (ok || id != Identity{} || auth.ReasonOf(err) == ""):
		t.Errorf("%+v %v %v", id, ok, err)
	case ok == (id == Identity{}), ok && (id.Service.IsZero() || id.Environment == ""):
		t.Errorf("%+v %v", id, ok)
	}
	if id.Thumbprint != "" {
		if again, fine := parseFingerprint(id.Thumbprint); !fine || again != id.Thumbprint {
			t.Errorf("thumbprint %q", id.Thumbprint)
		}
	}
	if id.Serial != "" {
		if s, err := ParseSerial(id.Serial); err != nil || s != id.Serial {
			t.Errorf("serial %q", id.Serial)
		}
	}
	return id, ok
}

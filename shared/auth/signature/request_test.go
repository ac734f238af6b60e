package signature_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/signature"
)

// vector is the test vector of the scheme: the key's bytes are 00 to 1f.
const (
	vectorKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	vectorMAC = "f467a880252c015b2bf228fbdd7c51dea36e845fbf0d15808e86f4ec743d1292"
)

const vectorBody = "grant_type=client_credentials&scope=api%3Aread"

func vector() signature.Request {
	return signature.Request{
		Method: "POST", Path: "/internal/auth/token", RawQuery: "a=&a=1&b=%20x%2B", Host: "127.0.0.1:8080",
		BodySHA256: signature.BodyDigest([]byte(vectorBody)), Service: "isectech-api-gateway", KeyID: "k2",
		Timestamp: "2026-01-04T12:00:00Z", Nonce: "AAECAwQFBgcICQoLDA0ODw",
	}
}

func mustKey(tb testing.TB, s string) signature.Key {
	tb.Helper()
	k, err := signature.ParseKey(s)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func TestVector(t *testing.T) {
	t.Parallel()
	want := strings.Join([]string{
		"ISECTECH1-HMAC-SHA256", "POST", "/internal/auth/token", "a=&a=1&b=%20x%2B", "127.0.0.1:8080",
		vector().BodySHA256, "isectech-api-gateway", "k2", "2026-01-04T12:00:00Z", "AAECAwQFBgcICQoLDA0ODw",
	}, "\n")
	message, err := vector().StringToSign()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, message); diff != "" {
		t.Errorf("string to sign (-want +got):\n%s", diff)
	}
	mac, err := mustKey(t, vectorKey).Sign(vector())
	if err != nil || mac != vectorMAC {
		t.Errorf("MAC %s, %v, want %s", mac, err, vectorMAC)
	}
}

func TestStringToSignRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*signature.Request){
		"no method":               func(r *signature.Request) { r.Method = "" },
		"method with newline":     func(r *signature.Request) { r.Method = "GET\n" },
		"method with space":       func(r *signature.Request) { r.Method = "GET /" },
		"long method":             func(r *signature.Request) { r.Method = strings.Repeat("A", 33) },
		"no path":                 func(r *signature.Request) { r.Path = "" },
		"relative path":           func(r *signature.Request) { r.Path = "x" },
		"absolute form":           func(r *signature.Request) { r.Path = "http://127.0.0.1/x" },
		"path with newline":       func(r *signature.Request) { r.Path = "/x\n" },
		"path with query":         func(r *signature.Request) { r.Path = "/x?a=1" },
		"path with fragment":      func(r *signature.Request) { r.Path = "/x#a" },
		"path with space":         func(r *signature.Request) { r.Path = "/x y" },
		"path with DEL":           func(r *signature.Request) { r.Path = "/\x7f" },
		"long path":               func(r *signature.Request) { r.Path = "/" + strings.Repeat("x", 16<<10) },
		"query with newline":      func(r *signature.Request) { r.RawQuery = "a=\n" },
		"query with bad escape":   func(r *signature.Request) { r.RawQuery = "a=%zz" },
		"no host":                 func(r *signature.Request) { r.Host = "" },
		"host with newline":       func(r *signature.Request) { r.Host = "a\nb" },
		"host with path":          func(r *signature.Request) { r.Host = "a/b" },
		"host with user":          func(r *signature.Request) { r.Host = "u@a" },
		"host beyond ASCII":       func(r *signature.Request) { r.Host = "münchen.example" },
		"two hosts":               func(r *signature.Request) { r.Host = "a, b" },
		"no digest":               func(r *signature.Request) { r.BodySHA256 = "" },
		"digest in capitals":      func(r *signature.Request) { r.BodySHA256 = strings.ToUpper(r.BodySHA256) },
		"short digest":            func(r *signature.Request) { r.BodySHA256 = r.BodySHA256[1:] },
		"digest in base64":        func(r *signature.Request) { r.BodySHA256 = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU" },
		"no service":              func(r *signature.Request) { r.Service = "" },
		"service in capitals":     func(r *signature.Request) { r.Service = "Isectech-Admin" },
		"service with newline":    func(r *signature.Request) { r.Service = "isectech-admin\n" },
		"operator":                func(r *signature.Request) { r.Service = "operator:ops@isectech.com" },
		"no key id":               func(r *signature.Request) { r.KeyID = "" },
		"key id of letters":       func(r *signature.Request) { r.KeyID = "kx" },
		"key id zero":             func(r *signature.Request) { r.KeyID = "k0" },
		"key id with zeros":       func(r *signature.Request) { r.KeyID = "k01" },
		"key id alone":            func(r *signature.Request) { r.KeyID = "k" },
		"key id with newline":     func(r *signature.Request) { r.KeyID = "k1\n" },
		"long key id":             func(r *signature.Request) { r.KeyID = "k1234567890" },
		"no timestamp":            func(r *signature.Request) { r.Timestamp = "" },
		"timestamp with fraction": func(r *signature.Request) { r.Timestamp = "2026-01-04T12:00:00.0Z" },
		"timestamp with offset":   func(r *signature.Request) { r.Timestamp = "2026-01-04T12:00:00+00:00" },
		"timestamp lower case":    func(r *signature.Request) { r.Timestamp = "2026-01-04t12:00:00z" },
		"timestamp of seconds":    func(r *signature.Request) { r.Timestamp = "1767528000" },
		"hour of one digit":       func(r *signature.Request) { r.Timestamp = "2026-01-04T1:00:00Z" },
		"leap second":             func(r *signature.Request) { r.Timestamp = "2016-12-31T23:59:60Z" },
		"no such day":             func(r *signature.Request) { r.Timestamp = "2026-02-30T12:00:00Z" },
		"midnight as 24":          func(r *signature.Request) { r.Timestamp = "2026-01-04T24:00:00Z" },
		"timestamp with space":    func(r *signature.Request) { r.Timestamp = "2026-01-04T12:00:00Z " },
		"no nonce":                func(r *signature.Request) { r.Nonce = "" },
		"short nonce":             func(r *signature.Request) { r.Nonce = r.Nonce[1:] },
		"long nonce":              func(r *signature.Request) { r.Nonce += "A" },
		"padded nonce":            func(r *signature.Request) { r.Nonce += "==" },
		"nonce with spare bits":   func(r *signature.Request) { r.Nonce = r.Nonce[:21] + "x" },
		"nonce with newline":      func(r *signature.Request) { r.Nonce = r.Nonce[:21] + "\n" },
		"nonce, newline more":     func(r *signature.Request) { r.Nonce += "\n" },
		"nonce, other alphabet":   func(r *signature.Request) { r.Nonce = "+" + r.Nonce[1:] },
	}
	for name, change := range tests {
		r := vector()
		change(&r)
		if s, err := r.StringToSign(); !errors.Is(err, auth.ErrMalformed) || s != "" {
			t.Errorf("%s: %q, %v", name, s, err)
		}
		if mac, err := mustKey(t, vectorKey).Sign(r); err == nil {
			t.Errorf("%s: signed as %s", name, mac)
		}
	}
}

func TestStringToSignForms(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*signature.Request)
		line   int
		want   string
	}{
		"host in lower case":  {func(r *signature.Request) { r.Host = "API.Internal.ISECTECH.com:8443" }, 4, "api.internal.isectech.com:8443"},
		"host without port":   {func(r *signature.Request) { r.Host = "example.com" }, 4, "example.com"},
		"default port stays":  {func(r *signature.Request) { r.Host = "example.com:443" }, 4, "example.com:443"},
		"IPv6":                {func(r *signature.Request) { r.Host = "[::1]:8080" }, 4, "[::1]:8080"},
		"path stays":          {func(r *signature.Request) { r.Path = "//A/../%7e/%2F;x=1" }, 2, "//A/../%7e/%2F;x=1"},
		"path beyond ASCII":   {func(r *signature.Request) { r.Path = "/é" }, 2, "/é"},
		"asterisk":            {func(r *signature.Request) { r.Method, r.Path = "OPTIONS", "*" }, 2, "*"},
		"method stays":        {func(r *signature.Request) { r.Method = "m-search" }, 1, "m-search"},
		"no query":            {func(r *signature.Request) { r.RawQuery = "" }, 3, ""},
		"query in other form": {func(r *signature.Request) { r.RawQuery = "b=%20x+&&a" }, 3, "a=&b=%20x%2B"},
	} {
		r := vector()
		tc.change(&r)
		s, err := r.StringToSign()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if lines := strings.Split(s, "\n"); len(lines) != 10 || lines[tc.line] != tc.want {
			t.Errorf("%s: %q", name, lines)
		}
	}
}

func TestCanonicalQuery(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"":                      "",
		"&":                     "",
		"&&&":                   "",
		"a":                     "a=",
		"a=":                    "a=",
		"=":                     "=",
		"=a":                    "=a",
		"a=1&a=0&a":             "a=&a=0&a=1",
		"b=1&a=2":               "a=2&b=1",
		"a=b=c":                 "a=b%3Dc",
		"a=1;b=2":               "a=1%3Bb%3D2",
		"a+b=c+d":               "a%2Bb=c%2Bd",
		"a=%2b":                 "a=%2B",
		"a=%20":                 "a=%20",
		"a=%2525":               "a=%2525",
		"a=%25zz":               "a=%25zz",
		"%61=%7E":               "a=~",
		"a=%C3%A9":              "a=%C3%A9",
		"a=é":                   "a=%C3%A9",
		"a=%ff%00%0a":           "a=%FF%00%0A",
		"a=-._~":                "a=-._~",
		"a=!*'()":               "a=%21%2A%27%28%29",
		"a=?/:@":                "a=%3F%2F%3A%40",
		"a=%26&b":               "a=%26&b=",
		"a%3D=1":                "a%3D=1",
		"A=1&a=1&_=1&0=1":       "0=1&A=1&_=1&a=1",
		"a.b=1&a=1&a-b=1":       "a=1&a-b=1&a.b=1", // by name, not by the joined text
		"é=1&z=1":               "%C3%A9=1&z=1",    // by the encoded name
		"a=z&a=%C3%A9":          "a=%C3%A9&a=z",
		"x=1&x=1":               "x=1&x=1",
		"utm=1&amp;b=2":         "amp%3Bb=2&utm=1",
		"a=%20x%2B&&a=1&a=&b":   "a=&a=%20x%2B&a=1&b=",
		"a=<>\"{}|\\^`[]#":      "a=%3C%3E%22%7B%7D%7C%5C%5E%60%5B%5D%23",
		strings.Repeat("a&", 9): strings.TrimSuffix(strings.Repeat("a=&", 9), "&"),
	} {
		got, err := signature.CanonicalQuery(raw)
		if err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", raw, got, err, want)
		}
	}
	for _, raw := range []string{
		"%", "a=%", "a=%2", "a=%zz", "a=%2g", "a=%g2", "a=%-1", "%%20", "a b", "a=\n", "a=\t", "a=\x00", "a=\x7f", "a=% 1",
		strings.Repeat("a", 16<<10+1),
	} {
		if got, err := signature.CanonicalQuery(raw); !errors.Is(err, auth.ErrMalformed) {
			t.Errorf("%.40q: %q, %v", raw, got, err)
		}
	}
}

// naive is the canonical query by other means: net/url for the decoding, fmt for the encoding.
func naive(raw string) (string, error) {
	type pair [2]string
	var pairs []pair
	enc := func(s string) (string, error) {
		dec, err := url.PathUnescape(s) // leaves + alone
		if err != nil {
			return "", err
		}
		var out string
		for _, b := range []byte(dec) {
			if strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~", rune(b)) {
				out += string(rune(b))
			} else {
				out += fmt.Sprintf("%%%02X", b)
			}
		}
		return out, nil
	}
	for _, piece := range strings.Split(raw, "&") {
		if piece == "" {
			continue
		}
		parts := append(strings.SplitN(piece, "=", 2), "")
		name, err := enc(parts[0])
		if err != nil {
			return "", err
		}
		value, err := enc(parts[1])
		if err != nil {
			return "", err
		}
		pairs = append(pairs, pair{name, value})
	}
	sort.Slice(pairs, func(i, j int) bool {
		return pairs[i][0] < pairs[j][0] || pairs[i][0] == pairs[j][0] && pairs[i][1] < pairs[j][1]
	})
	var out []string
	for _, p := range pairs {
		out = append(out, p[0]+"="+p[1])
	}
	return strings.Join(out, "&"), nil
}

func FuzzCanonicalQuery(f *testing.F) {
	for _, raw := range []string{"", "a=&a=1&b=%20x%2B", "a+b=%C3%A9&&=", "%zz", "a.b=1&a-b=1&a", "\xff=%ff"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := signature.CanonicalQuery(raw)
		want, wantErr := naive(raw)
		outside := strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f }) || len(raw) > 16<<10
		if (err != nil) != (wantErr != nil || outside) {
			t.Fatalf("%q: %v, by other means %v", raw, err, wantErr)
		}
		if err != nil {
			return
		}
		if got != want {
			t.Errorf("%q: %q, by other means %q", raw, got, want)
		}
		if again, err := signature.CanonicalQuery(got); err != nil || (again != got && len(got) <= 16<<10) {
			t.Errorf("%q: %q becomes %q, %v", raw, got, again, err)
		}
	})
}

// The order of the pieces, of empty ones among them, and the way bytes are escaped change nothing.
func TestPropertyCanonicalQuery(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		pieces := rapid.SliceOfN(rapid.StringMatching(`[a-c%+=]?([a-z._~-]|%[0-7][0-9A-F]){0,6}(=[a-z+]{0,4})?`), 0, 6).Draw(rt, "pieces")
		first, err := signature.CanonicalQuery(strings.Join(pieces, "&"))
		if err != nil {
			return
		}
		mixed := slices.Clone(pieces)
		for i := range mixed {
			j := rapid.IntRange(0, i).Draw(rt, "swap")
			mixed[i], mixed[j] = mixed[j], mixed[i]
		}
		for i, p := range mixed {
			mixed[i] = strings.NewReplacer("a", "%61", "-", "%2d", "+", "%2b").Replace(p)
		}
		second, err := signature.CanonicalQuery(strings.Join(mixed, "&&"))
		if err != nil || second != first {
			rt.Fatalf("%q gives %q, %q gives %q, %v", pieces, first, mixed, second, err)
		}
	})
}

func TestParseKey(t *testing.T) {
	t.Parallel()
	for range 100 {
		k := signature.NewKey()
		if back := mustKey(t, k.Encode()); back.Encode() != k.Encode() || len(k.Encode()) != 43 {
			t.Fatal("a key does not come back from its encoding")
		}
	}
	for _, s := range []string{
		"", vectorKey + "\n", "\n" + vectorKey, vectorKey + "=", vectorKey[1:], vectorKey + "A", vectorKey[:42] + "9",
		strings.Repeat("A", 43), "+" + vectorKey[1:], vectorKey[:41] + "\r\n", vectorKey[:20] + " " + vectorKey[21:],
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
	} {
		if _, err := signature.ParseKey(s); !errors.Is(err, auth.ErrMalformed) {
			t.Errorf("%q: %v", s, err)
		} else if len(s) > 10 && strings.Contains(err.Error(), s[:10]) {
			t.Errorf("the error repeats the key: %v", err)
		}
	}
	if _, err := (signature.Key{}).Sign(vector()); err == nil {
		t.Error("a zero key signs")
	}
	if k := (signature.Key{}); !k.IsZero() || k.Encode() != "" || signature.NewKey().IsZero() {
		t.Error("a zero key looks like one")
	}
}

func TestKeyIsMasked(t *testing.T) {
	t.Parallel()
	k := mustKey(t, vectorKey)
	holder := struct{ Key, key signature.Key }{k, k} // fmt cannot ask an unexported field for its mask
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", k, "holder", holder)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", &k, "holder", holder)
	encoded, err := json.Marshal(map[string]any{"key": k, "pointer": &k, "holder": holder})
	if err != nil {
		t.Fatal(err)
	}
	shown := log.String() + string(encoded)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%t"} {
		shown += fmt.Sprintf(verb+" "+verb+" "+verb+"\n", k, &k, holder)
	}
	for _, secret := range []string{vectorKey, "AAECAw", "00010203", "0 1 2 3", "0, 1, 2", "0x0, 0x1", "1 10 11"} {
		if strings.Contains(shown, secret) {
			t.Errorf("%q shows in:\n%s", secret, shown)
		}
	}
	if k.String() == "" || k.GoString() == "" {
		t.Error("a key shows nothing at all")
	}
}

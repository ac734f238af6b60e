package authn

import (
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestForwardedAddress(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		lines []string
		depth int
		want  string // "": none
	}{
		{nil, 1, ""},
		{[]string{"203.0.113.7"}, 0, "203.0.113.7"},
		{[]string{"1.2.3.4, 203.0.113.7"}, 1, "203.0.113.7"}, // what the caller sent does not count
		{[]string{"1.2.3.4", "203.0.113.7"}, 1, "203.0.113.7"},
		{[]string{"1.2.3.4, 203.0.113.7,10.0.0.9"}, 2, "203.0.113.7"},
		{[]string{"1.2.3.4, 203.0.113.7", "10.0.0.9"}, 2, "203.0.113.7"},
		{[]string{"203.0.113.7"}, 2, ""},
		{[]string{"203.0.113.7:4711"}, 1, "203.0.113.7"},
		{[]string{"[2001:db8::1]:80"}, 1, "2001:db8::1"},
		{[]string{"::ffff:203.0.113.7"}, 1, "203.0.113.7"},
		{[]string{"fe80::1%eth0"}, 1, "fe80::1"},
		{[]string{""}, 1, ""},
		{[]string{"203.0.113.7,"}, 1, ""},
		{[]string{"unknown"}, 1, ""},
		{[]string{strings.Repeat(",", 8000) + "203.0.113.7"}, 1, "203.0.113.7"},
		{[]string{strings.Repeat(",", 8000)}, 9000, ""},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		for _, line := range tc.lines {
			r.Header.Add("X-Forwarded-For", line)
		}
		got, ok := Hops{Depth: tc.depth}.Client(r)
		if ok != (tc.want != "") || ok && got != netip.MustParseAddr(tc.want) {
			t.Errorf("%.60q at %d: %s %t, want %s", tc.lines, tc.depth, got, ok, tc.want)
		}
	}
}

// Only a proven proxy says where its caller is.
func TestForwardedAddressIsCleaned(t *testing.T) {
	t.Parallel()
	const marker = "the-marker-of-our-proxy"
	hops := Hops{Match: func(m string) bool { return m == marker }}
	for value, want := range map[string]bool{marker: true, "another": false, "": false} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("X-Forwarded-For", "203.0.113.7")
		if value != "" {
			r.Header.Set(HeaderProxyMarker, value)
		}
		hops.Clean(r)
		if _, ok := hops.Client(r); ok != want {
			t.Errorf("marker %q: %t", value, ok)
		}
		if got := Peer(r); got != netip.MustParseAddr("192.0.2.1") {
			t.Errorf("peer %s", got)
		}
	}
}

func FuzzForwardedAddress(f *testing.F) {
	for _, seed := range []string{"203.0.113.7", "a, b", "[::1]:80", ",,,", "::ffff:1.2.3.4%x"} {
		f.Add(seed, 1)
	}
	f.Fuzz(func(t *testing.T, line string, depth int) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Add("X-Forwarded-For", line)
		if a, ok := (Hops{Depth: depth}).Client(r); ok && (!a.IsValid() || a.Zone() != "" || a.Is4In6()) {
			t.Errorf("%q: %s", line, a)
		}
	})
}

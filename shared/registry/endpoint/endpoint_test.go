package endpoint_test

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/registry/endpoint"
)

func reasonOf(err error) endpoint.Reason {
	var refusal *endpoint.Refusal
	if errors.As(err, &refusal) {
		return refusal.Reason
	}
	return ""
}

func TestJudge(t *testing.T) {
	t.Parallel()
	tests := []struct {
		url  string
		want endpoint.Reason // "" means allowed
	}{
		{"https://api.isectech.com", ""},
		{"https://api.isectech.com/", ""},
		{"HTTPS://API.isectech.com:443/v1/x%20y/", ""},
		{"https://api.isectech.com/health?deep=1&x=%20", ""},
		{"https://backend-abc123-uc.a.run.app", ""},
		{"http://10.0.0.10:8080/x", ""},
		{"http://192.168.1.1", ""},
		{"http://172.16.0.1:65535", ""},
		{"http://8.8.8.8", ""},
		{"http://[fd12:3456::1]:8080", ""},
		{"http://[2001:4860:4860::8888]/", ""},
		{"http://[::ffff:10.0.0.1]/", ""},
		{"http://[64:ff9b::8.8.8.8]/", ""},
		{"grpc://backend:50051", ""},
		{"grpcs://backend.internal.isectech.com", ""},
		{"tcp://10.0.0.10:5432", ""},
		{"tls://10.0.0.20:6380", ""},
		{"http://0xfoo.example.com", ""},
		{"http://127.0.0.1.example.com", ""},

		{"", endpoint.Malformed},
		{"api.isectech.com", endpoint.Malformed},
		{"//api.isectech.com", endpoint.Malformed},
		{"https:/api.isectech.com", endpoint.Malformed},
		{"https:\\\\api.isectech.com", endpoint.Malformed},
		{"https://api.isectech.com\\@evil", endpoint.Malformed},
		{"https://api.isectech.com/a b", endpoint.Malformed},
		{" https://api.isectech.com", endpoint.Malformed},
		{"https://api.isectech.com\r\n", endpoint.Malformed},
		{"https://api.isectech.com\x00", endpoint.Malformed},
		{"https://ａpi.isectech.com", endpoint.Malformed},
		{"https://api。isectech.com", endpoint.Malformed},
		{"https://①②⑦.0.0.1", endpoint.Malformed},
		{"https://api.isectech.com/?%zz", endpoint.Malformed},
		{"https://" + strings.Repeat("a", 2048), endpoint.TooLong},
		{"ftp://api.isectech.com", endpoint.UnsupportedScheme},
		{"file:///etc/passwd", endpoint.UnsupportedScheme},
		{"gopher://x:70", endpoint.UnsupportedScheme},
		{"javascript://x", endpoint.UnsupportedScheme},
		{"https://user@api.isectech.com", endpoint.Userinfo},
		{"https://user:pw@api.isectech.com", endpoint.Userinfo},
		{"https://api.isectech.com:80@127.0.0.1", endpoint.Userinfo},
		{"https://@api.isectech.com", endpoint.Userinfo},
		{"https://api.isectech.com#@evil", endpoint.Fragment},
		{"https://api.isectech.com/#", endpoint.Fragment},

		{"https://", endpoint.BadHost},
		{"https:///path", endpoint.BadHost},
		{"https://:443", endpoint.BadHost},
		{"https://api..isectech.com", endpoint.BadHost},
		{"https://api.isectech.com.", endpoint.BadHost},
		{"https://127.0.0.1.", endpoint.BadHost},
		{"https://localhost.", endpoint.BadHost},
		{"https://-api.isectech.com", endpoint.BadHost},
		{"https://api_x.isectech.com", endpoint.BadHost},
		{"https://api%2eisectech.com", endpoint.BadHost},
		{"https://%31%32%37.0.0.1x", endpoint.BadHost},
		{"https://a,b.com", endpoint.BadHost},
		{"https://" + strings.Repeat("a", 64) + ".com", endpoint.BadHost},
		{"https://[::1", endpoint.BadHost},
		{"https://[::1]x", endpoint.BadHost},
		{"https://[127.0.0.1]", endpoint.BadHost},
		{"https://[]", endpoint.BadHost},
		{"https://::1", endpoint.BadHost},
		{"https://[fe80::1%25eth0]", endpoint.Zone},
		{"https://[::1%lo]", endpoint.Zone},

		{"http://2130706433", endpoint.NumericHost},
		{"http://0x7f000001", endpoint.NumericHost},
		{"http://0x7f.1", endpoint.NumericHost},
		{"http://0x", endpoint.NumericHost},
		{"http://127.1", endpoint.NumericHost},
		{"http://127.0.1", endpoint.NumericHost},
		{"http://0177.0.0.1", endpoint.NumericHost},
		{"http://127.0.0.01", endpoint.NumericHost},
		{"http://017700000001", endpoint.NumericHost},
		{"http://1.2.3.4.5", endpoint.NumericHost},
		{"http://256.1.1.1", endpoint.NumericHost},
		{"http://example.0x7f", endpoint.NumericHost},
		{"http://example.1", endpoint.NumericHost},
		{"http://0", endpoint.NumericHost},

		{"http://x:", endpoint.BadPort},
		{"http://x:0", endpoint.BadPort},
		{"http://x:080", endpoint.BadPort},
		{"http://x:65536", endpoint.BadPort},
		{"http://x:+80", endpoint.BadPort},
		{"http://x:-1", endpoint.BadPort},
		{"http://x:80:80", endpoint.BadPort},
		{"tcp://x", endpoint.BadPort},
		{"grpc://x", endpoint.BadPort},
		{"https://x/../y", endpoint.BadPath},
		{"https://x/.", endpoint.BadPath},
		{"https://x//y", endpoint.BadPath},
		{"https://x/%2e%2e/y", endpoint.BadPath},
		{"https://x/a%2Fb", endpoint.BadPath},
		{"https://x/a%5cb", endpoint.BadPath},
		{"https://x/%00", endpoint.BadPath},
		{"https://x/%252e", endpoint.BadPath},
		{"https://x/%0d%0aHost:y", endpoint.BadPath},
		{"https://x/%", endpoint.BadPath},
		{"https://x/a;b", endpoint.BadPath},

		{"http://127.0.0.1", endpoint.Loopback},
		{"http://127.255.255.254:8080", endpoint.Loopback},
		{"http://localhost", endpoint.Loopback},
		{"http://LOCALHOST:8080", endpoint.Loopback},
		{"http://x.localhost", endpoint.Loopback},
		{"http://localhost.localdomain", endpoint.Loopback},
		{"http://[::1]", endpoint.Loopback},
		{"http://[0:0:0:0:0:0:0:1]", endpoint.Loopback},
		{"http://[::ffff:127.0.0.1]", endpoint.Loopback},
		{"http://[::ffff:7f00:1]", endpoint.Loopback},
		{"http://[::ffff:0:127.0.0.1]", endpoint.Loopback},
		{"http://[2002:7f00:1::]", endpoint.Loopback},
		{"http://[64:ff9b::127.0.0.1]", endpoint.Loopback},
		{"http://[64:ff9b::7f00:1]", endpoint.Loopback},
		{"http://[2001:0:7f00:1::1]", endpoint.Loopback},
		{"http://[2001:0:808:808:0:0:80ff:fffe]", endpoint.Loopback},
		{"http://[2a00::5efe:127.0.0.1]", endpoint.Loopback},
		{"http://[2a00::200:5efe:127.0.0.1]", endpoint.Loopback},
		{"http://[::127.0.0.1]", endpoint.Reserved},
		{"http://[64:ff9b:1::7f00:1]", endpoint.Reserved},
		{"http://[fec0::1]", endpoint.Reserved},
		{"http://[100::1]", endpoint.Reserved},
		{"http://169.254.1.1", endpoint.LinkLocal},
		{"http://[fe80::1]", endpoint.LinkLocal},
		{"http://169.254.169.254", endpoint.Metadata},
		{"http://[::ffff:169.254.169.254]", endpoint.Metadata},
		{"http://[::ffff:a9fe:a9fe]", endpoint.Metadata},
		{"http://[64:ff9b::a9fe:a9fe]", endpoint.Metadata},
		{"http://[2002:a9fe:a9fe::1]", endpoint.Metadata},
		{"http://[fd20:ce::254]", endpoint.Metadata},
		{"http://100.100.100.200", endpoint.Metadata},
		{"http://metadata", endpoint.Metadata},
		{"http://metadata.google.internal/computeMetadata/v1/", endpoint.Metadata},
		{"http://Metadata.Google.Internal", endpoint.Metadata},
		{"http://x.metadata.google.internal", endpoint.Metadata},
		{"http://0.0.0.0", endpoint.Unspecified},
		{"http://0.1.2.3", endpoint.Unspecified},
		{"http://[::]", endpoint.Unspecified},
		{"http://[::ffff:0.0.0.0]", endpoint.Unspecified},
		{"http://224.0.0.1", endpoint.Multicast},
		{"http://239.255.255.255", endpoint.Multicast},
		{"http://[ff02::1]", endpoint.Multicast},
		{"http://255.255.255.255", endpoint.Broadcast},
		{"http://broadcasthost", endpoint.Broadcast},
		{"http://127.0.0.1.nip.io", endpoint.RebindingName},
		{"http://localtest.me", endpoint.RebindingName},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			t.Parallel()
			_, err := endpoint.Policy{}.Judge(tt.url)
			if got := reasonOf(err); got != tt.want || (err == nil) != (tt.want == "") {
				t.Errorf("Judge(%q) = %v, want reason %q", tt.url, err, tt.want)
			}
		})
	}
}

func TestJudgeWithLoopbackAllowed(t *testing.T) {
	t.Parallel()
	policy := endpoint.Policy{Allow: endpoint.LoopbackNetworks()}
	for _, raw := range []string{
		"http://127.0.0.1:8080", "http://localhost:8080", "http://x.localhost:1", "http://[::1]:80", "http://[::ffff:127.0.0.1]",
	} {
		if _, err := policy.Judge(raw); err != nil {
			t.Errorf("Judge(%q) = %v, want allowed", raw, err)
		}
	}
	for raw, want := range map[string]endpoint.Reason{
		"http://169.254.169.254": endpoint.Metadata, "http://0.0.0.0": endpoint.Unspecified, "http://127.1": endpoint.NumericHost,
	} {
		if _, err := policy.Judge(raw); reasonOf(err) != want {
			t.Errorf("Judge(%q) = %v, want %q", raw, err, want)
		}
	}
}

func TestParseParts(t *testing.T) {
	t.Parallel()
	tests := map[string]endpoint.URL{
		"HTTPS://Api.Isectech.com/V1?a=B": {Scheme: "https", Host: "api.isectech.com", Port: 443, Path: "/V1", Query: "a=B", HasQuery: true},
		"http://10.0.0.1:8080":            {Scheme: "http", Host: "10.0.0.1", Addr: netip.MustParseAddr("10.0.0.1"), Port: 8080},
		"grpcs://[fd00::1]":               {Scheme: "grpcs", Host: "fd00::1", Addr: netip.MustParseAddr("fd00::1"), Port: 443},
		"https://x?":                      {Scheme: "https", Host: "x", Port: 443, HasQuery: true},
	}
	for raw, want := range tests {
		got, err := endpoint.Parse(raw)
		if err != nil {
			t.Errorf("Parse(%q): %v", raw, err)
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("Parse(%q) (-want +got):\n%s", raw, diff)
		}
	}
}

// FuzzEndpointURL holds that whatever is allowed is read by net/url as it is read here, leads to no
// denied address, and is judged the same again.
func FuzzEndpointURL(f *testing.F) {
	for _, seed := range []string{
		"https://api.isectech.com/v1?x=1", "http://127.1", "http://[::ffff:7f00:1]:80/", "tcp://10.0.0.1:5432",
		"http://0x7f.1", "https://user@x", "http://[fe80::1%25eth0]", "grpc://x:1/%2e%2e", "https://x.\\y", "https://a:1:2",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := endpoint.Policy{}.Judge(raw)
		if err != nil {
			if reasonOf(err) == "" {
				t.Fatalf("Judge(%q): error without a reason: %v", raw, err)
			}
			return
		}
		std, err := url.Parse(raw)
		if err != nil {
			t.Fatalf("Judge allowed %q, which net/url refuses: %v", raw, err)
		}
		if std.Scheme != u.Scheme || !strings.EqualFold(std.Hostname(), u.Host) || std.User != nil ||
			std.Fragment != "" || std.EscapedPath() != u.Path || std.RawQuery != u.Query {
			t.Fatalf("Judge(%q) = %+v, net/url says %+v", raw, u, std)
		}
		if addr, err := netip.ParseAddr(u.Host); err == nil {
			if addr != u.Addr {
				t.Fatalf("Judge(%q): host %q is an address that was not seen", raw, u.Host)
			}
			if a := addr.Unmap(); a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() {
				t.Fatalf("Judge(%q) allowed %s", raw, a)
			}
		}
	})
}

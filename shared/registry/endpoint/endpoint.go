// Package endpoint judges the URLs that users name for the platform to call: which form they may have,
// and which hosts and addresses they may lead to.
//
// Whoever registers an endpoint chooses where others connect, so a URL is refused when two programs
// could read it differently, and when it leads back into the machine that calls it: loopback, link-local
// with its metadata server, and the other addresses that are nobody's service. Private networks
// (RFC 1918, fc00::/7) are where services live, and allowed.
//
// Parse judges the form alone. Policy.Judge adds the host, as far as it can be judged without a resolver;
// Policy.Address judges one address, for dialers after resolution.
package endpoint

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// MaxURL is the longest URL, in bytes.
const MaxURL = 2048

// Reason is the code that says why a URL or an address is refused.
type Reason string

// The reasons there are.
const (
	Malformed         Reason = "malformed"           // not a URL, or not in printable ASCII
	TooLong           Reason = "too_long"            // over MaxURL
	UnsupportedScheme Reason = "unsupported_scheme"  // none of Schemes
	Userinfo          Reason = "userinfo"            // user:password@
	Fragment          Reason = "fragment"            // #…
	BadHost           Reason = "bad_host"            // a host that is no DNS name and no address, or ambiguous
	NumericHost       Reason = "numeric_host"        // an IPv4 address in disguise: 2130706433, 0x7f.1, 0177.0.0.1
	Zone              Reason = "zone"                // an IPv6 address with a zone
	BadPort           Reason = "bad_port"            // not 1–65535, or missing where the scheme has no default
	BadPath           Reason = "bad_path"            // dot segments, ambiguous escapes
	Loopback          Reason = "loopback"            // 127.0.0.0/8, ::1, localhost
	LinkLocal         Reason = "link_local"          // 169.254.0.0/16, fe80::/10
	Metadata          Reason = "metadata"            // the metadata servers of cloud providers, by name or address
	Unspecified       Reason = "unspecified"         // 0.0.0.0/8, ::
	Multicast         Reason = "multicast"           // 224.0.0.0/4, ff00::/8
	Broadcast         Reason = "broadcast"           // 255.255.255.255
	Reserved          Reason = "reserved"            // addresses that are never a service's
	RebindingName     Reason = "rebinding_host_name" // public names that resolve to whatever address they spell
)

// Refusal is the error of every judgement: a reason for programs and a detail for people.
type Refusal struct {
	Reason Reason
	Detail string
}

// Error returns the detail and the reason.
func (r *Refusal) Error() string { return r.Detail + " (" + string(r.Reason) + ")" }

func refuse(reason Reason, format string, args ...any) error {
	return &Refusal{reason, fmt.Sprintf(format, args...)}
}

// URL is a URL of unambiguous form, in its parts.
type URL struct {
	Scheme   string     // lower case
	Host     string     // lower case, without brackets or port
	Addr     netip.Addr // of a host that is an address; otherwise not valid
	Port     uint16     // never 0: the scheme's default where the URL names none
	Path     string     // as written; "" or beginning with a slash
	Query    string     // as written, without the question mark
	HasQuery bool
}

// schemes lists the schemes with their default ports; 0 means that a URL must name its port.
var schemes = map[string]uint16{
	"http": 80, "https": 443, "grpc": 0, "grpcs": 443, "tcp": 0, "tls": 0,
}

// Schemes lists the schemes there are.
func Schemes() []string { return []string{"http", "https", "grpc", "grpcs", "tcp", "tls"} }

// Parse reads an absolute URL and refuses every form that is not plain. It accepts less than net/url:
// what it accepts, every reader of URLs takes apart in the same way.
func Parse(raw string) (URL, error) {
	if len(raw) > MaxURL {
		return URL{}, refuse(TooLong, "the URL has %d bytes; at most %d are allowed", len(raw), MaxURL)
	}
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\\\"<>^`{|}", c) >= 0 {
			return URL{}, refuse(Malformed, "a URL has no %q", raw[i])
		}
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return URL{}, refuse(Malformed, "a URL begins with its scheme and ://")
	}
	u := URL{Scheme: strings.ToLower(scheme)}
	fallback, known := schemes[u.Scheme]
	if !known {
		return URL{}, refuse(UnsupportedScheme, "the scheme is one of %s", strings.Join(Schemes(), ", "))
	}
	if strings.Contains(rest, "#") {
		return URL{}, refuse(Fragment, "an endpoint's URL has no fragment")
	}
	rest, u.Query, u.HasQuery = strings.Cut(rest, "?")
	authority := rest
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, u.Path = rest[:i], rest[i:]
	}
	if err := u.setAuthority(authority, fallback); err != nil {
		return URL{}, err
	}
	if u.HasQuery && !validEscapes(u.Query) {
		return URL{}, refuse(Malformed, "the query has a %% that is not followed by two hexadecimal digits")
	}
	if u.Path != "" {
		if err := CheckPath(u.Path); err != nil {
			return URL{}, err
		}
	}
	return u, nil
}

func (u *URL) setAuthority(authority string, fallback uint16) error {
	if strings.Contains(authority, "@") {
		return refuse(Userinfo, "a URL carries no user name or password")
	}
	var host, port string
	var hasPort bool
	if rest, ok := strings.CutPrefix(authority, "["); ok {
		var closed bool
		if host, port, closed = strings.Cut(rest, "]"); !closed {
			return refuse(BadHost, "the bracket of the IPv6 address is not closed")
		}
		if port, hasPort = strings.CutPrefix(port, ":"); !hasPort && port != "" {
			return refuse(BadHost, "only a port may follow the IPv6 address")
		}
		if strings.Contains(host, "%") {
			return refuse(Zone, "an IPv6 address has no zone")
		}
		addr, err := netip.ParseAddr(host)
		if err != nil || !addr.Is6() {
			return refuse(BadHost, "only an IPv6 address stands in brackets")
		}
		u.Addr = addr
	} else {
		host, port, hasPort = strings.Cut(authority, ":")
	}
	u.Host = strings.ToLower(host)
	if !u.Addr.IsValid() {
		if err := u.setName(); err != nil {
			return err
		}
	}
	return u.setPort(port, hasPort, fallback)
}

// setName checks a host that stands without brackets: a DNS name, or an IPv4 address in its one spelling.
func (u *URL) setName() error {
	last := u.Host[strings.LastIndexByte(u.Host, '.')+1:]
	if numeric(last) {
		addr, err := netip.ParseAddr(u.Host)
		if err != nil || !addr.Is4() {
			return refuse(NumericHost, "a numeric host is an IPv4 address of four decimal numbers without leading zeros")
		}
		u.Addr = addr
		return nil
	}
	if u.Host == "" || len(u.Host) > 253 {
		return refuse(BadHost, "a host name has 1 to 253 characters")
	}
	for label := range strings.SplitSeq(u.Host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return refuse(BadHost, "the parts of a host name have 1 to 63 characters and no hyphen at either end")
		}
		if i := strings.IndexFunc(label, func(r rune) bool { return !isLDH(r) }); i >= 0 {
			return refuse(BadHost, "a host name has letters, digits and hyphens, and no %q", label[i])
		}
	}
	return nil
}

func (u *URL) setPort(port string, given bool, fallback uint16) error {
	if !given {
		if fallback == 0 {
			return refuse(BadPort, "a URL of scheme %s names its port", u.Scheme)
		}
		u.Port = fallback
		return nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || port[0] == '0' || port[0] == '+' {
		return refuse(BadPort, "a port is a number from 1 to 65535")
	}
	u.Port = uint16(n)
	return nil
}

// numeric reports whether browsers and inet_aton take a host with this last part for an IPv4 address.
func numeric(label string) bool {
	if label == "" {
		return false
	}
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

func isLDH(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-'
}

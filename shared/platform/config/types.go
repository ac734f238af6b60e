package config

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// LogLevel is the least severe level that is logged.
type LogLevel slog.Level

// Level makes a LogLevel a slog.Leveler.
func (l LogLevel) Level() slog.Level { return slog.Level(l) }

// EnvDecode parses debug, info, warn or error, in either case.
func (l *LogLevel) EnvDecode(value string) error {
	switch strings.ToLower(value) {
	case "debug":
		*l = LogLevel(slog.LevelDebug)
	case "info":
		*l = LogLevel(slog.LevelInfo)
	case "warn":
		*l = LogLevel(slog.LevelWarn)
	case "error":
		*l = LogLevel(slog.LevelError)
	default:
		return fmt.Errorf("%q: want debug, info, warn or error", clip(value))
	}
	return nil
}

// CertHeaders is a choice among the headers that tell of client certificates: google, envoy, both or none.
type CertHeaders string

// EnvDecode parses one of the four.
func (c *CertHeaders) EnvDecode(value string) error {
	switch value {
	case "google", "envoy", "both", "none":
		*c = CertHeaders(value)
		return nil
	}
	return fmt.Errorf("%q: want google, envoy, both or none", clip(value))
}

// Google reports whether those of Google's load balancer are chosen.
func (c CertHeaders) Google() bool { return c == "google" || c == "both" }

// Envoy reports whether that of Envoy is chosen.
func (c CertHeaders) Envoy() bool { return c == "envoy" || c == "both" }

// PositiveDuration is a duration of more than nothing.
type PositiveDuration time.Duration

// Duration returns the duration.
func (d PositiveDuration) Duration() time.Duration { return time.Duration(d) }

// EnvDecode parses a Go duration such as 1m30s.
func (d *PositiveDuration) EnvDecode(value string) error {
	parsed, err := time.ParseDuration(value)
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 30s", clip(value))
	}
	if parsed <= 0 {
		return fmt.Errorf("%q is not more than nothing", clip(value))
	}
	*d = PositiveDuration(parsed)
	return nil
}

// URL is an absolute http or https URL without credentials and fragment.
type URL struct{ *url.URL }

// EnvDecode parses the URL. A refused one is not quoted, since it may carry a password.
func (u *URL) EnvDecode(value string) error {
	parsed, err := url.Parse(value)
	switch {
	case err != nil:
		return problem("is not a URL")
	case parsed.Scheme != "http" && parsed.Scheme != "https":
		return problem("want a URL that starts with https:// or http://")
	case parsed.Hostname() == "":
		return problem("is a URL without a host")
	case parsed.User != nil:
		return problem("is a URL with credentials in it")
	case parsed.Fragment != "" || parsed.RawFragment != "":
		return problem("is a URL with a fragment")
	}
	u.URL = parsed
	return nil
}

// String returns the URL, "" when there is none.
func (u URL) String() string {
	if u.URL == nil {
		return ""
	}
	return u.URL.String()
}

// IsZero reports whether there is no URL.
func (u URL) IsZero() bool { return u.URL == nil }

// HostPort is the address of a server, host:port.
type HostPort string

// EnvDecode parses the address; a scheme in front is the common mistake.
func (h *HostPort) EnvDecode(value string) error {
	host, port, err := net.SplitHostPort(value)
	if err != nil || host == "" || strings.ContainsAny(host, "/ ") {
		return fmt.Errorf("%q is not host:port", clip(value))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q: the port is not a number between 1 and 65535", clip(value))
	}
	*h = HostPort(value)
	return nil
}

// Port is a port to listen on; 0 lets the system choose.
type Port uint16

// EnvDecode parses a decimal port.
func (p *Port) EnvDecode(value string) error {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return fmt.Errorf("%q is not a number", clip(value))
	}
	if n > 65535 {
		return fmt.Errorf("%q is not a port: want 0 to 65535", clip(value))
	}
	*p = Port(n)
	return nil
}

// minMarkerLen keeps a marker from being guessed; anything shorter is a word.
const minMarkerLen = 16

// ProxyMarkers are the values that prove a request came through a proxy of ours: one, or two while the
// value is being changed.
type ProxyMarkers []Secret

// EnvDecode parses one or two values separated by a comma, each of at least 16 visible ASCII characters.
func (m *ProxyMarkers) EnvDecode(value string) error {
	parts := strings.Split(value, ",")
	if len(parts) > 2 {
		return problem("want at most two values separated by a comma")
	}
	markers := make(ProxyMarkers, 0, len(parts))
	for _, part := range parts {
		part = strings.TrimSpace(part)
		if len(part) < minMarkerLen {
			return problem(fmt.Sprintf("want values of at least %d characters", minMarkerLen))
		}
		for i := range len(part) {
			if part[i] <= ' ' || part[i] >= 0x7f {
				return problem("want values of visible ASCII characters")
			}
		}
		markers = append(markers, NewSecret(part))
	}
	*m = markers
	return nil
}

// Match reports whether a header's value is one of the markers. It compares with all of them, each in
// constant time, and is false for every value when there are none.
func (m ProxyMarkers) Match(value string) bool {
	given, matched := NewSecret(value), false
	for _, marker := range m {
		if marker.Equal(given) && !given.IsZero() {
			matched = true
		}
	}
	return matched
}

func (ProxyMarkers) secretive() {}

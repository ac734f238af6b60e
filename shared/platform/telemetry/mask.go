package telemetry

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
)

// masked stands in the place of what must not be logged.
const masked = "[masked]"

// secretNames are the names whose values are masked, and the endings that make a name one of them, in
// lower case with _ for -.
var (
	secretNames = map[string]bool{
		"api_key": true, "assertion": true, "authorization": true, "client_assertion": true,
		"client_secret": true, "cookie": true, "credential": true, "credentials": true, "database_url": true,
		"dsn": true, "hmac": true, "key_file": true, "nonce": true, "passphrase": true, "passwd": true,
		"password": true, "private_key": true, "proxy_marker": true, "redis_url": true, "secret": true,
		"set_cookie": true, "signature": true, "signing_key": true, "token": true, "trusted_proxy_marker": true,
	}
	secretEndings = []string{
		"_api_key", "_assertion", "_authorization", "_cookie", "_credential", "_credentials", "_nonce",
		"_password", "_private_key", "_proxy_marker", "_secret", "_signature", "_token",
	}
)

// tokenForm finds what looks like a credential in text: a JWT, a bearer token, a PEM block of a private key.
var tokenForm = regexp.MustCompile(
	`eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)+` +
		`|(?i:bearer)\s+[A-Za-z0-9._~+/=-]{8,}` +
		`|(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)`)

// secretName reports whether values under a name are masked.
func secretName(name string) bool {
	name = strings.ReplaceAll(strings.ToLower(name), "-", "_")
	if secretNames[name] {
		return true
	}
	for _, ending := range secretEndings {
		if strings.HasSuffix(name, ending) {
			return true
		}
	}
	return false
}

// Scrub masks what looks like a credential in a text that goes elsewhere than into a log.
func Scrub(s string) string { return scrub(s) }

// scrub masks what looks like a credential in a text.
func scrub(s string) string {
	if !strings.Contains(s, "eyJ") && !strings.Contains(s, "PRIVATE KEY") && !containsBearer(s) {
		return s // nearly every text; the expression is a hundred times slower than this
	}
	return tokenForm.ReplaceAllString(s, masked)
}

func containsBearer(s string) bool {
	return strings.Contains(s, "earer") || strings.Contains(s, "EARER")
}

// mask returns an attribute without credentials.
func mask(a slog.Attr) slog.Attr {
	if a.Value.Kind() != slog.KindGroup && secretName(a.Key) {
		if a.Value.Kind() == slog.KindString && a.Value.String() == "" {
			return a
		}
		return slog.String(a.Key, masked)
	}
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(scrub(a.Value.String()))
	case slog.KindAny:
		a.Value = maskAny(a.Value.Any())
	}
	return a
}

// maskAny masks inside a value of any type, by way of its JSON form. Errors and what cannot be encoded
// become text.
func maskAny(v any) slog.Value {
	switch v := v.(type) {
	case nil:
		return slog.AnyValue(nil)
	case error:
		return slog.StringValue(scrub(v.Error()))
	case []string:
		return slog.AnyValue(maskStrings(v))
	case *slog.Source:
		return slog.AnyValue(v)
	}
	encoded, err := json.Marshal(v)
	if err != nil {
		return slog.StringValue(scrub(fmt.Sprintf("%+v", v)))
	}
	var tree any
	if err := json.Unmarshal(encoded, &tree); err != nil {
		return slog.StringValue(masked) // a broken encoder; its output cannot be looked into
	}
	return slog.AnyValue(maskTree(tree))
}

func maskStrings(in []string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = scrub(s)
	}
	return out
}

// maskTree masks inside decoded JSON, in place.
func maskTree(v any) any {
	switch v := v.(type) {
	case string:
		return scrub(v)
	case []any:
		for i := range v {
			v[i] = maskTree(v[i])
		}
	case map[string]any:
		for name := range v {
			if secretName(name) {
				v[name] = masked
			} else {
				v[name] = maskTree(v[name])
			}
		}
	}
	return v
}

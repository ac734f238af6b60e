package tracing

import (
	"strings"

	"go.opentelemetry.io/otel/attribute"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/telemetry"
)

// maxText bounds the text of an attribute, in bytes.
const maxText = 256

// Text returns an attribute of text from outside: bounded, valid UTF-8 (one byte that is not loses every span
// that is exported with it), and without what looks like a credential.
func Text(key, value string) Attribute {
	return attribute.String(key, text(value))
}

func text(s string) string {
	s = telemetry.Scrub(s) // first: half a token would not be known for one
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// Int returns an attribute of a number.
func Int(key string, n int) Attribute { return attribute.Int(key, n) }

// ServiceName is the attribute that names the function which a span is of. Several may share a process.
func ServiceName(name string) Attribute { return Text("service.name", name) }

// Principal returns what a span tells of an authenticated caller: by which credential, how many scopes, and
// which service it is. Operators are people and have no name here.
func Principal(p auth.Principal) []Attribute {
	attrs := []Attribute{
		attribute.String("auth.method", string(p.Method)),
		attribute.Int("auth.scopes.count", len(p.Scopes.Names())),
	}
	if !p.Subject.IsOperator() {
		attrs = append(attrs, Text("service.peer.name", p.Subject.String()))
	}
	return attrs
}

package authz

import (
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// required names what was required, what is no scope last.
func (v *verdict) required() []string { return append(v.Required.Names(), v.unknown...) }

// tellProxy sets the headers that say who was let through, for proxies that do not read bodies.
func (v *verdict) tellProxy(h http.Header) {
	p := &v.principal
	values := []string{string(p.Method), p.Subject.String(), p.ServiceID, p.Scopes.String()}
	h[headerAuthMethod], h[headerAuthServiceName] = values[0:1:1], values[1:2:2]
	h[headerAuthServiceID], h[headerAuthScopes] = values[2:3:3], values[3:4:4]
}

// append appends the JSON of an allow. No other answer is given nearly as often, so it is put together by hand.
func (v *verdict) append(b []byte, id string) []byte {
	p := &v.principal
	b = append(b, `{"valid":true,"decision":"allow"`...)
	b = appendMember(b, "reason", string(v.Reason))
	b = appendMember(b, "auth_method", string(p.Method))
	b = appendMember(b, "service_name", p.Subject.String())
	b = appendMember(b, "service_id", p.ServiceID)
	b = appendMember(b, "environment", string(p.Environment))
	b = append(b, `,"scopes":[`...)
	for name := range p.Scopes.All() {
		if b[len(b)-1] != '[' {
			b = append(b, ',')
		}
		b = quoted(b, name)
	}
	b = append(b, ']')
	if p.ExpiresAt != 0 {
		b = append(b, `,"expires_at":"`...)
		b = time.Unix(p.ExpiresAt, 0).UTC().AppendFormat(b, time.RFC3339)
		b = append(b, '"')
	}
	b = append(b, `,"policy_version":`...)
	b = strconv.AppendInt(b, v.PolicyVersion, 10)
	b = appendMember(b, "decision_id", id)
	return append(b, '}', '\n')
}

func appendMember(b []byte, name, value string) []byte {
	b = append(append(append(b, ',', '"'), name...), '"', ':')
	return quoted(b, value)
}

// quoted appends a JSON string. All that stands in an allow is text of ours, which can be encoded.
func quoted(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s)
	return b
}

package authz

import (
	"net/http"
	"strconv"
	"time"
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

// append appends the JSON of an allow. No other answer is given nearly as often, so it is put together by hand,
// but for the rules considered, which are there when somebody asked for them.
func (v *verdict) append(b []byte, id string, rules []byte) []byte {
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
		b = append(append(append(b, '"'), name...), '"')
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
	if rules != nil {
		b = append(append(b, `,"rules":`...), rules...)
	}
	return append(b, '}', '\n')
}

// appendMember appends a member whose value is a name, a code or an id of ours: none has a character that JSON
// would want escaped.
func appendMember(b []byte, name, value string) []byte {
	b = append(append(append(b, `,"`...), name...), `":"`...)
	return append(append(b, value...), '"')
}

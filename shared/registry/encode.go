package registry

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// AppendJSON appends the instance in JSON, as encoding its type would give it. Instances are what a registry answers
// nearly everyone with, so it is put together by hand: nothing is looked up and nothing allocated.
func (i *Instance) AppendJSON(b []byte) []byte {
	b = i.Registration.appendJSON(append(b, '{'))
	b = appendText(b, `,"status":`, string(i.Status))
	b = appendTime(b, `,"status_since":"`, i.StatusSince)
	if i.StatusReason != "" {
		b = appendText(b, `,"status_reason":`, i.StatusReason)
	}
	b = appendInt(b, `,"generation":`, i.Generation)
	b = appendTime(b, `,"registered_at":"`, i.RegisteredAt)
	b = appendTime(b, `,"updated_at":"`, i.UpdatedAt)
	if i.LeaseExpiresAt != nil {
		b = appendTime(b, `,"lease_expires_at":"`, *i.LeaseExpiresAt)
	}
	if i.Lapsed {
		b = append(b, `,"lapsed":true`...)
	}
	return append(b, '}')
}

// appendJSON appends the members of a registration.
func (r *Registration) appendJSON(b []byte) []byte {
	b = appendText(b, `"service_id":`, r.ServiceID)
	b = appendText(b, `,"service_name":`, r.ServiceName)
	if r.Version != "" {
		b = appendText(b, `,"version":`, r.Version)
	}
	b = appendText(b, `,"environment":`, string(r.Environment))
	if r.Region != "" {
		b = appendText(b, `,"region":`, r.Region)
	}
	b = append(b, `,"endpoints":[`...)
	for i := range r.Endpoints {
		if i > 0 {
			b = append(b, ',')
		}
		b = r.Endpoints[i].appendJSON(b)
	}
	b = r.HealthCheck.appendJSON(append(b, `],"health_check":`...))
	if len(r.Metadata) > 0 {
		b = appendMap(append(b, `,"metadata":`...), r.Metadata)
	}
	if len(r.Tags) > 0 {
		b = appendList(append(b, `,"tags":`...), r.Tags)
	}
	b = appendInt(b, `,"weight":`, int64(r.Weight))
	return appendText(b, `,"lease":`, r.Lease.String())
}

func (e *Endpoint) appendJSON(b []byte) []byte {
	b = appendText(b, `{"name":`, e.Name)
	b = appendText(b, `,"url":`, e.URL)
	b = appendText(b, `,"protocol":`, e.Protocol)
	b = appendInt(b, `,"port":`, int64(e.Port))
	if e.Path != "" {
		b = appendText(b, `,"path":`, e.Path)
	}
	if len(e.Methods) > 0 {
		b = appendList(append(b, `,"methods":`...), e.Methods)
	}
	if e.IsPublic {
		b = append(b, `,"is_public":true`...)
	}
	return append(b, '}')
}

func (h *HealthCheck) appendJSON(b []byte) []byte {
	b = strconv.AppendBool(append(b, `{"enabled":`...), h.Enabled)
	if h.Path != "" {
		b = appendText(b, `,"path":`, h.Path)
	}
	if h.Interval != 0 {
		b = appendText(b, `,"interval":`, h.Interval.String())
	}
	if h.Timeout != 0 {
		b = appendText(b, `,"timeout":`, h.Timeout.String())
	}
	if h.HealthyThreshold != 0 {
		b = appendInt(b, `,"healthy_threshold":`, int64(h.HealthyThreshold))
	}
	if h.UnhealthyThreshold != 0 {
		b = appendInt(b, `,"unhealthy_threshold":`, int64(h.UnhealthyThreshold))
	}
	return append(b, '}')
}

// AppendJSON appends the choice in JSON.
func (c *Choice) AppendJSON(b []byte) []byte {
	b = appendText(b, `{"service_id":`, c.ServiceID)
	b = appendText(b, `,"url":`, c.URL)
	b = appendText(b, `,"protocol":`, c.Protocol)
	b = appendInt(b, `,"port":`, int64(c.Port))
	b = appendText(b, `,"path":`, c.Path)
	return append(b, '}')
}

func appendText(b []byte, member, text string) []byte {
	b = append(b, member...)
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			b, _ = jsontext.AppendQuote(b, text) // what is no UTF-8 becomes U+FFFD
			return b
		}
	}
	return append(append(append(b, '"'), text...), '"')
}

func appendInt(b []byte, member string, n int64) []byte {
	return strconv.AppendInt(append(b, member...), n, 10)
}

// appendTime appends a time after a member and the quote that opens its value.
func appendTime(b []byte, member string, t time.Time) []byte {
	return append(t.AppendFormat(append(b, member...), time.RFC3339Nano), '"')
}

func appendList(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, text := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, "", text)
	}
	return append(b, ']')
}

// appendMap appends a map's members by name.
func appendMap(b []byte, m map[string]string) []byte {
	var few [8]string
	names := few[:0]
	for name := range m {
		names = append(names, name)
	}
	slices.SortFunc(names, cmp.Compare)
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, "", name), ':')
		b = appendText(b, "", m[name])
	}
	return append(b, '}')
}

package client

import (
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Error is an answer of the platform that is no success.
type Error struct {
	Status    int
	Code      string
	Message   string
	Reason    string
	RequestID string
	Fields    []Field
	Required  []string // scopes, of insufficient_scope
	Reasons   []string // why nothing was found
	Body      []byte   // the whole answer
}

// Field is what is wrong with one member of a request.
type Field struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Error tells the refusal in one line, and each field at fault in one more.
func (e *Error) Error() string {
	var b strings.Builder
	verb := "refused"
	if e.Status >= http.StatusInternalServerError {
		verb = "failed"
	}
	fmt.Fprintf(&b, "%s: %s", verb, e.Code)
	if e.Message != "" {
		fmt.Fprintf(&b, ": %s", e.Message)
	}
	var notes []string
	if e.Reason != "" && e.Reason != e.Code {
		notes = append(notes, "reason "+e.Reason)
	}
	if len(e.Required) > 0 {
		notes = append(notes, "needs "+strings.Join(e.Required, " "))
	}
	if e.RequestID != "" {
		notes = append(notes, "request id "+e.RequestID)
	}
	if len(notes) > 0 {
		fmt.Fprintf(&b, " (%s)", strings.Join(notes, "; "))
	}
	for _, f := range e.Fields {
		fmt.Fprintf(&b, "\n  %s: %s", f.Field, f.Message)
	}
	for _, r := range e.Reasons {
		fmt.Fprintf(&b, "\n  %s", r)
	}
	return b.String()
}

// refusal reads an answer that is no success. Whatever stands between us and the platform may have
// written it, so each part is taken only where it has the right type.
func refusal(res *http.Response, body []byte) *Error {
	e := &Error{Status: res.StatusCode, RequestID: plain(res.Header.Get("X-Request-Id")), Body: body}
	var members map[string]jsontext.Value
	if json.Unmarshal(body, &members) == nil {
		text := func(name string) string {
			var s string
			_ = json.Unmarshal(members[name], &s) // of another type: as good as absent
			return plain(s)
		}
		e.Code, e.Reason = text("error"), text("reason")
		if e.Message = text("message"); e.Message == "" {
			e.Message = text("error_description")
		}
		if id := text("request_id"); id != "" {
			e.RequestID = id
		}
		_ = json.Unmarshal(members["fields"], &e.Fields)
		_ = json.Unmarshal(members["required"], &e.Required)
		e.Reasons = texts(members["reasons"])
		for i := range e.Fields {
			e.Fields[i] = Field{plain(e.Fields[i].Field), plain(e.Fields[i].Message)}
		}
		for i := range e.Required {
			e.Required[i] = plain(e.Required[i])
		}
	}
	if e.Code == "" {
		e.Code = fmt.Sprintf("status %d", res.StatusCode)
		if to := res.Header.Get("Location"); to != "" {
			e.Message = "redirects are not followed: " + plain(to)
		}
	}
	return e
}

// texts reads a list of strings, or of objects that say why an instance was passed over; anything else
// is shown as its JSON.
func texts(value jsontext.Value) []string {
	var members []jsontext.Value
	if json.Unmarshal(value, &members) != nil {
		return nil
	}
	list := make([]string, len(members))
	for i, member := range members {
		var object struct {
			ServiceID string `json:"service_id"`
			Reason    string `json:"reason"`
			Detail    string `json:"detail"`
			Remedy    string `json:"remedy"`
		}
		switch {
		case json.Unmarshal(member, &list[i]) == nil:
		case json.Unmarshal(member, &object) == nil && object.ServiceID != "":
			list[i] = object.ServiceID + ": " + object.Reason
			if object.Detail != "" {
				list[i] += ": " + object.Detail
			}
			if object.Remedy != "" {
				list[i] += " (" + object.Remedy + ")"
			}
		default:
			list[i] = member.String()
		}
		list[i] = plain(list[i])
	}
	return list
}

// plain keeps what a stranger wrote from moving the terminal's cursor or filling its screen.
func plain(s string) string {
	const longest = 1000
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
	if len(s) > longest {
		s = s[:longest] + "…"
	}
	return s
}

package httpx

import (
	"net/http"
	"strconv"
	"strings"
)

// ETag returns the entity tag of a generation.
func ETag(generation int64) string { return `"` + strconv.FormatInt(generation, 10) + `"` }

// Condition is a parsed If-Match or If-None-Match (RFC 9110 §13.1). The zero value stands for a header that
// was not sent.
type Condition struct {
	Given bool
	any   bool
	tags  []entityTag
}

type entityTag struct {
	weak   bool
	opaque string // with its quotes
}

// IfMatch parses the request's If-Match; a malformed one is an invalid_request.
func IfMatch(r *http.Request) (Condition, error) { return parseCondition(r.Header, "If-Match") }

// IfNoneMatch parses the request's If-None-Match; a malformed one is an invalid_request.
func IfNoneMatch(r *http.Request) (Condition, error) {
	return parseCondition(r.Header, "If-None-Match")
}

// MatchesStrong reports whether the condition names the tag, compared strongly as If-Match wants; a weak
// tag matches nothing. The tag "" stands for what does not exist and matches nothing, not even *.
func (c Condition) MatchesStrong(tag string) bool { return c.matches(tag, false) }

// MatchesWeak reports whether the condition names the tag, compared weakly as If-None-Match wants.
func (c Condition) MatchesWeak(tag string) bool { return c.matches(tag, true) }

func (c Condition) matches(tag string, weakly bool) bool {
	if !c.Given || tag == "" {
		return false
	}
	if c.any {
		return true
	}
	opaque, weak := strings.CutPrefix(tag, "W/")
	for _, t := range c.tags {
		if t.opaque == opaque && (weakly || !t.weak && !weak) {
			return true
		}
	}
	return false
}

// CheckIfMatch judges the request's If-Match against the generation that is current, 0 for what does not
// exist: nil when there is none or it holds, otherwise a 412, or a 400 for a malformed one.
func CheckIfMatch(r *http.Request, generation int64) error {
	c, err := IfMatch(r)
	if err != nil || !c.Given {
		return err
	}
	tag := ""
	if generation > 0 {
		tag = ETag(generation)
	}
	if !c.MatchesStrong(tag) {
		return PreconditionFailed(generation)
	}
	return nil
}

// NotModified sets the answer's ETag and reports whether the request's If-None-Match names it, in which
// case the 304 has been written and the handler is done. Only for GET and HEAD.
func NotModified(w http.ResponseWriter, r *http.Request, tag string) (bool, error) {
	c, err := IfNoneMatch(r)
	if err != nil {
		return false, err
	}
	w.Header().Set("ETag", tag)
	if c.MatchesWeak(tag) {
		w.WriteHeader(http.StatusNotModified)
		return true, nil
	}
	return false, nil
}

// maxTags bounds how many tags one header may list.
const maxTags = 64

func parseCondition(h http.Header, name string) (Condition, error) {
	values := h.Values(name)
	if len(values) == 0 {
		return Condition{}, nil
	}
	c, ok := parseTags(strings.Join(values, ","))
	if !ok {
		return Condition{}, InvalidRequest("a header is malformed",
			FieldError{Field: name, Message: `want * or a list of entity tags such as "3"`})
	}
	return c, nil
}

// parseTags parses * or 1#entity-tag. Empty list elements are allowed, as RFC 9110 §5.6.1.2 has it for
// recipients, but not a list of nothing else.
func parseTags(s string) (Condition, bool) {
	c := Condition{Given: true}
	s = strings.Trim(s, " \t")
	if s == "*" {
		c.any = true
		return c, true
	}
	for {
		s = strings.TrimLeft(s, " \t,")
		if s == "" {
			return c, len(c.tags) > 0
		}
		var t entityTag
		s, t.weak = strings.CutPrefix(s, "W/")
		if s == "" || s[0] != '"' {
			return Condition{}, false
		}
		end := strings.IndexByte(s[1:], '"')
		if end < 0 || !tagChars(s[1:1+end]) || len(c.tags) == maxTags {
			return Condition{}, false
		}
		t.opaque, s = s[:end+2], strings.TrimLeft(s[end+2:], " \t")
		c.tags = append(c.tags, t)
		if s != "" && s[0] != ',' {
			return Condition{}, false
		}
	}
}

// tagChars reports whether s is of etagc: printable ASCII but the quote. RFC 9110 allows bytes over 0x7f
// too; no tag of ours has one.
func tagChars(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '"' {
			return false
		}
	}
	return true
}

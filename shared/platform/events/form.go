package events

import (
	"errors"
	"fmt"
	"mime"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/isectech/service-networking/shared/platform/httpx"
)

// What an event may be. Attributes are bounded as Pub/Sub bounds them, so that none can come in by one way
// that could not by another; source and id together fit into a journal's cause.
const (
	MaxData           = 1 << 20
	MaxAttributes     = 100
	maxAttributeName  = 256
	maxAttributeValue = 1024
	maxID             = 512
	maxType           = 256
	maxExtensionName  = 64
	maxDepth          = 32 // of JSON data; ours nest five deep
)

// check returns what is wrong with an event that is a CloudEvent, without a prefix of its own.
func (e Event) check() error {
	for _, text := range []struct {
		name, value string
		most        int
	}{{"id", e.ID, maxID}, {"source", e.Source, maxAttributeValue}, {"type", e.Type, maxType}} {
		if err := checkToken(text.name, text.value, text.most); err != nil {
			return err
		}
	}
	if _, err := url.Parse(e.Source); err != nil {
		return errors.New("source: no URI reference")
	}
	if err := checkText("subject", e.Subject, maxAttributeValue); err != nil {
		return err
	}
	return e.checkRest()
}

// checkRest returns what is wrong with those parts of an event that plain messages have too.
func (e Event) checkRest() error {
	if err := checkText("ordering key", e.OrderingKey, maxAttributeValue); err != nil {
		return err
	}
	if e.Auth != "" {
		if err := checkToken("isectechauth", e.Auth, maxAttributeValue); err != nil {
			return err
		}
	}
	if !e.Time.IsZero() && (e.Time.Year() < 1970 || e.Time.Year() > 9999) {
		return errors.New("time: out of range")
	}
	if len(e.Data) > MaxData {
		return fmt.Errorf("data: %d bytes; at most %d", len(e.Data), MaxData)
	}
	return nil
}

// checkData returns what is wrong with data that call themselves JSON.
func checkData(contentType string, data []byte) error {
	if contentType == "" {
		return nil
	}
	if len(contentType) > maxAttributeName {
		return fmt.Errorf("content type: %d bytes", len(contentType))
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return errors.New("content type: malformed")
	}
	if len(data) == 0 || media != "application/json" && !strings.HasSuffix(media, "+json") {
		return nil
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return errors.New("content type: JSON in a charset other than UTF-8")
	}
	if err := checkJSON(data); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	return nil
}

// checkJSON returns what is wrong with JSON text: an error of syntax, a name twice, invalid UTF-8, more than
// one value, or too many levels.
func checkJSON(text []byte) error {
	if depth(text) > maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	var value jsontext.Value
	return jsonFault(json.Unmarshal(text, &value))
}

// jsonFault says what is wrong with JSON text without quoting more of it than a member's place.
func jsonFault(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if errors.Is(e, jsontext.ErrDuplicateName) {
			return fmt.Errorf("member %.80q occurs twice", string(e.JSONPointer))
		}
		return fmt.Errorf("malformed JSON at byte %d", e.ByteOffset)
	}
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		return fmt.Errorf("member %.80q has the wrong type", string(e.JSONPointer))
	}
	return errors.New("malformed JSON")
}

// depth counts how deep brackets nest in JSON text, before anything recurses into it. Those in strings
// don't count; otherwise it need not know valid text from invalid.
func depth(text []byte) int {
	level, most, inString := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			level++
			most = max(most, level)
		case c == '}' || c == ']':
			level--
		}
	}
	return most
}

// checkToken wants visible ASCII characters and no space, which joins what they stand in.
func checkToken(name, s string, most int) error {
	if s == "" {
		return fmt.Errorf("%s: missing", name)
	}
	if len(s) > most {
		return fmt.Errorf("%s: %d bytes; at most %d", name, len(s), most)
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return fmt.Errorf("%s: byte %d is no visible ASCII", name, i)
		}
	}
	return nil
}

// checkText wants printable text, which may be empty.
func checkText(name, s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("%s: %d bytes; at most %d", name, len(s), most)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("%s: not plain text", name)
	}
	return nil
}

// parseTime parses an RFC 3339 time; time.Parse alone also takes a comma before the fraction.
func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || len(s) > 64 || strings.Contains(s, ",") || t.Year() < 1970 || t.Year() > 9999 {
		return time.Time{}, errors.New("time: want an RFC 3339 time such as 2026-01-04T12:00:00Z")
	}
	return t.UTC(), nil
}

// traceparent returns s if it is well formed; what is not is to be ignored, says W3C Trace Context.
func traceparent(s string) string {
	if len(s) > 128 {
		return ""
	}
	if trace, _, _ := httpx.ParseTraceparent(s); trace == "" {
		return ""
	}
	return s
}

package registry

import (
	"fmt"
	"strconv"
	"strings"
)

// Finding is one thing that is wrong with a document, by the path of the field.
type Finding struct {
	Field   string `json:"field"`   // such as endpoints[0].port; empty for the whole document
	Code    string `json:"code"`    // stable, for machines
	Message string `json:"message"` // for people
}

// String returns the finding as one line.
func (f Finding) String() string {
	if f.Field == "" {
		return f.Message
	}
	return f.Field + ": " + f.Message
}

// The codes of findings. Those of an endpoint's URL are the reasons of package endpoint.
const (
	codeSyntax      = "malformed_json"
	codeTooLarge    = "too_large"
	codeUnknown     = "unknown_field"
	codeDuplicate   = "duplicate"
	codeWrongType   = "wrong_type"
	codeRequired    = "required"
	codeInvalid     = "invalid_value"
	codeOutOfRange  = "out_of_range"
	codeTooMany     = "too_many"
	codeMismatch    = "mismatch"
	codeNameTaken   = "shadows_a_name"
	codeUnknownName = "unknown_service"
	codeMore        = "more_findings"
)

// maxFindings bounds what a hostile document can make us say about it.
const maxFindings = 64

// findings collects what is wrong; a field that has a finding gets no second one.
type findings struct {
	list []Finding
	seen map[string]bool
	more int
}

func (f *findings) addf(field, code, format string, args ...any) {
	if f.seen[field] {
		return
	}
	if len(f.list) == maxFindings {
		f.more++
		return
	}
	if f.seen == nil {
		f.seen = make(map[string]bool)
	}
	f.seen[field] = true
	f.list = append(f.list, Finding{field, code, fmt.Sprintf(format, args...)})
}

func (f *findings) all() []Finding {
	if f.more > 0 {
		return append(f.list, Finding{"", codeMore, fmt.Sprintf("%d more are not shown", f.more)})
	}
	return f.list
}

// member appends a member's name to a path. A name that would blur the path is quoted.
func member(path, name string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
	switch {
	case name == "" || len(name) > maxKeyBytes || strings.Trim(name, plain) != "":
		return path + "[" + quote(name) + "]"
	case path == "":
		return name
	default:
		return path + "." + name
	}
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// quote quotes hostile text in plain ASCII and cuts it to a length fit for a message.
func quote(s string) string {
	if len(s) > 64 {
		return strconv.QuoteToASCII(s[:64]) + "…"
	}
	return strconv.QuoteToASCII(s)
}

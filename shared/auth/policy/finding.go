package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Severity says whether a finding keeps the document from being used.
type Severity string

// The severities there are.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Finding is one thing that is wrong with a document, or deserves a second look.
type Finding struct {
	Path     string   `json:"path"` // of the field, such as services.isectech-admin.scopes[2]; empty for the whole
	Severity Severity `json:"severity"`
	Code     string   `json:"code"`    // stable, for machines
	Message  string   `json:"message"` // a sentence, for people
}

// String returns the finding as one line.
func (f Finding) String() string {
	if f.Path == "" {
		return fmt.Sprintf("%s: %s (%s)", f.Severity, f.Message, f.Code)
	}
	return fmt.Sprintf("%s: %s: %s (%s)", f.Severity, f.Path, f.Message, f.Code)
}

// maxFindings bounds what a hostile document can make us say about it. Errors are never crowded out by
// warnings, since each severity has its own bound.
const maxFindings = 200

// findings collects what is found. A field gets one error at most: what is said about a field after it
// could not be read, or was found wrong, tells nothing more.
type findings struct {
	list         []Finding
	faulty       map[string]bool // paths that have an error
	faults       int             // calls of errorf
	errs, warns  int             // in list
	moreE, moreW int             // left out of it
}

func (f *findings) errorf(path, code, format string, args ...any) {
	f.faults++
	if path != "" && f.faulty[path] {
		return
	}
	if f.errs == maxFindings {
		f.moreE++
		return
	}
	f.errs++
	if f.faulty == nil {
		f.faulty = make(map[string]bool)
	}
	f.faulty[path] = true
	f.list = append(f.list, Finding{path, Error, code, fmt.Sprintf(format, args...)})
}

func (f *findings) warnf(path, code, format string, args ...any) {
	if f.warns == maxFindings {
		f.moreW++
		return
	}
	f.warns++
	f.list = append(f.list, Finding{path, Warning, code, fmt.Sprintf(format, args...)})
}

// all returns the findings in the order of their paths, those of one path in the order they were found.
func (f *findings) all() []Finding {
	list := slices.Clone(f.list)
	slices.SortStableFunc(list, func(a, b Finding) int { return comparePaths(a.Path, b.Path) })
	if f.moreE > 0 {
		list = append(list, Finding{"", Error, "more_findings", fmt.Sprintf("%d more errors are not shown", f.moreE)})
	}
	if f.moreW > 0 {
		list = append(list, Finding{"", Warning, "more_findings", fmt.Sprintf("%d more warnings are not shown", f.moreW)})
	}
	return list
}

// err returns nil when there is no error among the findings, and otherwise what the first few are.
func (f *findings) err() error {
	if f.errs == 0 {
		return nil
	}
	var first []string
	for _, one := range f.all() {
		if one.Severity == Error && len(first) < 3 {
			first = append(first, strings.TrimPrefix(one.String(), "error: "))
		}
	}
	more := ""
	if n := f.errs + f.moreE - len(first); n > 0 {
		more = fmt.Sprintf("; and %d more", n)
	}
	return fmt.Errorf("%w: %s%s", ErrInvalid, strings.Join(first, "; "), more)
}

// comparePaths orders paths as text, but their indexes as numbers, so that edges[2] precedes edges[10].
func comparePaths(a, b string) int {
	for a != "" && b != "" {
		if isDigit(a[0]) && isDigit(b[0]) {
			na, nb := digits(a), digits(b)
			if c := cmp.Or(cmp.Compare(len(na), len(nb)), strings.Compare(na, nb)); c != 0 {
				return c
			}
			a, b = a[len(na):], b[len(nb):]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func digits(s string) string {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return s[:n]
}

// memberPath appends a member's name to a path. A name that would blur the path, or flood it, is quoted
// and cut.
func memberPath(path, name string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-@+."
	if name == "" || len(name) > 254 || strings.Trim(name, plain) != "" {
		return path + "[" + quote(name) + "]"
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// indexPath appends an index to a path.
func indexPath(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// quote quotes text that others wrote, and cuts it to a length fit for a message.
func quote(s string) string {
	if len(s) > 80 {
		return strconv.Quote(s[:80]) + "…"
	}
	return strconv.Quote(s)
}

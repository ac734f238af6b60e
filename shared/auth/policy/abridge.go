package policy

import (
	"strings"
	"unicode/utf8"
)

// MaxAbridgedPath is the longest path that AbridgePath returns. What of a path a prefix can tell apart lies well
// within it, each byte of it escaped.
const MaxAbridgedPath = 512

// unclearEnd is the end of an unclear path that was cut. It is no part of a path as sent, so that what is left is
// unclear too.
const unclearEnd = "…"

// AbridgePath returns a path, as sent, that every policy judges as it does path, in at most MaxAbridgedPath bytes:
// for records from which a decision is made again. A path that is short enough stays as it is.
func AbridgePath(path string) string {
	if len(path) <= MaxAbridgedPath {
		return path
	}
	clean, ok := canonicalPath(path)
	if !ok {
		return strings.ToValidUTF8(path[:MaxAbridgedPath-len(unclearEnd)], "") + unclearEnd
	}
	var b strings.Builder
	for rest := clean; rest != ""; {
		_, size := utf8.DecodeRuneInString(rest)
		escaped := escapePath(rest[:size])
		if b.Len()+len(escaped) > MaxAbridgedPath {
			break
		}
		b.WriteString(escaped)
		rest = rest[size:]
	}
	// The cut may have made dots of a longer name's beginning.
	short := b.String()
	return strings.TrimSuffix(strings.TrimSuffix(short, "/.."), "/.")
}

// escapePath writes a piece of a canonical path as it may be sent.
func escapePath(piece string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(piece) {
		c := piece[i]
		if classes[c]&(percent|refused) == 0 {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', hex[c>>4], hex[c&15]})
	}
	return b.String()
}

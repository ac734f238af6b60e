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
	short := make([]byte, 0, MaxAbridgedPath+len("%XX")*utf8.UTFMax)
	for rest := clean; rest != ""; {
		_, size := utf8.DecodeRuneInString(rest)
		whole := len(short)
		if short = appendEscaped(short, rest[:size]); len(short) > MaxAbridgedPath {
			short = short[:whole]
			break
		}
		rest = rest[size:]
	}
	// The cut may have made dots of a longer name's beginning.
	return strings.TrimSuffix(strings.TrimSuffix(string(short), "/.."), "/.")
}

// appendEscaped appends a piece of a canonical path as it may be sent.
func appendEscaped(b []byte, piece string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(piece) {
		if c := piece[i]; classes[c]&(percent|refused) == 0 {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}

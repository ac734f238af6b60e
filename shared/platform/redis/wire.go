package redis

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
)

// errGarbage says that what came is not an answer to what was asked.
var errGarbage = errors.New("not an answer of Redis")

// Bounds of one message, ample for what the platform keeps.
const (
	maxBlobBytes = 8 << 20
	maxLineBytes = 64 << 10
	maxElements  = 1 << 16
	maxDepth     = 8
)

// checkedConn lets only well-formed answers through, and no more of them than questions were asked. The
// library allocates whatever a length says, and takes an answer that nobody waits for, or a push that it did
// not ask for, as a reason to panic in a goroutine of its own, where nothing can recover it.
type checkedConn struct {
	net.Conn
	asked    parser
	answered parser
	waiting  atomic.Int64
}

// Write counts the commands that p completes, before they can be answered.
func (c *checkedConn) Write(p []byte) (int, error) {
	n, err := c.asked.feed(p)
	if err != nil {
		return 0, err
	}
	c.waiting.Add(int64(n))
	return c.Conn.Write(p)
}

// Read fails, and closes the connection, when it has read what no answer can be.
func (c *checkedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	answers, bad := c.answered.feed(p[:n])
	if bad == nil && c.waiting.Add(-int64(answers)) < 0 {
		bad = fmt.Errorf("%w: more answers than questions", errGarbage)
	}
	if bad != nil {
		_ = c.Close()
		return 0, bad
	}
	return n, err
}

// parser follows the messages of the Redis protocol (RESP3) byte by byte, however they are cut into pieces.
type parser struct {
	state state
	kind  byte
	line  []byte // what has come of the present line
	skip  int    // bytes of a blob that are still to come, its final CR LF included
	open  []aggregate
	err   error
}

type state int

const (
	atKind state = iota
	inLine
	inBlob
)

// aggregate is an array, set, map or push that is not complete.
type aggregate struct {
	kind byte
	left int
	name bool // the next element is the name of a push
}

// feed takes in bytes and returns how many messages they complete, pushes not counted. After an error there
// is no going on.
func (r *parser) feed(p []byte) (messages int, err error) {
	for len(p) > 0 && r.err == nil {
		switch r.state {
		case atKind:
			r.begin(p[0])
			p = p[1:]
		case inLine:
			piece, rest, ended := bytes.Cut(p, []byte{'\n'})
			p = rest
			if r.line = append(r.line, piece...); len(r.line) > r.longest() {
				r.fail("a line that does not end")
			} else if ended {
				messages += r.endLine()
			}
		case inBlob:
			n := min(len(p), r.skip)
			messages += r.blob(p[:n])
			p = p[n:]
		}
	}
	return messages, r.err
}

// longest returns how long the present line may be, with its CR. What has a fixed length is not read to the end of
// a line by the library, so here too it may not go beyond.
func (r *parser) longest() int {
	switch r.kind {
	case '_':
		return len("\r")
	case '#':
		return len("t\r")
	default:
		return maxLineBytes
	}
}

func (r *parser) fail(what string) { r.err = fmt.Errorf("%w: %s", errGarbage, what) }

func (r *parser) begin(kind byte) {
	switch kind {
	case '+', '-', ':', '_', ',', '#', '(', '$', '!', '=', '*', '~', '%':
	case '>':
		if len(r.open) > 0 {
			r.fail("a push within a message")
		}
	default:
		r.fail("an unknown type")
	}
	if n := len(r.open); n > 0 && r.open[n-1].name && kind != '$' && kind != '+' {
		r.fail("a push without a name")
	}
	r.kind, r.state, r.line = kind, inLine, r.line[:0]
}

// endLine judges the line that follows a type, and returns 1 when it completes a message.
func (r *parser) endLine() int {
	n := len(r.line) - 1
	if n < 0 || r.line[n] != '\r' {
		r.fail("a line without CR LF")
		return 0
	}
	text := r.line[:n]
	switch r.kind {
	case '$', '!', '=', '*', '~', '%', '>':
		return r.length(text)
	case '_':
		if n != 0 {
			r.fail("a null that is none")
		}
	case '#':
		if n != 1 || text[0] != 't' && text[0] != 'f' {
			r.fail("a bool that is none")
		}
	case ':':
		if _, ok := integer(text); !ok {
			r.fail("a number that is none")
		}
	}
	return r.complete(text)
}

// length reads how much is to come.
func (r *parser) length(text []byte) int {
	n, ok := integer(text)
	if n == -1 && (r.kind == '$' || r.kind == '*') {
		return r.complete(nil)
	}
	blob := r.kind == '$' || r.kind == '!' || r.kind == '='
	if !ok || n < 0 || blob && n > maxBlobBytes || !blob && n > maxElements {
		r.fail("an impossible length")
		return 0
	}
	if blob {
		r.state, r.skip, r.line = inBlob, n+2, r.line[:0]
		return 0
	}
	if r.kind == '%' {
		n *= 2
	}
	if r.kind == '>' && n < 2 || len(r.open) == maxDepth {
		r.fail("an impossible message")
		return 0
	}
	if n == 0 {
		return r.complete(nil)
	}
	r.open = append(r.open, aggregate{kind: r.kind, left: n, name: r.kind == '>'})
	r.state = atKind
	return 0
}

// integer reads a number; beyond what any length may be, its value is of no interest.
func integer(text []byte) (n int, ok bool) {
	const enough = 1 << 30
	digits := text
	if len(digits) > 0 && digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) == 0 || len(digits) > 20 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int(c-'0'), enough)
	}
	if len(digits) != len(text) {
		n = -n
	}
	return n, true
}

// blob takes in a piece of a blob. Its beginning is kept where it names a push, and its end to be judged.
func (r *parser) blob(p []byte) int {
	if r.naming() && len(r.line)+len(p) <= maxLineBytes {
		r.line = append(r.line, p...)
	}
	// The last two of r.skip are CR and LF, if they are among p.
	for i := max(0, r.skip-2); i < len(p); i++ {
		if want := "\r\n"[i-(r.skip-2)]; p[i] != want {
			r.fail("a blob without CR LF")
			return 0
		}
	}
	if r.skip -= len(p); r.skip > 0 {
		return 0
	}
	return r.complete(r.line[:max(0, len(r.line)-2)])
}

// naming reports whether the present element is the name of a push.
func (r *parser) naming() bool {
	n := len(r.open)
	return n > 0 && r.open[n-1].name
}

// complete ends an element, and all that it was the last one of; text is the element's.
func (r *parser) complete(text []byte) int {
	r.state = atKind
	if r.naming() {
		// Nothing is subscribed to: the only push is that of client-side caching.
		if string(text) != "invalidate" {
			r.fail("an unknown push")
			return 0
		}
		r.open[len(r.open)-1].name = false
	}
	for n := len(r.open); n > 0; n-- {
		top := &r.open[n-1]
		if top.left--; top.left > 0 {
			return 0
		}
		push := top.kind == '>'
		if r.open = r.open[:n-1]; push {
			return 0
		}
	}
	return 1
}

package signature

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"strconv"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
)

// The bounds of a request that ReadRequest takes.
const (
	maxHead = 64 << 10
	maxBody = 64 << 20
)

// errBodyTooLong is returned for a body above maxBody.
var errBodyTooLong = fmt.Errorf("body: %w: longer than %d bytes", auth.ErrMalformed, maxBody)

// ReadRequest reads one raw HTTP/1.1 request to its end and returns what of it a signature covers:
// method, path, query, host and the digest of the body. Lines may end in LF alone. The body is as long
// as Content-Length says, or chunked, or else everything that follows the head. Errors wrap
// auth.ErrMalformed, or are the reader's own.
func ReadRequest(src io.Reader) (Request, error) {
	in := bufio.NewReader(src)
	head, err := readHead(in)
	if err != nil {
		return Request{}, err
	}
	if len(head) == 0 {
		return Request{}, fmt.Errorf("request line: %w: there is none", auth.ErrMalformed)
	}
	r, err := parseRequestLine(head[0])
	if err != nil {
		return Request{}, err
	}
	fields, err := parseFields(head[1:])
	if err != nil {
		return Request{}, err
	}
	r.Host = fields.host
	digest := sha256.New()
	if err := fields.copyBody(digest, in); err != nil {
		return Request{}, err
	}
	r.BodySHA256 = hex.EncodeToString(digest.Sum(nil))
	return r, nil
}

// readHead returns the lines up to the first empty one, or up to the end of the input.
func readHead(in *bufio.Reader) ([]string, error) {
	var lines []string
	for size := 0; ; {
		var line []byte
		for {
			part, err := in.ReadSlice('\n')
			line = append(line, part...)
			if size += len(part); size > maxHead {
				return nil, fmt.Errorf("head: %w: longer than %d bytes", auth.ErrMalformed, maxHead)
			}
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			if errors.Is(err, io.EOF) {
				if len(line) > 0 {
					lines = append(lines, trimEnd(line))
				}
				return lines, nil
			}
			if err != nil {
				return nil, fmt.Errorf("read request: %w", err)
			}
			break
		}
		text := trimEnd(line)
		if text == "" {
			return lines, nil
		}
		lines = append(lines, text)
	}
}

// trimEnd cuts the line's end: LF, or CRLF.
func trimEnd(line []byte) string {
	return strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r")
}

func parseRequestLine(line string) (Request, error) {
	method, rest, ok1 := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(rest, " ")
	if !ok1 || !ok2 || !validMethod(method) || (version != "HTTP/1.1" && version != "HTTP/1.0") {
		return Request{}, fmt.Errorf("request line: %w: want METHOD TARGET HTTP/1.1", auth.ErrMalformed)
	}
	path, rawQuery, err := Target(target)
	if err != nil {
		return Request{}, err
	}
	if _, err := CanonicalQuery(rawQuery); err != nil {
		return Request{}, err
	}
	return Request{Method: method, Path: path, RawQuery: rawQuery}, nil
}

// fields are the header fields that matter here.
type fields struct {
	host    string
	length  int64 // -1 when absent
	chunked bool
}

func parseFields(lines []string) (fields, error) {
	f := fields{length: -1}
	fault := func(what string) error { return fmt.Errorf("header: %w: %s", auth.ErrMalformed, what) }
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !ok || !validFieldName(name) || strings.ContainsFunc(value, isControl) {
			return fields{}, fault("a line is not NAME: VALUE")
		}
		switch strings.ToLower(name) {
		case "host":
			if f.host != "" {
				return fields{}, fault("Host is repeated")
			}
			if !validHost(value) {
				return fields{}, fault("Host is not a host")
			}
			f.host = value
		case "content-length":
			n, err := strconv.ParseUint(value, 10, 62)
			if err != nil || f.length >= 0 {
				return fields{}, fault("Content-Length is repeated or not a number")
			}
			f.length = int64(n)
		case "transfer-encoding":
			if f.chunked || !strings.EqualFold(value, "chunked") {
				return fields{}, fault("Transfer-Encoding is repeated or not chunked")
			}
			f.chunked = true
		}
	}
	if f.host == "" {
		return fields{}, fault("Host is missing")
	}
	if f.chunked && f.length >= 0 {
		return fields{}, fault("both Content-Length and Transfer-Encoding")
	}
	return f, nil
}

// validFieldName accepts a token. It has the characters of a method and may be longer.
func validFieldName(s string) bool {
	for i := range len(s) {
		if !validMethod(s[i : i+1]) {
			return false
		}
	}
	return s != ""
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// copyBody copies the body and refuses what follows it, but for line ends that an editor left.
func (f fields) copyBody(dst io.Writer, in *bufio.Reader) error {
	switch {
	case f.chunked:
		if err := copyBounded(dst, httputil.NewChunkedReader(in)); err != nil {
			return fmt.Errorf("body: %w: its chunks are not well formed: %w", auth.ErrMalformed, err)
		}
	case f.length > maxBody:
		return errBodyTooLong
	case f.length >= 0:
		n, err := io.CopyN(dst, in, f.length)
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("body: %w: %d bytes where Content-Length says %d", auth.ErrMalformed, n, f.length)
		}
		if err != nil {
			return fmt.Errorf("read body: %w", err)
		}
	default:
		return copyBounded(dst, in)
	}
	rest, err := io.ReadAll(io.LimitReader(in, 16))
	if err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	if strings.Trim(string(rest), "\r\n") != "" || len(rest) == 16 {
		return fmt.Errorf("body: %w: something follows it", auth.ErrMalformed)
	}
	return nil
}

// copyBounded copies to the end of src, but not more than maxBody.
func copyBounded(dst io.Writer, src io.Reader) error {
	n, err := io.Copy(dst, io.LimitReader(src, maxBody+1))
	if err != nil {
		return err
	}
	if n > maxBody {
		return errBodyTooLong
	}
	return nil
}

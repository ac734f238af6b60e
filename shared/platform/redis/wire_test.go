package redis

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

func TestParser(t *testing.T) {
	t.Parallel()
	for text, messages := range map[string]int{
		"+OK\r\n":             1,
		"-ERR x\r\n":          1,
		":12\r\n:-12\r\n":     2,
		"$0\r\n\r\n":          1,
		"$5\r\na\r\nbc\r\n":   1,
		"$-1\r\n*-1\r\n_\r\n": 3,
		"#t\r\n#f\r\n,1.5\r\n(12345678901234567890\r\n":    4,
		"=5\r\ntxt:a\r\n!1\r\na\r\n":                       2,
		"*0\r\n%0\r\n~0\r\n":                               3,
		"*2\r\n*1\r\n:1\r\n%1\r\n+a\r\n*2\r\n:1\r\n:2\r\n": 1,
		">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n":     0,
		">2\r\n+invalidate\r\n_\r\n+OK\r\n":                1,
		"+OK":                                              0,
		"*3\r\n:1\r\n":                                     0,
	} {
		for piece := 1; piece <= len(text); piece++ {
			var p parser
			got, rest := 0, []byte(text)
			for len(rest) > 0 {
				n, err := p.feed(rest[:min(piece, len(rest))])
				if err != nil {
					t.Fatalf("%q in pieces of %d: %v", text, piece, err)
				}
				got += n
				rest = rest[min(piece, len(rest)):]
			}
			if got != messages {
				t.Errorf("%q in pieces of %d: %d messages; want %d", text, piece, got, messages)
			}
		}
	}
}

func TestParserRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range garbage() {
		var p parser
		if n, err := p.feed([]byte(text)); !errors.Is(err, errGarbage) {
			t.Errorf("%.80q: %d messages, %v", text, n, err)
		}
	}
}

func garbage() []string {
	return []string{
		"HTTP/1.1 400 Bad Request\r\n\r\n", "\x00", "\r\n", "+OK\n", "$1\r\nab\r\n", "$2\r\na\r\n.", "$-2\r\n", "$\r\n", "$x\r\n",
		"$99999999\r\n", "$99999999999999999999\r\n", "$9223372036854775807\r\n", "$18446744073709551616\r\n", "*99999999\r\n",
		"%-1\r\n", "~-1\r\n", ">-1\r\n", "*-2\r\n", "_x\r\n", "_xx", "##\x91##\x91K", "#x\r\n", "#\r\n", "#tt\r\n", ":\r\n", ":x\r\n", ":1-\r\n", "--1\n", "*?\r\n", "$?\r\n", "|1\r\n",
		">0\r\n", ">1\r\n+invalidate\r\n", ">2\r\n+subscribe\r\n+a\r\n", ">2\r\n$9\r\nsubscribe\r\n", ">3\r\n$7\r\nmessage\r\n",
		">2\r\n:1\r\n", ">2\r\n*0\r\n", "*1\r\n>2\r\n", strings.Repeat("*1\r\n", 9), "+" + strings.Repeat("a", maxLineBytes+1),
	}
}

func FuzzParser(f *testing.F) {
	f.Add([]byte("*2\r\n$1\r\na\r\n:1\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n"), uint8(3))
	for _, text := range garbage() {
		f.Add([]byte(text), uint8(1))
	}
	f.Fuzz(func(t *testing.T, data []byte, piece uint8) {
		var whole, cut parser
		want, failed := whole.feed(data)
		got, rest := 0, data
		var err error
		for len(rest) > 0 && err == nil {
			var n int
			size := min(int(piece%16)+1, len(rest))
			n, err = cut.feed(rest[:size])
			got, rest = got+n, rest[size:]
		}
		if got != want || (err == nil) != (failed == nil) {
			t.Errorf("%q: %d messages, %v as a whole; %d, %v in pieces", data, want, failed, got, err)
		}
	})
}

// FuzzLibrary lets a server that has introduced itself properly answer the first command with anything. Nothing
// of it may crash the process, which the library on its own does, or keep the caller waiting.
func FuzzLibrary(f *testing.F) {
	f.Add([]byte("$1\r\na\r\n"))
	f.Add([]byte("+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:5\r\n$1\r\na\r\n"))
	f.Add([]byte("+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*1\r\n:5\r\n"))
	f.Add([]byte(">2\r\n+invalidate\r\n*1\r\n:5\r\n+OK\r\n"))
	f.Add([]byte("+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n"))
	for _, text := range garbage() {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		client, err := rueidis.NewClient(rueidis.ClientOption{
			InitAddress: []string{"x:1"}, ForceSingleClient: true, PipelineMultiplex: -1, AlwaysPipelining: true, DisableRetry: true,
			ClientSetInfo: rueidis.DisableClientSetInfo, ReadBufferEachConn: 4 << 10, WriteBufferEachConn: 4 << 10, RingScaleEachConn: 4,
			DialCtxFn: func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go serve(theirs, answer)
				return &checkedConn{Conn: ours}, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_ = safely(func() error {
			_, _, err := text(client.DoCache(ctx, client.B().Get().Key("k").Cache(), time.Minute))
			return err
		})
		_ = safely(func() error {
			_, err := client.Do(ctx, client.B().Mget().Key("k").Build()).ToArray()
			return err
		})
		if ctx.Err() != nil {
			t.Errorf("%q keeps the caller waiting", answer)
		}
	})
}

// serve is a Redis that introduces itself, answers what comes then, and hangs up.
func serve(conn net.Conn, answer []byte) {
	defer func() { _ = conn.Close() }()
	var asked parser
	commands := 0
	buffer := make([]byte, 4<<10)
	greeting := "%2\r\n$5\r\nproto\r\n:3\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n+OK\r\n"
	for introduced := false; ; {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		more, _ := asked.feed(buffer[:n])
		if commands += more; commands < 2 {
			continue
		}
		if !introduced {
			introduced = true
			if _, err := io.Copy(conn, strings.NewReader(greeting)); err != nil || commands == 2 {
				continue
			}
		}
		go func() { _, _ = io.Copy(io.Discard, conn) }() // so that neither side blocks on the other
		_, _ = io.Copy(conn, bytes.NewReader(answer))
		return
	}
}

package forwardauth

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const clientTimeout = 15 * time.Second

// ask is a request as a client writes it, byte for byte.
type ask struct {
	method, target string // "GET" and "/orders/1" unless said
	bearer         string
	header         []string // whole lines
	body           string
	id             string // of the request; a new one unless said
	host           string
}

// answer is what the client got, and what became of the request behind the proxy.
type answer struct {
	status   int
	header   http.Header
	body     string
	reached  bool
	arrival  arrival
	question question
}

var ids atomic.Int64

// send sends a request to a proxy.
func (b *bench) send(t *testing.T, proxy string, a ask) answer {
	t.Helper()
	a.id = cmp.Or(a.id, "id-"+strconv.FormatInt(ids.Add(1), 10))
	lines := []string{
		fmt.Sprintf("%s %s HTTP/1.1", cmp.Or(a.method, "GET"), cmp.Or(a.target, "/orders/1")),
		"Host: " + cmp.Or(a.host, proxy), "X-Request-ID: " + a.id, "Connection: close",
	}
	if a.bearer != "" {
		lines = append(lines, "Authorization: Bearer "+a.bearer)
	}
	if a.body != "" {
		lines = append(lines, "Content-Length: "+strconv.Itoa(len(a.body)))
	}
	lines = append(lines, a.header...)

	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", proxy)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(clientTimeout))
	_, _ = io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"+a.body) // whoever refuses early may not read it all
	req := httptest.NewRequest(cmp.Or(a.method, "GET"), "/", nil)
	res, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		t.Fatalf("%s: %v", lines[0], err)
	}
	defer func() { _ = res.Body.Close() }()
	body, _ := io.ReadAll(res.Body)
	got := answer{status: res.StatusCode, header: res.Header, body: string(body)}
	got.arrival, got.reached, got.question = b.reached(a.id)
	return got
}

// want checks a status, and that nothing but 200 means that a service was reached.
func (a answer) want(t *testing.T, status int) {
	t.Helper()
	if a.status != status || a.reached != (status == http.StatusOK) {
		t.Errorf("status %d, reached %v; want %d\n%s", a.status, a.reached, status, a.body)
	}
}

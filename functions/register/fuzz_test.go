package register

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzRegistration posts anything at all: it is refused field by field, or stored and handed out as it was sent, by
// get, by list and by watch.
func FuzzRegistration(f *testing.F) {
	full := `{"service_id":"backend-services-1","service_name":"backend","version":"1.2.3","environment":"production","region":"us-central1",
		"endpoints":[{"name":"api","url":"https://api.isectech.com/v1","protocol":"https","port":443,"path":"/x","methods":["GET"],"is_public":true}],
		"health_check":{"enabled":true,"path":"/health?x=1","interval":"10s","timeout":1000000000,"healthy_threshold":1,"unhealthy_threshold":9},
		"metadata":{"Größe":"ja nein","":"x"},"tags":["日本語","a b"],"weight":1000,"lease":"1m30s"}`
	with := func(member string) string {
		return `{"service_id":"backend-services-1","service_name":"backend","environment":"production",` + member + `}`
	}
	many := strings.TrimSuffix(strings.Repeat(`"t",`, 10_000), ",")
	for _, seed := range []string{
		full, strings.Replace(full, `,"":"x"`, "", 1), with(`"weight":0`), `{}`, ``, `[]`, `null`, `{"service_id":`, full + full,
		with(`"tags":[` + many + `]`), with(`"metadata":` + strings.Repeat(`{"a":`, 5000) + `1` + strings.Repeat("}", 5000)),
		with(`"metadata":{"a":{"b":"c"}}`), with(`"weight":1e400`), with(`"weight":123456789012345678901234567890`), with(`"weight":1.0`),
		with(`"weight":-0`), with(`"lease":9223372036854775808`), with(`"lease":"2562048h"`), with(`"lease":1000000000`), with(`"lease":"1000ms"`),
		with(`"weight":1,"weight":1`), with(`"metadata":{"a":"1","a":"2"}`), with(`"Weight":1`), with(`"tags":["a\u0000b"]`), with("\"tags\":[\"\x00\"]"),
		with("\"tags\":[\"\xff\"]"), with(`"tags":["\ud800"]`), with(`"tags":["\u202e"]`), with(`"tags":["é","é"]`), with("\"tags\":[\"\\u0065\\u0301\"]"),
		with(`"version":"<script>&amp;\u2028"`), with(`"version":"1.0.0+é"`), with(`"metadata":{"a.b[0]":"\\\"/"}`), with(`"region":"../../etc"`),
		with(`"endpoints":[{"name":"a","url":"http://169.254.169.254/"}]`), with(`"endpoints":[{"name":"a","url":"HTTPS://API.isectech.com:443/%7Ex/../y"}]`),
		with(`"endpoints":[{"name":"a","url":"https://xn--bcher-kva.example/"}]`), with(`"endpoints":[{"name":"a","url":"grpc://api.isectech.com:443"}]`),
		with(`"endpoints":[{"name":"a","url":"https://[2606:4700::1111]:8443/"}]`), with(`"endpoints":[{"name":"a","url":"http://0x7f000001/"}]`),
		strings.Replace(full, "backend-services-1", "backend-services-\\u0031", 1), "\ufeff" + full, " \t\r\n" + full + "\n",
		with(`"metadata":null`), with(`"tags":[]`), with(`"tags":["` + strings.Repeat("x", 70_000) + `"]`),
	} {
		f.Add([]byte(seed))
	}
	fx := newFixture(f)
	// The token does not wear out: the clock stands.
	token := fx.command(f, "", "", "").Auth
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) == 0 {
			return // comes without a content type
		}
		index := fx.call(t, token, http.MethodGet, services, "").Header().Get("X-Registry-Index")
		w := fx.call(t, token, http.MethodPost, "/internal/registry/register", string(body))
		if refusedWell(t, w.Code, w.Body.Bytes(), body) {
			return
		}
		if !utf8.Valid(body) || len(body) > 64<<10 {
			t.Fatalf("%q was taken", body)
		}
		var sent map[string]any
		decode(t, body, &sent)
		id, _ := sent["service_id"].(string)
		defer func() {
			if w := fx.call(t, token, http.MethodDelete, services+"/"+id, ""); w.Code != http.StatusNoContent {
				t.Fatalf("DELETE %s: %d", id, w.Code)
			}
		}()
		var one map[string]any
		decode(t, fx.call(t, token, http.MethodGet, services+"/"+id, "").Body.Bytes(), &one)
		holds(t, "", normal(sent), one)

		var list struct {
			Services []map[string]any `json:"services"`
		}
		decode(t, fx.call(t, token, http.MethodGet, services+"?limit=500", "").Body.Bytes(), &list)
		if len(list.Services) != 1 || !reflect.DeepEqual(list.Services[0], one) {
			t.Fatalf("listed as %v, got as %v", list.Services, one)
		}
		var news struct {
			Changes []struct {
				Type    string         `json:"type"`
				Service map[string]any `json:"service"`
			} `json:"changes"`
		}
		if index == "0" {
			return // a watcher that begins at 0 is told of everything, by other types
		}
		decode(t, fx.call(t, token, http.MethodGet, "/internal/registry/watch?wait=1s&index="+index, "").Body.Bytes(), &news)
		if n := len(news.Changes); n == 0 || !reflect.DeepEqual(news.Changes[n-1].Service, one) {
			t.Fatalf("watched as %v, got as %v", news.Changes, one)
		}
	})
}

// refusedWell reports whether a registration was refused, which must be for a reason that its sender can act on.
func refusedWell(t *testing.T, code int, answer, body []byte) bool {
	t.Helper()
	var refusal struct {
		Error  string `json:"error"`
		Fields []struct {
			Field   string `json:"field"`
			Message string `json:"message"`
		} `json:"fields"`
	}
	switch code {
	case http.StatusOK, http.StatusCreated:
		return false
	case http.StatusBadRequest:
		decode(t, answer, &refusal)
		if refusal.Error != "invalid_request" || len(refusal.Fields) == 0 {
			t.Fatalf("%q is refused without a word: %s", body, answer)
		}
		for _, field := range refusal.Fields {
			if field.Message == "" || len(field.Field) > 1024 || len(field.Message) > 1024 {
				t.Fatalf("%q: finding %+v", body, field)
			}
		}
		if len(refusal.Fields) > 65 || !utf8.Valid(answer) {
			t.Fatalf("%q: %d findings", body, len(refusal.Fields))
		}
	case http.StatusForbidden, http.StatusRequestEntityTooLarge: // whose it is is settled first
	default:
		t.Fatalf("%q: %d %s", body, code, answer)
	}
	return true
}

func decode(t *testing.T, text []byte, v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
}

// normal brings a registration as it may be sent into the form in which it is handed out.
func normal(sent map[string]any) map[string]any {
	sent["service_name"] = backend
	durations := func(of map[string]any, names ...string) {
		for _, name := range names {
			switch d := of[name].(type) {
			case json.Number:
				n, _ := strconv.ParseInt(d.String(), 10, 64)
				of[name] = time.Duration(n)
			case string:
				if parsed, err := time.ParseDuration(d); err == nil {
					of[name] = parsed
				}
			}
		}
	}
	durations(sent, "lease")
	if check, ok := sent["health_check"].(map[string]any); ok {
		durations(check, "interval", "timeout")
	}
	return sent
}

// holds fails unless everything that was sent is handed out. What is empty may be left out.
func holds(t *testing.T, path string, sent, got any) {
	t.Helper()
	switch want := sent.(type) {
	case map[string]any:
		has, _ := got.(map[string]any)
		for name, value := range want {
			holds(t, path+"."+name, value, has[name])
		}
		if path == ".metadata" && len(has) != len(want) {
			t.Fatalf("%s: %v, want %v", path, got, sent)
		}
	case []any:
		has, _ := got.([]any)
		if len(has) != len(want) {
			t.Fatalf("%s: %v, want %v", path, got, sent)
		}
		for i := range want {
			holds(t, fmt.Sprintf("%s[%d]", path, i), want[i], has[i])
		}
	case time.Duration:
		text, _ := got.(string)
		if has, err := time.ParseDuration(text); (err != nil || has != want) && !(want == 0 && got == nil) {
			t.Fatalf("%s: %v, want %v", path, got, want)
		}
	case json.Number:
		a, errA := strconv.ParseInt(want.String(), 10, 64)
		has, _ := got.(json.Number)
		b, errB := strconv.ParseInt(has.String(), 10, 64)
		if a != b || errA != nil || errB != nil && a != 0 {
			t.Fatalf("%s: %v, want %v", path, got, want)
		}
	case bool:
		if has, ok := got.(bool); has != want || !ok && want {
			t.Fatalf("%s: %v, want %v", path, got, want)
		}
	case string:
		if has, ok := got.(string); has != want || !ok && want != "" {
			if (strings.HasSuffix(path, ".protocol")) && want == "" {
				return // from the URL
			}
			t.Fatalf("%s: %q, want %q", path, got, want)
		}
	default:
		t.Fatalf("%s: %v was taken", path, sent)
	}
}

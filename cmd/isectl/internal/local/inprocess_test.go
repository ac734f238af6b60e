package local

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// elsewhere is where requests go that are not for functions of this process.
type elsewhere struct{ asked []string }

var errElsewhere = errors.New("elsewhere")

func (e *elsewhere) RoundTrip(r *http.Request) (*http.Response, error) {
	e.asked = append(e.asked, r.URL.String())
	return nil, errElsewhere
}

func TestFunctionsInProcess(t *testing.T) {
	t.Parallel()
	var seen *http.Request
	others := new(elsewhere)
	f := &functions{others: others}
	for name, h := range map[string]http.HandlerFunc{
		"Echo": func(w http.ResponseWriter, r *http.Request) {
			seen = r
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			w.Header().Set("X-Answer", "yes")
			w.WriteHeader(http.StatusAccepted)
			w.WriteHeader(http.StatusTeapot) // too late, as with a server
			_, _ = w.Write(body)
		},
		"Silent": func(http.ResponseWriter, *http.Request) {},
	} {
		f.add(name, h)
	}
	client := &http.Client{Transport: f}
	post := func(url string) (int, string, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("data"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(r)
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		return res.StatusCode, string(body) + res.Header.Get("X-Answer"), err
	}
	if code, body, err := post(endpointOf("Echo")); code != http.StatusAccepted || body != "datayes" || err != nil {
		t.Errorf("%d %q %v", code, body, err)
	}
	if seen.RequestURI != "/Echo" || seen.RemoteAddr == "" || seen.Host != functionsHost {
		t.Errorf("a server's request has more: %q %q %q", seen.RequestURI, seen.RemoteAddr, seen.Host)
	}
	if code, body, err := post(endpointOf("Silent")); code != http.StatusOK || body != "" || err != nil {
		t.Errorf("of a handler that says nothing: %d %q %v", code, body, err)
	}
	if _, _, err := post(endpointOf("Other")); err == nil || errors.Is(err, errElsewhere) {
		t.Errorf("a function that is not there: %v", err)
	}
	// A host that only looks like it is not this process's.
	for _, url := range []string{"http://" + functionsHost + ".:80/Echo", "http://" + functionsHost + ":8080/Echo", "http://127.0.0.1:1/Echo"} {
		if _, _, err := post(url); !errors.Is(err, errElsewhere) {
			t.Errorf("%s: %v", url, err)
		}
	}
	f.others = nil
	if _, _, err := post("http://127.0.0.1:1/Echo"); err == nil || errors.Is(err, errElsewhere) || len(others.asked) != 3 {
		t.Errorf("without others: %v, asked %v", err, others.asked)
	}
}

package redis

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]address{
		"redis://10.0.0.20":                  {host: "10.0.0.20", port: "6379"},
		"redis://10.0.0.20:6380/":            {host: "10.0.0.20", port: "6380"},
		"rediss://cache.internal:6378/3":     {host: "cache.internal", port: "6378", database: 3, encrypted: true},
		"redis://:p%40ss@[::1]:1":            {host: "::1", port: "1", password: "p@ss"},
		"redis://platform:pass@localhost/15": {host: "localhost", port: "6379", user: "platform", password: "pass", database: 15},
	} {
		got, err := parseURL(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(address{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", url, diff)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for _, url := range []string{
		"", secret, "localhost:6379", "redis:localhost", "redis://", "redis:///0", "redis://:6379", "http://:" + secret + "@localhost",
		"redis://:" + secret + "@localhost:port", "redis://:" + secret + "@localhost:0", "redis://:" + secret + "@localhost:65536",
		"redis://:" + secret + "@localhost/" + secret, "redis://:" + secret + "@localhost/-1", "redis://:" + secret + "@localhost/+1",
		"redis://:" + secret + "@localhost/1/2", "redis://:" + secret + "@localhost/99999999999",
		"rediss://:" + secret + "@localhost?skip_verify=true", "redis://:" + secret + "@localhost?", "redis://:" + secret + "@localhost#a",
		"redis://" + secret + "@localhost", "redis://:" + secret + "@local host", "redis://:" + secret + "%zz@localhost",
		"unix:///tmp/redis.sock",
	} {
		_, err := Open(url, Options{Now: time.Now})
		switch {
		case err == nil:
			t.Errorf("%q is accepted", url)
		case strings.Contains(err.Error(), secret):
			t.Errorf("%q: the error tells the password: %v", url, err)
		}
	}
	if _, err := Open("redis://localhost", Options{}); err == nil {
		t.Error("a client without a clock")
	}
}

func TestPasswordIsMasked(t *testing.T) {
	t.Parallel()
	c, err := Open("redis://platform:hunter2@127.0.0.1:1/2", Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", slog.Any("redis", c))
	if got := c.String() + log.String(); strings.Contains(got, "hunter2") || !strings.Contains(got, "redis://127.0.0.1:1/2") {
		t.Error(got)
	}
	if err := c.Ping(t.Context()); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}

func FuzzParseURL(f *testing.F) {
	f.Add("rediss://platform:pass@cache.internal:6378/3")
	f.Fuzz(func(t *testing.T, url string) {
		a, err := parseURL(url)
		if err == nil && (a.host == "" || a.port == "" || a.database < 0) {
			t.Errorf("%q: %+v", url, a)
		}
	})
}

package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/platform/config"
)

func env(pairs ...string) func(string) (string, bool) {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) (string, bool) { v, ok := m[name]; return v, ok }
}

type server struct {
	Port    config.Port `env:"PORT, default=8080" desc:"Port to listen on."`
	Workers int         `env:"WORKERS, default=4"`
	MTLS    bool        `env:"ENABLE_PROBE"`
}

type full struct {
	config.Base
	Server   server
	Registry config.URL    `env:"SERVICE_REGISTRY_URL"`
	Wait     time.Duration `env:"WAIT, default=1s"`
	Key      config.Secret `env:"KEY, required" desc:"Signs | seals."`
	Tags     []string      `env:"TAGS, default=a,b"`
	ignored  int
	Plain    string
}

func (f *full) Validate() error {
	if f.Server.MTLS && len(f.TrustedProxyMarker) == 0 {
		return config.Faultf("ENABLE_PROBE", "needs TRUSTED_PROXY_MARKER")
	}
	return nil
}

func TestLoad(t *testing.T) {
	t.Parallel()
	got := full{Plain: "kept", ignored: 7}
	err := config.Load(env(
		"PORT", "0", "KEY", "k$1", "ENVIRONMENT", "staging", "LOG_LEVEL", "WARN", "GOOGLE_CLOUD_PROJECT", "example.com:p-1",
		"SERVICE_REGISTRY_URL", "https://r.example/x", "WORKERS", "", "TRUSTED_PROXY_MARKER", "0123456789abcdef, fedcba9876543210",
	), &got)
	if err != nil {
		t.Fatal(err)
	}
	want := full{Plain: "kept", ignored: 7, Wait: time.Second, Key: config.NewSecret("k$1"), Tags: []string{"a", "b"}}
	want.Server.Workers = 4
	want.LogLevel = config.LogLevel(slog.LevelWarn)
	want.Environment = auth.Staging
	want.Project = "example.com:p-1"
	want.RequestTimeout = config.PositiveDuration(time.Minute)
	want.EnableMTLS, want.TrustedProxyHops = true, 1
	want.ProxyCertificates = "both"
	want.TrustedProxyMarker = config.ProxyMarkers{config.NewSecret("0123456789abcdef"), config.NewSecret("fedcba9876543210")}
	if got.Registry.String() != "https://r.example/x" {
		t.Errorf("SERVICE_REGISTRY_URL = %q", got.Registry)
	}
	got.Registry = config.URL{}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(full{})); d != "" {
		t.Error(d)
	}
}

func TestLoadFaults(t *testing.T) {
	t.Parallel()
	const long = "https://user:hunter2hunter2@r.example"
	tests := []struct {
		name string
		env  []string
		want string
	}{
		{"all at once, in the order of the fields",
			[]string{"PORT", "x", "ENVIRONMENT", "prod", "LOG_LEVEL", "loud"},
			`config: LOG_LEVEL: "loud": want debug, info, warn or error; PORT: "x" is not a number; KEY: is required; ENVIRONMENT: "prod": want production, staging or development`},
		{"number out of range", []string{"KEY", "k", "PORT", "70000"}, `config: PORT: "70000" is not a port: want 0 to 65535`},
		{"plain number", []string{"KEY", "k", "WORKERS", "many"}, `config: WORKERS: "many" is not a number`},
		{"plain number out of range", []string{"KEY", "k", "WORKERS", "99999999999999999999"}, `config: WORKERS: "99999999999999999999" is out of range`},
		{"one of four words", []string{"KEY", "k", "TRUSTED_PROXY_CERTIFICATES", "nginx"}, `config: TRUSTED_PROXY_CERTIFICATES: "nginx": want google, envoy, both or none`},
		{"boolean", []string{"KEY", "k", "ENABLE_PROBE", "maybe"}, `config: ENABLE_PROBE: "maybe" is neither true nor false`},
		{"duration", []string{"KEY", "k", "WAIT", "5"}, `config: WAIT: "5" is not a duration such as 30s`},
		{"duration of nothing", []string{"KEY", "k", "REQUEST_TIMEOUT", "0s"}, `config: REQUEST_TIMEOUT: "0s" is not more than nothing`},
		{"duration too long", []string{"KEY", "k", "REQUEST_TIMEOUT", "2h"}, `config: REQUEST_TIMEOUT: 2h0m0s is more than 1h0m0s`},
		{"URL with a password stays inside", []string{"KEY", "k", "SERVICE_REGISTRY_URL", long}, `config: SERVICE_REGISTRY_URL: is a URL with credentials in it`},
		{"URL that does not parse stays inside", []string{"KEY", "k", "SERVICE_REGISTRY_URL", long + "/%zz"}, `config: SERVICE_REGISTRY_URL: is not a URL`},
		{"URL of another scheme", []string{"KEY", "k", "SERVICE_REGISTRY_URL", "ftp://a"}, `config: SERVICE_REGISTRY_URL: want a URL that starts with https:// or http://`},
		{"URL without host", []string{"KEY", "k", "SERVICE_REGISTRY_URL", "http://:80"}, `config: SERVICE_REGISTRY_URL: is a URL without a host`},
		{"emulator with a scheme", []string{"KEY", "k", "FIRESTORE_EMULATOR_HOST", "http://a:1"}, `config: FIRESTORE_EMULATOR_HOST: "http://a:1" is not host:port`},
		{"emulator port", []string{"KEY", "k", "FIRESTORE_EMULATOR_HOST", "a:0"}, `config: FIRESTORE_EMULATOR_HOST: "a:0": the port is not a number between 1 and 65535`},
		{"emulator in production", []string{"KEY", "k", "FIRESTORE_EMULATOR_HOST", "a:1", "K_SERVICE", "authz"}, `config: FIRESTORE_EMULATOR_HOST: must not be set on Cloud Run`},
		{"project", []string{"KEY", "k", "GOOGLE_CLOUD_PROJECT", "Upper"}, `config: GOOGLE_CLOUD_PROJECT: "Upper" is not a project id (lower-case letters, digits and hyphens)`},
		{"secret with a newline", []string{"KEY", "hunter2\n"}, `config: KEY: contains a control character, such as a newline at its end`},
		{"short marker", []string{"KEY", "k", "TRUSTED_PROXY_MARKER", "hunter2"}, `config: TRUSTED_PROXY_MARKER: want values of at least 16 characters`},
		{"three markers", []string{"KEY", "k", "TRUSTED_PROXY_MARKER", "a,b,c"}, `config: TRUSTED_PROXY_MARKER: want at most two values separated by a comma`},
		{"marker of other bytes", []string{"KEY", "k", "TRUSTED_PROXY_MARKER", "hunter2hunter2hunter\xa02"}, `config: TRUSTED_PROXY_MARKER: want values of visible ASCII characters`},
		{"rule across variables", []string{"KEY", "k", "ENABLE_PROBE", "true"}, `config: ENABLE_PROBE: needs TRUSTED_PROXY_MARKER`},
		{"one line whatever is quoted", []string{"KEY", "k", "ENVIRONMENT", "a\nb\x00"}, `config: ENVIRONMENT: "a\nb\x00": want production, staging or development`},
		{"long values are cut", []string{"KEY", "k", "WORKERS", strings.Repeat("9a", 60)}, `config: WORKERS: "` + strings.Repeat("9a", 40) + `…" is not a number`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := config.Load(env(tt.env...), &full{})
			if err == nil {
				t.Fatal("no error")
			}
			if d := cmp.Diff(tt.want, err.Error()); d != "" {
				t.Error(d)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the message shows a secret: %s", err)
			}
			if _, ok := errors.AsType[*config.Error](err); !ok {
				t.Errorf("%T is no *config.Error", err)
			}
		})
	}
}

type badRule struct {
	A string `env:"A"`
}

func (badRule) Validate() error { return errors.New("no variable named") }

func TestLoadMistakes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		dst  any
	}{
		{"no pointer", full{}},
		{"nil pointer", (*full)(nil)},
		{"no struct", new(int)},
		{"a variable twice", &struct {
			A string `env:"X"`
			B string `env:"X"`
		}{}},
		{"unexported", &struct {
			a string `env:"X"`
		}{}},
		{"unknown option", &struct {
			A string `env:"X, requird"`
		}{}},
		{"required with a default", &struct {
			A string `env:"X, required, default=1"`
		}{}},
		{"bad name", &struct {
			A string `env:"X-Y"`
		}{}},
		{"a rule that names no variable", &badRule{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := config.Load(env(), tt.dst)
			if err == nil {
				t.Fatal("no error")
			}
			if _, ok := errors.AsType[*config.Error](err); ok {
				t.Errorf("%v: reported as a fault of a variable", err)
			}
		})
	}
}

func TestSecretNeverShows(t *testing.T) {
	t.Parallel()
	const value = "hunter2"
	s := config.NewSecret(value)
	holder := struct {
		S config.Secret
		u config.Secret
		P *config.Secret
		M config.ProxyMarkers
	}{s, s, &s, config.ProxyMarkers{s}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		fmt.Fprintf(&out, verb+" "+verb+" "+verb+"\n", s, holder, &holder)
	}
	log := slog.New(slog.NewJSONHandler(&out, nil))
	log.Info("x", "s", s, "holder", holder)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "s", s, "holder", holder)
	if err := json.NewEncoder(&out).Encode(holder); err != nil {
		t.Fatal(err)
	}
	text, _ := s.MarshalText()
	out.Write(text)
	if strings.Contains(out.String(), value) || strings.Contains(out.String(), fmt.Sprintf("%x", value)) {
		t.Errorf("the secret shows:\n%s", out.String())
	}
	if s.Reveal() != value || !s.Equal(config.NewSecret(value)) || s.Equal(config.NewSecret("other")) {
		t.Error("the value is not kept")
	}
	if got := fmt.Sprintf("%v|%#v|%s", config.Secret{}, config.Secret{}, config.NewSecret("")); got != "|config.Secret()|" {
		t.Errorf("an empty secret shows as %q", got)
	}
}

func TestProxyMarkersMatch(t *testing.T) {
	t.Parallel()
	two := config.ProxyMarkers{config.NewSecret("0123456789abcdef"), config.NewSecret("fedcba9876543210")}
	for _, tt := range []struct {
		markers config.ProxyMarkers
		value   string
		want    bool
	}{
		{two, "0123456789abcdef", true},
		{two, "fedcba9876543210", true},
		{two, "0123456789abcdeF", false},
		{two, "0123456789abcdef,fedcba9876543210", false},
		{two, "", false},
		{nil, "", false},
		{nil, "0123456789abcdef", false},
		{config.ProxyMarkers{{}}, "", false},
	} {
		if got := tt.markers.Match(tt.value); got != tt.want {
			t.Errorf("Match(%q) with %d markers = %v", tt.value, len(tt.markers), got)
		}
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	type c struct {
		Server server
		Key    config.Secret `env:"KEY, required" desc:"Signs | seals."`
		Tags   []string      `env:"TAGS, default=a,b" desc:"Tags."`
	}
	got, err := config.Describe(&c{})
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Variable{
		{Name: "PORT", Default: "8080", Meaning: "Port to listen on."},
		{Name: "WORKERS", Default: "4"},
		{Name: "ENABLE_PROBE"},
		{Name: "KEY", Meaning: "Signs | seals.", Required: true, Secret: true},
		{Name: "TAGS", Default: "a,b", Meaning: "Tags."},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	const table = "| variable | default | meaning |\n|---|---|---|\n" +
		"| `KEY` | required | Signs \\| seals. Secret: never logged. |\n| `TAGS` | `a,b` | Tags. |\n"
	if d := cmp.Diff(table, config.Markdown(got[3:])); d != "" {
		t.Error(d)
	}
}

// Every variable of Base says what it is for, since the documentation is made from it.
func TestBaseIsDescribed(t *testing.T) {
	t.Parallel()
	all, err := config.Describe(&config.Base{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		if v.Meaning == "" {
			t.Errorf("%s has no desc", v.Name)
		}
		if v.Secret != (v.Name == "TRUSTED_PROXY_MARKER" || v.Name == "REDIS_URL") {
			t.Errorf("%s: secret is %v", v.Name, v.Secret)
		}
	}
}

// embedding has its Validate from Base, and rule has one that speaks of a variable that cannot be read.
type embedding struct{ config.Base }

type rule struct {
	Workers int `env:"WORKERS"`
}

func (r *rule) Validate() error {
	if r.Workers == 0 {
		return config.Faultf("WORKERS", "must not be 0")
	}
	return nil
}

func TestEveryFaultIsReportedOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		dst  any
		want string
	}{
		{&embedding{}, `config: ENVIRONMENT: "prod": want production, staging or development`},
		{&rule{}, `config: WORKERS: "x" is not a number`},
	} {
		err := config.Load(env("ENVIRONMENT", "prod", "WORKERS", "x"), tt.dst)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%T: %v", tt.dst, err)
		}
	}
}

package registry_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/registry"
)

// seedJSON is the registration of the seed document's example.
const seedJSON = `{
  "service_id": "backend-services-001",
  "service_name": "isectech-backend-services",
  "version": "2.0.0",
  "environment": "production",
  "endpoints": [
    {"name": "api", "url": "https://api.isectech.com", "protocol": "https", "port": 443,
     "methods": ["GET", "POST", "PUT", "DELETE"]}
  ],
  "health_check": {"enabled": true, "path": "/health", "interval": 30000000000, "timeout": "5s"}
}`

func seed() registry.Registration {
	return registry.Registration{
		ServiceID: "backend-services-001", ServiceName: "isectech-backend-services", Version: "2.0.0",
		Environment: auth.Production,
		Endpoints: []registry.Endpoint{{
			Name: "api", URL: "https://api.isectech.com", Protocol: "https", Port: 443,
			Methods: []string{"GET", "POST", "PUT", "DELETE"},
		}},
		HealthCheck: registry.HealthCheck{
			Enabled: true, Path: "/health", Interval: registry.Duration(30 * time.Second), Timeout: registry.Duration(5 * time.Second),
			HealthyThreshold: 2, UnhealthyThreshold: 3,
		},
		Weight: 1, Lease: registry.Duration(90 * time.Second),
	}
}

func TestDecodeSeed(t *testing.T) {
	t.Parallel()
	got, found := registry.DecodeAndCheck([]byte(seedJSON), registry.Rules{Names: names{}})
	if len(found) > 0 {
		t.Fatalf("findings: %v", found)
	}
	if diff := cmp.Diff(seed(), got); diff != "" {
		t.Errorf("registration (-want +got):\n%s", diff)
	}
	out, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	again, found := registry.Decode(out)
	if diff := cmp.Diff(got, again); diff != "" || len(found) > 0 {
		t.Errorf("after a round trip (-want +got):\n%s\nfindings: %v", diff, found)
	}
	if want := `"interval":"30s","timeout":"5s"`; !strings.Contains(string(out), want) || !strings.Contains(string(out), `"lease":"90s"`) {
		t.Errorf("durations are not strings: %s", out)
	}
}

func TestDecodeFullRegistration(t *testing.T) {
	t.Parallel()
	const full = `{"service_id":"backend-services-002","service_name":"isectech-backend-services","version":"2.1.0-rc.1+b7",
	"environment":"development","region":"us-central1","endpoints":[
	{"name":"api","url":"http://127.0.0.1:8081/v1","protocol":"http","port":8081,"path":"/v1","methods":["GET"],"is_public":true},
	{"name":"rpc","url":"http://10.0.0.5:50051","protocol":"grpc"},
	{"name":"db","url":"tcp://[fd00::1]:5432"}],
	"health_check":{"enabled":true,"path":"/health?deep=1","interval":"1s","timeout":"250ms","healthy_threshold":1,"unhealthy_threshold":5},
	"metadata":{"team":"core","Ünï":"日本語 text"},"tags":["v2","canary green"],"weight":0,"lease":"0s"}`
	got, found := registry.DecodeAndCheck([]byte(full), registry.Rules{Names: names{}, AllowLoopback: true, MinInterval: time.Second})
	if len(found) > 0 {
		t.Fatalf("findings: %v", found)
	}
	want := registry.Registration{
		ServiceID: "backend-services-002", ServiceName: "isectech-backend-services", Version: "2.1.0-rc.1+b7",
		Environment: auth.Development, Region: "us-central1",
		Endpoints: []registry.Endpoint{
			{Name: "api", URL: "http://127.0.0.1:8081/v1", Protocol: "http", Port: 8081, Path: "/v1", Methods: []string{"GET"}, IsPublic: true},
			{Name: "rpc", URL: "http://10.0.0.5:50051", Protocol: "grpc", Port: 50051},
			{Name: "db", URL: "tcp://[fd00::1]:5432", Protocol: "tcp", Port: 5432},
		},
		HealthCheck: registry.HealthCheck{
			Enabled: true, Path: "/health?deep=1", Interval: registry.Duration(time.Second),
			Timeout: registry.Duration(250 * time.Millisecond), HealthyThreshold: 1, UnhealthyThreshold: 5,
		},
		Metadata: map[string]string{"team": "core", "Ünï": "日本語 text"}, Tags: []string{"v2", "canary green"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("registration (-want +got):\n%s", diff)
	}
}

// edited returns the seed's registration with members replaced (or, by nil, removed), as JSON.
func edited(members map[string]any) string {
	var doc map[string]any
	if err := json.Unmarshal([]byte(seedJSON), &doc); err != nil {
		panic(err)
	}
	for k, v := range members {
		if v == nil {
			delete(doc, k)
		} else {
			doc[k] = v
		}
	}
	out, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return string(out)
}

func endpointWith(members map[string]any) map[string]any {
	e := map[string]any{"name": "api", "url": "https://api.isectech.com", "protocol": "https", "port": 443}
	maps.Copy(e, members)
	return map[string]any{"endpoints": []any{e}}
}

func health(members map[string]any) map[string]any {
	h := map[string]any{"enabled": true}
	maps.Copy(h, members)
	return map[string]any{"health_check": h}
}

func numbered(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("t%d", i)
	}
	return list
}

func TestFindings(t *testing.T) {
	t.Parallel()
	type fields = map[string]any
	manyMembers := func(n int) map[string]string {
		m := make(map[string]string)
		for _, k := range numbered(n) {
			m[k] = "v"
		}
		return m
	}
	endpoints := func(n int) []any {
		var list []any
		for _, k := range numbered(n) {
			list = append(list, fields{"name": k, "url": "https://api.isectech.com"})
		}
		return list
	}
	tests := []struct {
		name string
		json string
		want string // field:code of each finding, in order
	}{
		{"empty", ``, ":malformed_json"},
		{"no object", `[]`, ":wrong_type"},
		{"null", `null`, ":wrong_type"},
		{"cut off", seedJSON[:100], ":malformed_json"},
		{"more follows", seedJSON + `{}`, ":malformed_json"},
		{"invalid UTF-8", edited(fields{"version": "X"})[:10] + "\xff" + `"}`, ":malformed_json"},
		{"lone surrogate", strings.Replace(seedJSON, "2.0.0", `\ud800`, 1), ":malformed_json"},
		{"too large", edited(fields{"version": strings.Repeat("x", 64<<10)}), ":too_large"},
		{"all required", `{}`, "service_name:required environment:required"},
		{"unknown field", edited(fields{"color": "red"}), "color:unknown_field"},
		{"hostile unknown field", edited(fields{"a.b\n": 1}), `["a.b\n"]:unknown_field`},
		{"wrong case", edited(fields{"Version": "2"}), "Version:unknown_field"},
		{"Go's name", edited(fields{"ServiceID": "x"}), "ServiceID:unknown_field"},
		{"duplicate member", `{"version":"1","version":"2",` + seedJSON[1:], "version:duplicate"},
		{"unknown in endpoint", edited(endpointWith(fields{"Port": 1})), "endpoints[0].Port:unknown_field"},
		{"unknown in health check", edited(health(fields{"intervall": 1})), "health_check.intervall:unknown_field"},
		{"wrong types everywhere", `{"service_id":1,"service_name":null,"version":[],"environment":{},"region":true,
			"endpoints":{},"health_check":[],"metadata":"","tags":{"a":1},"weight":"1","lease":true}`,
			"service_id:wrong_type service_name:wrong_type version:wrong_type environment:wrong_type region:wrong_type " +
				"endpoints:wrong_type health_check:wrong_type metadata:wrong_type tags:wrong_type weight:wrong_type lease:wrong_type"},
		{"wrong types inside", edited(fields{
			"endpoints": []any{1, fields{"name": 1, "url": 2, "protocol": 3, "port": "4", "path": 5, "methods": 6, "is_public": "yes"}},
			"metadata":  fields{"a": 1, "b": nil}, "tags": []any{"x", 2},
		}), "endpoints[0]:wrong_type endpoints[1].is_public:wrong_type endpoints[1].methods:wrong_type endpoints[1].name:wrong_type " +
			"endpoints[1].path:wrong_type endpoints[1].port:wrong_type endpoints[1].protocol:wrong_type endpoints[1].url:wrong_type " +
			"metadata.a:wrong_type metadata.b:wrong_type tags[1]:wrong_type endpoints[0].name:required endpoints[0].url:required"},
		{"fractional weight", edited(fields{"weight": 1.5}), "weight:wrong_type"},
		{"huge weight", strings.Replace(seedJSON, `"version"`, `"weight":99999999999999999999,"version"`, 1), "weight:wrong_type"},
		{"exponent weight", strings.Replace(seedJSON, `"version"`, `"weight":1e2,"version"`, 1), "weight:wrong_type"},

		{"unknown service", edited(fields{"service_name": "isectech-nobody", "service_id": "nobody-1"}), "service_name:unknown_service"},
		{"alias as name", edited(fields{"service_name": "backend"}), "service_name:invalid_value"},
		{"operator as name", edited(fields{"service_name": "operator:a@b.c"}), "service_name:invalid_value"},
		{"service is not there", edited(fields{"environment": "staging"}), "environment:mismatch"},
		{"no environment", edited(fields{"environment": "prod"}), "environment:invalid_value"},
		{"id missing", edited(fields{"service_id": ""}), "service_id:required"},
		{"id malformed", edited(fields{"service_id": "backend-services-001 "}), "service_id:invalid_value"},
		{"id in capitals", edited(fields{"service_id": "Backend-services-001"}), "service_id:invalid_value"},
		{"id is own name", edited(fields{"service_id": "isectech-backend-services"}), "service_id:shadows_a_name"},
		{"id is own alias", edited(fields{"service_id": "backend-services"}), "service_id:shadows_a_name"},
		{"id is a name", edited(fields{"service_id": "isectech-frontend"}), "service_id:shadows_a_name"},
		{"id is an alias", edited(fields{"service_id": "frontend"}), "service_id:shadows_a_name"},
		{"id of another", edited(fields{"service_id": "frontend-001"}), "service_id:mismatch"},
		{"id of nobody", edited(fields{"service_id": "cache-001"}), "service_id:mismatch"},
		{"id without suffix", edited(fields{"service_id": "backend-services-"}), "service_id:mismatch"},
		{"id with full name", edited(fields{"service_id": "isectech-backend-services-001"}), "service_id:mismatch"},
		{"id by listed alias", edited(fields{"service_id": "backend-001"}), ""},
		{"id under longer alias", edited(fields{"service_name": "isectech-admin", "service_id": "admin-tools-001"}), "service_id:mismatch"},
		{"id under own longer alias", edited(fields{"service_name": "isectech-admin-tools", "service_id": "admin-tools-001"}), ""},

		{"version with a space", edited(fields{"version": "2 0"}), "version:invalid_value"},
		{"version with a control", edited(fields{"version": "2\x00"}), "version:invalid_value"},
		{"version too long", edited(fields{"version": strings.Repeat("1", 65)}), "version:invalid_value"},
		{"region", edited(fields{"region": "US central"}), "region:invalid_value"},
		{"weight", edited(fields{"weight": 1001}), "weight:out_of_range"},
		{"negative weight", edited(fields{"weight": -1}), "weight:out_of_range"},
		{"short lease", edited(fields{"lease": "999ms"}), "lease:out_of_range"},
		{"long lease", edited(fields{"lease": "24h1s"}), "lease:out_of_range"},
		{"negative lease", edited(fields{"lease": -1}), "lease:out_of_range"},
		{"lease is no duration", edited(fields{"lease": "90"}), "lease:invalid_value"},
		{"lease of a second", edited(fields{"lease": "1s"}), ""},
		{"no lease", edited(fields{"lease": "0s"}), ""},

		{"33 endpoints", edited(fields{"endpoints": endpoints(33)}), "endpoints:too_many"},
		{"32 endpoints", edited(fields{"endpoints": endpoints(32)}), ""},
		{"no endpoints but a check", edited(fields{"endpoints": []any{}}), "health_check.enabled:mismatch"},
		{"no endpoints", edited(fields{"endpoints": nil, "health_check": nil}), ""},
		{"same endpoint twice", edited(fields{"endpoints": append(endpoints(1), endpoints(1)...)}), "endpoints[1].name:duplicate"},
		{"endpoint name", edited(endpointWith(fields{"name": "API/x"})), "endpoints[0].name:invalid_value"},
		{"endpoint without URL", edited(endpointWith(fields{"url": ""})), "endpoints[0].url:required"},
		{"metadata server", edited(endpointWith(fields{"url": "http://169.254.169.254", "protocol": "http", "port": 80})), "endpoints[0].url:metadata"},
		{"loopback in production", edited(endpointWith(fields{"url": "https://localhost"})), "endpoints[0].url:loopback"},
		{"numeric disguise", edited(endpointWith(fields{"url": "https://2130706433"})), "endpoints[0].url:numeric_host"},
		{"query in URL", edited(endpointWith(fields{"url": "https://api.isectech.com?x"})), "endpoints[0].url:invalid_value"},
		{"protocol", edited(endpointWith(fields{"protocol": "ftp"})), "endpoints[0].protocol:invalid_value"},
		{"protocol and scheme", edited(endpointWith(fields{"protocol": "http"})), "endpoints[0].protocol:mismatch"},
		{"gRPC needs TLS of its own", edited(endpointWith(fields{"protocol": "grpc"})), "endpoints[0].protocol:mismatch"},
		{"grpcs at https", edited(endpointWith(fields{"protocol": "grpcs"})), ""},
		{"port and URL", edited(endpointWith(fields{"port": 8443})), "endpoints[0].port:mismatch"},
		{"port zero", edited(endpointWith(fields{"port": 0})), "endpoints[0].port:out_of_range"},
		{"port too high", edited(endpointWith(fields{"port": 65536})), "endpoints[0].port:out_of_range"},
		{"path", edited(endpointWith(fields{"path": "v1/../x"})), "endpoints[0].path:invalid_value"},
		{"method", edited(endpointWith(fields{"methods": []string{"get", "GET", "GET"}})), "endpoints[0].methods[0]:invalid_value endpoints[0].methods[2]:duplicate"},
		{"17 methods", edited(endpointWith(fields{"methods": numbered(17)})), "endpoints[0].methods:too_many " +
			strings.TrimSpace(strings.Join(func() (l []string) {
				for i := range 16 {
					l = append(l, fmt.Sprintf("endpoints[0].methods[%d]:invalid_value", i))
				}
				return l
			}(), " "))},

		{"interval", edited(health(fields{"interval": "4s"})), "health_check.interval:out_of_range"},
		{"interval zero", edited(health(fields{"interval": "0s"})), "health_check.interval:out_of_range"},
		{"long interval", edited(health(fields{"interval": "2h"})), "health_check.interval:out_of_range"},
		{"timeout above interval", edited(health(fields{"interval": "10s", "timeout": "11s"})), "health_check.timeout:mismatch"},
		{"timeout above default interval", edited(health(fields{"timeout": "31s"})), "health_check.timeout:mismatch"},
		{"negative timeout", edited(health(fields{"timeout": "-1s"})), "health_check.timeout:out_of_range"},
		{"thresholds", edited(health(fields{"healthy_threshold": 0, "unhealthy_threshold": 101})),
			"health_check.healthy_threshold:out_of_range health_check.unhealthy_threshold:out_of_range"},
		{"check path", edited(health(fields{"path": "health"})), "health_check.path:invalid_value"},
		{"check path to elsewhere", edited(health(fields{"path": "/..%2f"})), "health_check.path:invalid_value"},
		{"disabled check is checked", edited(map[string]any{"health_check": fields{"enabled": false, "interval": "1ms"}}), "health_check.interval:out_of_range"},

		{"10,000 tags", edited(fields{"tags": numbered(5000)}), "tags:too_many"},
		{"64 tags", edited(fields{"tags": numbered(64)}), ""},
		{"tags", edited(fields{"tags": []string{"", "a", "a", "b\u202e", "c\u0000", strings.Repeat("x", 129), "d\u00a0e"}}),
			"tags[0]:invalid_value tags[2]:duplicate tags[3]:invalid_value tags[4]:invalid_value tags[5]:invalid_value tags[6]:invalid_value"},
		{"65 metadata", edited(fields{"metadata": manyMembers(65)}), "metadata:too_many"},
		{"metadata", edited(fields{"metadata": fields{"": "x", "k": "v\n", "long": strings.Repeat("x", 1025), "z\u200b": "v"}}),
			`metadata[""]:invalid_value metadata.k:invalid_value metadata.long:invalid_value metadata["z\u200b"]:invalid_value`},
		{"deep metadata", edited(fields{"metadata": fields{"a": fields{"b": []any{1}}}}), "metadata.a:wrong_type"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, found := registry.DecodeAndCheck([]byte(tt.json), registry.Rules{Names: names{}})
			var got []string
			for _, f := range found {
				got = append(got, f.Field+":"+f.Code)
				if f.Message == "" {
					t.Errorf("%s has no message", f.Field)
				}
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("findings (-want +got):\n%s\n%v", diff, found)
			}
		})
	}
}

func TestFindingsAreBounded(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("{")
	for i := range 3000 {
		fmt.Fprintf(&b, `"x%d":1,`, i)
	}
	_, found := registry.Decode([]byte(b.String() + `"y":1}`))
	if len(found) != 65 || found[64].Code != "more_findings" {
		t.Errorf("%d findings, the last %v", len(found), found[len(found)-1])
	}
}

func TestLoopbackNeedsDevelopmentAndConfiguration(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		env     auth.Environment
		allowed bool
		want    int
	}{
		{auth.Development, true, 0}, {auth.Development, false, 1}, {auth.Production, true, 1},
	} {
		reg := seed()
		reg.Environment = tt.env
		reg.Endpoints[0] = registry.Endpoint{Name: "api", URL: "http://127.0.0.1:9000", Protocol: "http", Port: 9000}
		if found := reg.Check(registry.Rules{Names: names{}, AllowLoopback: tt.allowed}); len(found) != tt.want {
			t.Errorf("%s, allowed %t: %v", tt.env, tt.allowed, found)
		}
	}
}

func TestCheckWithoutNames(t *testing.T) {
	t.Parallel()
	reg := seed()
	if found := reg.Check(registry.Rules{}); len(found) != 0 {
		t.Errorf("findings: %v", found)
	}
	reg.ServiceID = "frontend-1"
	if found := reg.Check(registry.Rules{}); len(found) != 1 || found[0].Field != "service_id" {
		t.Errorf("findings: %v", found)
	}
}

func TestDecodePatch(t *testing.T) {
	t.Parallel()
	p, found := registry.DecodePatch([]byte(`{"status":"maintenance","metadata":{"a":"1","b":null},"tags":[],"weight":5}`))
	if len(found) > 0 {
		t.Fatalf("findings: %v", found)
	}
	one, five := "1", 5
	want := registry.Patch{Status: registry.Maintenance, Metadata: map[string]*string{"a": &one, "b": nil}, Tags: &[]string{}, Weight: &five}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("patch (-want +got):\n%s", diff)
	}
	for json, want := range map[string]string{
		`{"status":"healthy"}`:        "status",
		`{"status":"quarantined"}`:    "status",
		`{"status":""}`:               "status",
		`{"status":null}`:             "status",
		`{"lease":"10s"}`:             "lease",
		`{"endpoints":[]}`:            "endpoints",
		`{"metadata":{"a":{}}}`:       "metadata.a",
		`{"weight":null}`:             "weight",
		`{"weight":1,"weight":2}`:     "weight",
		`{"tags":["a",1]}`:            "tags[1]",
		`[{"op":"replace"}]`:          "",
		`{"status":"maintenance"} {}`: "",
	} {
		if _, found := registry.DecodePatch([]byte(json)); len(found) != 1 || found[0].Field != want {
			t.Errorf("DecodePatch(%s): %v, want a finding at %q", json, found, want)
		}
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 90 * time.Second: "90s", time.Minute: "60s", 5 * time.Minute: "5m", time.Hour: "1h",
		24 * time.Hour: "24h", 250 * time.Millisecond: "250ms", 1500 * time.Millisecond: "1.5s", -time.Second: "-1s",
	} {
		if got := registry.Duration(d).String(); got != want {
			t.Errorf("%v is written %q, want %q", d, got, want)
		}
		if back, err := time.ParseDuration(want); err != nil || back != d {
			t.Errorf("%q is read as %v, %v", want, back, err)
		}
	}
}

// FuzzDecode holds that whatever passes survives a round trip unchanged and has nothing in it that the
// rules forbid, and that whatever does not pass has findings in bounds.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(seedJSON))
	f.Add([]byte(edited(map[string]any{"metadata": map[string]any{"k": "v"}, "tags": []string{"a"}, "weight": 0, "lease": "0s"})))
	f.Add([]byte(`{"service_id":"backend-services-1","service_name":"isectech-backend-services","environment":"development"}`))
	f.Add([]byte(`{"endpoints":[{"name":"x","url":"tcp://10.0.0.1:1"}],"ServiceId":"\ud800"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rules := registry.Rules{Names: names{}}
		reg, found := registry.DecodeAndCheck(data, rules)
		if len(found) > 0 {
			if len(found) > 65 {
				t.Fatalf("%d findings", len(found))
			}
			return
		}
		out, err := json.Marshal(reg)
		if err != nil {
			t.Fatal(err)
		}
		again, found := registry.DecodeAndCheck(out, rules)
		if len(found) > 0 && len(out) <= registry.MaxBody {
			t.Fatalf("%s passed, but not when written again: %v", data, found)
		}
		if diff := cmp.Diff(reg, again); diff != "" && len(out) <= registry.MaxBody {
			t.Fatalf("after a round trip (-want +got):\n%s", diff)
		}
		if !reg.Equal(again) || len(out) <= registry.MaxBody && !auth.ValidID(reg.ServiceID) {
			t.Fatalf("%s was let through", data)
		}
	})
}

package forwardauth

import (
	"net/http"
	"strings"
	"testing"
)

// The parts of envoy.yaml that the simulation goes by, as Envoy's API names them.
type (
	envoyFile struct {
		Static struct {
			Listeners []struct {
				Chains []struct {
					Filters []struct {
						Manager envoyManager `yaml:"typed_config"`
					} `yaml:"filters"`
				} `yaml:"filter_chains"`
			} `yaml:"listeners"`
		} `yaml:"static_resources"`
	}
	envoyManager struct {
		NormalizePath  bool   `yaml:"normalize_path"`
		MergeSlashes   bool   `yaml:"merge_slashes"`
		EscapedSlashes string `yaml:"path_with_escaped_slashes_action"`
		Common         struct {
			Underscores string `yaml:"headers_with_underscores_action"`
		} `yaml:"common_http_protocol_options"`
		Filters []struct {
			Name   string      `yaml:"name"`
			Config envoyFilter `yaml:"typed_config"`
		} `yaml:"http_filters"`
		Routes struct {
			Hosts []struct {
				Remove []string     `yaml:"request_headers_to_remove"`
				Routes []envoyRoute `yaml:"routes"`
			} `yaml:"virtual_hosts"`
		} `yaml:"route_config"`
	}
	envoyRoute struct {
		Match     struct{ Prefix string }
		Route     struct{ Cluster string }
		PerFilter map[string]envoyFilter `yaml:"typed_per_filter_config"`
	}
	envoyFilter struct {
		Type      string `yaml:"@type"`
		Mutations struct {
			Request []struct {
				Remove string
				Append struct {
					Header envoyHeader
					Action string `yaml:"append_action"`
				}
			} `yaml:"request_mutations"`
		}
		FailureModeAllow bool                              `yaml:"failure_mode_allow"`
		StatusOnError    struct{ Code string }             `yaml:"status_on_error"`
		Allowed          struct{ Patterns []envoyPattern } `yaml:"allowed_headers"`
		HTTP             struct {
			PathPrefix string `yaml:"path_prefix"`
			Request    struct {
				Add []envoyHeader `yaml:"headers_to_add"`
			} `yaml:"authorization_request"`
			Response struct {
				Upstream struct{ Patterns []envoyPattern } `yaml:"allowed_upstream_headers"`
			} `yaml:"authorization_response"`
		} `yaml:"http_service"`
	}
	envoyHeader  struct{ Key, Value string }
	envoyPattern struct{ Exact, Prefix string }
)

func matches(patterns []envoyPattern, name string) bool {
	name = strings.ToLower(name)
	for _, p := range patterns {
		if p.Exact != "" && p.Exact == name || p.Prefix != "" && strings.HasPrefix(name, p.Prefix) {
			return true
		}
	}
	return false
}

// mutate does what a header_mutation filter does.
func (f envoyFilter) mutate(h http.Header) {
	for _, m := range f.Mutations.Request {
		if m.Remove != "" {
			h.Del(m.Remove)
		}
		if m.Append.Action == "OVERWRITE_IF_EXISTS_OR_ADD" {
			h.Set(m.Append.Header.Key, m.Append.Header.Value)
		}
	}
}

// startEnvoy simulates Envoy's HTTP connection manager with header_mutation, the HTTP service of ext_authz, which
// asks with the method, the host and the path of the request that it asks about, and the router.
func startEnvoy(t *testing.T, b *bench) string {
	t.Helper()
	var file envoyFile
	load(t, "envoy.yaml", b.variables(""), &file)
	m := file.Static.Listeners[0].Chains[0].Filters[0].Manager
	if !m.NormalizePath || !m.MergeSlashes || m.EscapedSlashes != "REJECT_REQUEST" || m.Common.Underscores != "REJECT_REQUEST" {
		t.Fatalf("the paths of envoy.yaml are not normalized: %+v", m)
	}
	clusters := map[string]string{"backend-services": b.backend.Listener.Addr().String(), "frontend": b.frontend.Listener.Addr().String()}
	host := m.Routes.Hosts[0]
	return simulate(t, func(w http.ResponseWriter, r *http.Request) {
		target, ok := envoyNormal(targetOf(r))
		for name := range r.Header {
			ok = ok && !strings.Contains(name, "_")
		}
		if !ok {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		var route *envoyRoute
		for i := range host.Routes {
			if strings.HasPrefix(target, host.Routes[i].Match.Prefix) {
				route = &host.Routes[i]
				break
			}
		}
		if route == nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		r.Header.Del("Connection") // of this hop; what it names stays
		r.Header.Set("X-Forwarded-For", strings.Join(append(r.Header.Values("X-Forwarded-For"), clientAddress(r)), ", "))
		for _, f := range m.Filters {
			switch {
			case strings.HasSuffix(f.Config.Type, ".HeaderMutation"):
				f.Config.mutate(r.Header)
				route.PerFilter[f.Name].mutate(r.Header)
			case strings.HasSuffix(f.Config.Type, ".ExtAuthz"):
				if !f.Config.authorize(w, r, b.authz.Listener.Addr().String(), target) {
					return
				}
			}
		}
		for _, name := range host.Remove {
			r.Header.Del(name)
		}
		pass(w, r, clusters[route.Route.Cluster], target)
	})
}

func (f envoyFilter) authorize(w http.ResponseWriter, r *http.Request, authz, target string) bool {
	ask := outgoing(r.Context(), r.Method, authz, f.HTTP.PathPrefix+target, nil)
	ask.Host = r.Host
	for name, values := range r.Header {
		if name == "Authorization" || matches(f.Allowed.Patterns, name) {
			ask.Header[name] = values
		}
	}
	for _, h := range f.HTTP.Request.Add {
		ask.Header.Set(h.Key, h.Value)
	}
	answer, err := askAuthz(ask)
	if err != nil || answer.status >= 500 {
		if f.FailureModeAllow || f.StatusOnError.Code != "ServiceUnavailable" {
			w.WriteHeader(http.StatusForbidden)
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return false
	}
	if answer.status != http.StatusOK {
		answer.relay(w)
		return false
	}
	for name, values := range answer.header {
		if matches(f.HTTP.Response.Upstream.Patterns, name) {
			r.Header[name] = values
		}
	}
	return true
}

// envoyNormal is what normalize_path, merge_slashes and REJECT_REQUEST make of a target: escaped slashes are
// refused, what needs no escape is unescaped, dot segments are resolved as RFC 3986 says, then slashes merged.
func envoyNormal(target string) (string, bool) {
	p, query, asked := strings.Cut(target, "?")
	lower := strings.ToLower(p)
	if !strings.HasPrefix(p, "/") || strings.Contains(lower, "%2f") || strings.Contains(lower, "%5c") || strings.ContainsAny(p, `\#`) {
		return "", false
	}
	p = unescapeUnreserved(p)
	segments, out := strings.Split(p[1:], "/"), []string{}
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case ".":
		case "..":
			out = out[:max(len(out)-1, 0)]
		default:
			out = append(out, s)
			continue
		}
		if last {
			out = append(out, "")
		}
	}
	p = "/" + strings.Join(out, "/")
	for strings.Contains(p, "//") {
		p = strings.ReplaceAll(p, "//", "/")
	}
	if asked {
		p += "?" + query
	}
	return p, true
}

// unescapeUnreserved decodes the escapes of what needs none (RFC 3986 §2.3).
func unescapeUnreserved(p string) string {
	const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		if p[i] == '%' && i+2 < len(p) {
			hi, lo := strings.IndexByte("0123456789abcdef", p[i+1]|0x20), strings.IndexByte("0123456789abcdef", p[i+2]|0x20)
			if hi >= 0 && lo >= 0 && strings.IndexByte(unreserved, byte(hi<<4|lo)) >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(p[i])
	}
	return b.String()
}

package forwardauth

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// The parts of traefik.yaml that the simulation goes by.
type (
	traefikFile struct {
		HTTP struct {
			Routers     map[string]traefikRouter
			Middlewares map[string]traefikMiddleware
		}
	}
	traefikRouter struct {
		Rule        string
		Middlewares []string
		Service     string
	}
	traefikMiddleware struct {
		Headers *struct {
			Custom map[string]string `yaml:"customRequestHeaders"`
		}
		ForwardAuth *traefikForward `yaml:"forwardAuth"`
	}
	traefikForward struct {
		Address  string
		Trust    bool   `yaml:"trustForwardHeader"`
		Response string `yaml:"authResponseHeadersRegex"`
	}
)

var pathPrefix = regexp.MustCompile("^PathPrefix\\(`(.*)`\\)$")

// startTraefik simulates a Traefik entry point, which cleans paths, its headers middleware and ForwardAuth, which
// asks with all headers of the request but those of the connection, and with its own X-Forwarded-….
func startTraefik(t *testing.T, b *bench) string {
	t.Helper()
	var file traefikFile
	load(t, "traefik.yaml", nil, &file)
	authz := b.authz.Listener.Addr().String()
	env := strings.NewReplacer(`{{ env "TRUSTED_PROXY_MARKER" }}`, marker, `{{ env "AUTHZ_URL" }}`, "http://"+authz)
	services := map[string]string{"backend-services": b.backend.Listener.Addr().String(), "frontend": b.frontend.Listener.Addr().String()}
	return simulate(t, func(w http.ResponseWriter, r *http.Request) {
		r.URL = r.URL.JoinPath() // sanitizePath
		r.URL.Scheme, r.URL.Host = "", ""
		for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For"} {
			r.Header.Del(name) // of a client that forwardedHeaders does not trust
		}
		for _, router := range file.HTTP.Routers {
			if prefix := pathPrefix.FindStringSubmatch(router.Rule)[1]; !strings.HasPrefix(r.URL.Path, prefix) {
				continue
			}
			for _, name := range router.Middlewares {
				middleware := file.HTTP.Middlewares[name]
				if middleware.Headers != nil {
					for header, value := range middleware.Headers.Custom {
						if value == "" {
							r.Header.Del(header)
						} else {
							r.Header.Set(header, env.Replace(value))
						}
					}
				}
				if f := middleware.ForwardAuth; f != nil && !f.authorize(w, r, authz, env) {
					return
				}
			}
			pass(w, r, services[router.Service], r.URL.RequestURI())
			return
		}
		w.WriteHeader(http.StatusNotFound)
	})
}

func (f *traefikForward) authorize(w http.ResponseWriter, r *http.Request, authz string, env *strings.Replacer) bool {
	ask := outgoing(r.Context(), http.MethodGet, authz, strings.TrimPrefix(env.Replace(f.Address), "http://"+authz), nil)
	ask.Header = r.Header.Clone()
	for _, value := range r.Header.Values("Connection") {
		for name := range strings.SplitSeq(value, ",") {
			ask.Header.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Te", "Trailers", "Transfer-Encoding", "Upgrade", "Content-Length"} {
		ask.Header.Del(name)
	}
	for name, value := range map[string]string{"X-Forwarded-Method": r.Method, "X-Forwarded-Uri": r.URL.RequestURI(), "X-Forwarded-Host": r.Host, "X-Forwarded-For": clientAddress(r)} {
		if !f.Trust || ask.Header.Get(name) == "" {
			ask.Header.Set(name, value)
		}
	}
	answer, err := askAuthz(ask)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return false
	}
	if answer.status < 200 || answer.status > 299 {
		answer.relay(w)
		return false
	}
	judged := regexp.MustCompile(f.Response)
	for name := range r.Header {
		if judged.MatchString(name) {
			delete(r.Header, name)
		}
	}
	for name, values := range answer.header {
		if judged.MatchString(name) {
			r.Header[name] = values
		}
	}
	return true
}

package authn

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/signature"
)

// Original is the request that a caller sent and signed, as far as the one who judges it can know.
type Original struct {
	Method   string
	Path     string // as sent
	RawQuery string // as sent
	Host     string
	// BodySHA256 is the digest of the body that was received, in lower-case hex; "" where the body
	// never gets here, and X-Content-SHA256 has to speak for it to whoever received it.
	BodySHA256 string
}

// The headers by which a proven proxy tells which request it asks about.
const (
	headerForwardedMethod = "X-Forwarded-Method"
	headerForwardedURI    = "X-Forwarded-Uri"
	headerForwardedHost   = "X-Forwarded-Host"
	headerOriginalURI     = "X-Original-Uri"
	headerOriginalURL     = "X-Original-Url"
	headerOriginalMethod  = "X-Original-Method"
)

// Direct describes r itself, whose body has the digest bodySHA256. The target is as it was sent: what
// net/http makes of it is for routing.
func Direct(r *http.Request, bodySHA256 string) Original {
	path, query, _ := strings.Cut(r.RequestURI, "?")
	return Original{Method: r.Method, Path: path, RawQuery: query, Host: strings.ToLower(r.Host), BodySHA256: bodySHA256}
}

// Forwarded describes the request that a proven proxy asks about; ok is false when its headers name none.
func Forwarded(r *http.Request) (o Original, ok bool) {
	target := first(r.Header, headerForwardedURI, headerOriginalURI, headerOriginalURL)
	if target == "" {
		return Original{}, false
	}
	o = Original{
		Method: first(r.Header, headerForwardedMethod, headerOriginalMethod),
		Host:   strings.ToLower(first(r.Header, headerForwardedHost)),
	}
	if u, err := url.Parse(target); err == nil && u.IsAbs() { // X-Original-URL holds a whole URL
		target = u.EscapedPath()
		if u.RawQuery != "" {
			target += "?" + u.RawQuery
		}
		if o.Host == "" {
			o.Host = strings.ToLower(u.Host)
		}
	}
	o.Path, o.RawQuery, _ = strings.Cut(target, "?")
	if o.Method == "" {
		o.Method = http.MethodGet
	}
	if o.Host == "" {
		o.Host = strings.ToLower(r.Host)
	}
	return o, true
}

// signed reads the signature headers and binds them to the request.
func (o Original) signed(h http.Header) (Signed, error) {
	req, mac, err := signature.FromHeaders(h)
	if err != nil {
		return Signed{}, err
	}
	if req.BodySHA256 == "" {
		req.BodySHA256 = cmp.Or(o.BodySHA256, signature.BodyDigest(nil))
	}
	if o.BodySHA256 != "" && req.BodySHA256 != o.BodySHA256 {
		return Signed{}, auth.Refuse(auth.BadSignature, "the body does not have the digest that "+signature.HeaderContentHash+" states")
	}
	req.Method, req.Path, req.RawQuery, req.Host = o.Method, o.Path, o.RawQuery, o.Host
	return Signed{Request: req, MAC: mac}, nil
}

func first(h http.Header, names ...string) string {
	for _, name := range names {
		if v := h.Get(name); v != "" {
			return v
		}
	}
	return ""
}

// Forward sets the headers that tell authz which request is asked about.
func Forward(h http.Header, o Original) {
	target := o.Path
	if o.RawQuery != "" {
		target += "?" + o.RawQuery
	}
	h.Set(headerForwardedMethod, o.Method)
	h.Set(headerForwardedURI, target)
	h.Set(headerForwardedHost, o.Host)
}

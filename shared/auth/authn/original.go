package authn

import (
	"cmp"
	"net/http"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/signature"
)

// Original is the request that a caller sent and signed, as far as the one who judges it can know.
type Original struct {
	Method   string // "" where a proxy does not say it
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

// errTwoRequests is the refusal of headers that describe two requests. Which of them is served, nobody can
// say: a proxy adds its own to what its client sent.
var errTwoRequests = auth.Refuse(auth.UntrustedProxy, "the headers that describe the forwarded request contradict each other")

// Appended adds the headers that say what a proxy says by r itself when it asks with the method of the request
// that it asks about and appends that request's target to prefix, as Envoy does. Clean judges them like others.
func Appended(r *http.Request, prefix string) {
	r.Header.Add(headerForwardedMethod, r.Method)
	r.Header.Add(headerForwardedURI, strings.TrimPrefix(r.RequestURI, prefix))
}

// Forwarded describes the request that a proven proxy asks about; ok is false when its headers name none. A
// method that they do not say stays unknown: to take it for GET would let a DELETE pass as one.
func Forwarded(r *http.Request) (o Original, ok bool, err error) {
	target, host, err := forwardedTarget(r.Header)
	if err != nil || target == "" {
		return Original{}, false, err
	}
	if o.Method, err = one(r.Header, headerForwardedMethod, headerOriginalMethod); err != nil {
		return Original{}, false, err
	}
	if o.Host, err = one(r.Header, headerForwardedHost); err != nil {
		return Original{}, false, err
	}
	o.Path, o.RawQuery, _ = strings.Cut(target, "?")
	o.Host = strings.ToLower(cmp.Or(o.Host, host, r.Host))
	return o, true, nil
}

// forwardedTarget returns path and query of the forwarded request as they were sent, and the host where
// a header holds a whole URL, as X-Original-URL does.
func forwardedTarget(h http.Header) (target, host string, err error) {
	for _, name := range []string{headerForwardedURI, headerOriginalURI, headerOriginalURL} {
		for _, v := range h.Values(name) {
			if v == "" {
				continue
			}
			if rest, ok := cutScheme(v); ok {
				end := strings.IndexAny(rest, "/?")
				if end < 0 {
					end = len(rest)
				}
				if host, v = rest[:end], rest[end:]; !strings.HasPrefix(v, "/") {
					v = "/" + v
				}
			}
			if target != "" && target != v {
				return "", "", errTwoRequests
			}
			target = v
		}
	}
	return target, host, nil
}

func cutScheme(target string) (rest string, ok bool) {
	if rest, ok = strings.CutPrefix(target, "https://"); ok {
		return rest, true
	}
	return strings.CutPrefix(target, "http://")
}

// one returns what the headers of these names hold, which is one value.
func one(h http.Header, names ...string) (value string, err error) {
	for _, name := range names {
		for _, v := range h.Values(name) {
			if v != "" && value != "" && v != value {
				return "", errTwoRequests
			}
			value = cmp.Or(value, v)
		}
	}
	return value, nil
}

// signed reads the signature headers and binds them to the request.
func (o Original) signed(h http.Header) (Signed, error) {
	if service, mac, ok := signature.LegacyFromHeaders(h); ok { // whether it is accepted is for Signatures to say
		return Signed{Legacy: true, MAC: mac, Request: signature.Request{
			Service: service, Method: o.Method, Path: o.Path, RawQuery: o.RawQuery, Host: o.Host,
		}}, nil
	}
	req, mac, err := signature.FromHeaders(h)
	if err != nil {
		return Signed{}, err
	}
	if o.Method == "" {
		return Signed{}, auth.Refuse(auth.BadSignature, "the proxy does not say which method was signed")
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

package signature

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/isectech/service-networking/shared/auth"
)

// The headers of a signed request.
const (
	HeaderService     = "X-Service-Name"
	HeaderKeyID       = "X-API-Key-ID"
	HeaderTimestamp   = "X-API-Timestamp"
	HeaderNonce       = "X-API-Nonce"
	HeaderKey         = "X-API-Key"        // the MAC
	HeaderContentHash = "X-Content-SHA256" // the digest of the body
)

// Present reports whether a request carries any part of a signature, and so must be judged by it.
// X-Service-Name and X-Content-SHA256 are none: they go with other credentials too.
func Present(h http.Header) bool {
	for _, name := range parts {
		if len(h[name]) > 0 {
			return true
		}
	}
	return false
}

// parts are the headers that make a signature, in the form that http.Header knows them by: every request is
// asked for them.
var parts = [...]string{
	http.CanonicalHeaderKey(HeaderKeyID), http.CanonicalHeaderKey(HeaderTimestamp),
	http.CanonicalHeaderKey(HeaderNonce), http.CanonicalHeaderKey(HeaderKey),
}

// FromHeaders returns what the headers say of a signed request, and its MAC. Method, Path, RawQuery and
// Host are the caller's to fill in (FromHTTP does so from the request itself). BodySHA256 is empty when
// X-Content-SHA256 is absent: a receiver that has the body may fill it in, and otherwise verification
// fails. A missing or repeated header is bad_signature.
func FromHeaders(h http.Header) (r Request, mac string, err error) {
	for _, part := range []struct {
		name     string
		value    *string
		required bool
	}{
		{HeaderService, &r.Service, true},
		{HeaderKeyID, &r.KeyID, true},
		{HeaderTimestamp, &r.Timestamp, true},
		{HeaderNonce, &r.Nonce, true},
		{HeaderKey, &mac, true},
		{HeaderContentHash, &r.BodySHA256, false},
	} {
		switch values := h.Values(part.name); {
		case len(values) > 1:
			return Request{}, "", auth.Refuse(auth.BadSignature, part.name+": the header is repeated")
		case len(values) == 1 && values[0] != "":
			*part.value = values[0]
		case part.required || len(values) == 1:
			return Request{}, "", auth.Refuse(auth.BadSignature, part.name+": the header is missing or empty")
		}
	}
	return r, mac, nil
}

// LegacyFromHeaders returns the service and the MAC of the legacy form: X-API-Key beside X-Service-Name, and
// no other header of a signature. It says nothing about the request, so whoever has seen one can send any.
func LegacyFromHeaders(h http.Header) (service, mac string, ok bool) {
	for _, name := range []string{HeaderKeyID, HeaderTimestamp, HeaderNonce, HeaderContentHash} {
		if len(h.Values(name)) > 0 {
			return "", "", false
		}
	}
	services, macs := h.Values(HeaderService), h.Values(HeaderKey)
	if len(services) != 1 || services[0] == "" || len(macs) != 1 || !validDigest(macs[0]) {
		return "", "", false
	}
	return services[0], macs[0], true
}

// FromHTTP returns the signed request that a server received, and its MAC: method, target and host from
// the request itself, the rest from its headers.
func FromHTTP(req *http.Request) (r Request, mac string, err error) {
	r, mac, err = FromHeaders(req.Header)
	if err != nil {
		return Request{}, "", err
	}
	r.Method, r.Host = req.Method, req.Host
	if r.Path, r.RawQuery, err = Target(req.RequestURI); err != nil {
		return Request{}, "", auth.Refuse(auth.BadSignature, err.Error())
	}
	return r, mac, nil
}

// Target splits a request target into the path and the query as they were sent. Only origin-form is
// signed (and *, for OPTIONS): a target with a scheme and a host, as clients send it to a proxy, would
// leave two places to take the host from.
func Target(requestURI string) (path, rawQuery string, err error) {
	path, rawQuery, _ = strings.Cut(requestURI, "?")
	if !validPath(path) {
		return "", "", fmt.Errorf("request target: %w: want a path beginning with /", auth.ErrMalformed)
	}
	return path, rawQuery, nil
}

// Headers signs a request and returns the headers that carry the signature.
func (k Key) Headers(r Request) (http.Header, error) {
	mac, err := k.Sign(r)
	if err != nil {
		return nil, err
	}
	h := make(http.Header, 6)
	h.Set(HeaderService, r.Service)
	h.Set(HeaderKeyID, r.KeyID)
	h.Set(HeaderTimestamp, r.Timestamp)
	h.Set(HeaderNonce, r.Nonce)
	h.Set(HeaderKey, mac)
	h.Set(HeaderContentHash, r.BodySHA256)
	return h, nil
}

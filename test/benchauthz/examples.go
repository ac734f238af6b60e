package main

import (
	"strings"
	"time"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/test/benchplatform"
)

// example is a question that every subject must answer alike before any is measured.
type example struct {
	name, raw, target string
	allow             bool
}

func examples(signer *token.Signer, now time.Time) ([]example, error) {
	valid := benchplatform.Claims(caller, target, now)
	expired := benchplatform.Claims(caller, target, now.Add(-time.Hour))
	elsewhere := benchplatform.Claims(caller, "isectech-admin", now)
	untrusted := benchplatform.Claims(stranger, target, now)
	powerless := benchplatform.Claims(caller, target, now)
	powerless.Scopes = auth.APIWrite
	var found []example
	for _, e := range []struct {
		name  string
		c     token.Claims
		allow bool
	}{
		{"valid", valid, true},
		{"expired", expired, false},
		{"wrong audience", elsewhere, false},
		{"untrusted edge", untrusted, false},
		{"insufficient scope", powerless, false},
	} {
		raw, err := signer.Sign(e.c)
		if err != nil {
			return nil, err
		}
		found = append(found, example{name: e.name, raw: raw, target: target, allow: e.allow})
	}
	// The signature of one token under the claims of another.
	good, other := found[0].raw, found[4].raw
	forged := good[:strings.LastIndexByte(good, '.')] + other[strings.LastIndexByte(other, '.'):]
	return append(found, example{name: "bad signature", raw: forged, target: target}), nil
}

package signature_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/isectech/service-networking/shared/auth/signature"
)

// The key of the contract's test vector, and the MAC that anybody's openssl makes of it:
// printf %s isectech-frontend | openssl dgst -sha256 -hmac AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8
const (
	legacyKeyText = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	legacyMAC     = "3dad3bbd825db64c82f1a0d79a98b17a99facf35fd343e0345bc52ff2c0c3c3f"
)

func TestLegacyForm(t *testing.T) {
	t.Parallel()
	key, err := signature.ParseKey(legacyKeyText)
	if err != nil {
		t.Fatal(err)
	}
	if !key.MatchLegacy("isectech-frontend", legacyMAC) {
		t.Error("the vector does not match")
	}
	for _, tc := range []struct{ service, mac string }{
		{"isectech-admin", legacyMAC}, {"", legacyMAC}, {"isectech-frontend", ""}, {"isectech-frontend", legacyMAC[:63]},
		{"isectech-frontend", strings.ToUpper(legacyMAC)},
	} {
		if key.MatchLegacy(tc.service, tc.mac) {
			t.Errorf("%q matches %q", tc.mac, tc.service)
		}
	}
	if (signature.Key{}).MatchLegacy("isectech-frontend", legacyMAC) {
		t.Error("no key matches")
	}

	header := func(pairs ...string) http.Header {
		h := http.Header{}
		h.Set("X-Service-Name", "isectech-frontend")
		h.Set("X-API-Key", legacyMAC)
		for i := 0; i+1 < len(pairs); i += 2 {
			h.Add(pairs[i], pairs[i+1])
		}
		return h
	}
	if service, mac, ok := signature.LegacyFromHeaders(header("X-Request-ID", "1")); !ok || service != "isectech-frontend" || mac != legacyMAC {
		t.Errorf("read %q %q %v", service, mac, ok)
	}
	for _, h := range []http.Header{
		{}, {"X-Api-Key": {legacyMAC}}, {"X-Service-Name": {"isectech-frontend"}}, {"X-Service-Name": {""}, "X-Api-Key": {legacyMAC}},
		header("X-API-Key-ID", "k1"), header("X-API-Timestamp", ""), header("X-API-Nonce", "n"), header("X-Content-SHA256", legacyMAC),
		header("X-API-Key", legacyMAC), header("X-Service-Name", "isectech-frontend"),
		{"X-Service-Name": {"isectech-frontend"}, "X-Api-Key": {legacyMAC + "0"}},
	} {
		if _, _, ok := signature.LegacyFromHeaders(h); ok {
			t.Errorf("%v is taken for the legacy form", h)
		}
	}
}

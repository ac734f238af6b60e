package register

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/isectech/service-networking/shared/auth"
)

// TestHostileRegistrations has services claim what is not theirs: names, ids and environments.
func TestHostileRegistrations(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	mint := func(service string, env auth.Environment, scopes auth.Scopes) string {
		c := f.Claims(service, auth.PlatformAudience, scopes)
		c.Environment = env
		return f.Mint(t, c)
	}
	own := mint(backend, auth.Production, auth.ServiceDiscover)
	admin := mint("isectech-admin", auth.Production, auth.ServiceDiscover)
	for name, tc := range map[string]struct {
		token, id, service, env string
		code                    int
		field                   string // of the finding
	}{
		"its own":                          {own, "backend-services-1", backend, "production", http.StatusCreated, ""},
		"its own by alias":                 {own, "backend-services-2", "backend", "production", http.StatusCreated, ""},
		"another's name":                   {own, "admin-1", "isectech-admin", "production", http.StatusForbidden, ""},
		"another's alias":                  {own, "admin-1", "admin", "production", http.StatusForbidden, ""},
		"a name that nobody has":           {own, "shadow-1", "isectech-shadow", "production", http.StatusForbidden, ""},
		"no name":                          {own, "backend-services-1", "", "production", http.StatusForbidden, ""},
		"an operator's name":               {own, "backend-services-1", "operator:ops@isectech.com", "production", http.StatusForbidden, ""},
		"its name in Cyrillic":             {own, "backend-services-1", "isectech-b\u0430ckend-services", "production", http.StatusForbidden, ""},
		"its name in capitals":             {own, "backend-services-1", "Isectech-Backend-Services", "production", http.StatusForbidden, ""},
		"its name with a space":            {own, "backend-services-1", backend + " ", "production", http.StatusForbidden, ""},
		"its name decomposed":              {own, "backend-services-1", "isectech-backe\u0301nd-services", "production", http.StatusForbidden, ""},
		"another's prefix":                 {own, "admin-1", backend, "production", http.StatusBadRequest, "service_id"},
		"another's longer prefix":          {admin, "api-gateway-1", "isectech-admin", "production", http.StatusBadRequest, "service_id"},
		"a second alias's prefix":          {own, "backend-1", backend, "production", http.StatusCreated, ""},
		"another's name as id":             {own, "isectech-admin", backend, "production", http.StatusBadRequest, "service_id"},
		"its own name as id":               {own, backend, backend, "production", http.StatusBadRequest, "service_id"},
		"its alias as id":                  {own, "backend-services", backend, "production", http.StatusBadRequest, "service_id"},
		"its second alias as id":           {own, "backend", backend, "production", http.StatusBadRequest, "service_id"},
		"an id of no suffix":               {own, "backend-services-", backend, "production", http.StatusBadRequest, "service_id"},
		"a full name's prefix":             {own, backend + "-1", backend, "production", http.StatusBadRequest, "service_id"},
		"an id in Cyrillic":                {own, "b\u0430ckend-services-1", backend, "production", http.StatusBadRequest, "service_id"},
		"an id in full width":              {own, "backend-services-\uff11", backend, "production", http.StatusBadRequest, "service_id"},
		"an id in capitals":                {own, "Backend-Services-1", backend, "production", http.StatusBadRequest, "service_id"},
		"an id that climbs":                {own, "backend-services-1/../admin-1", backend, "production", http.StatusBadRequest, "service_id"},
		"an id with NUL":                   {own, "backend-services-1\u0000", backend, "production", http.StatusBadRequest, "service_id"},
		"an id that is not joined":         {own, "backend-services-1\u200d2", backend, "production", http.StatusBadRequest, "service_id"},
		"an id of Firestore's":             {own, "__backend-services-1__", backend, "production", http.StatusBadRequest, "service_id"},
		"another environment":              {own, "backend-services-3", backend, "development", http.StatusForbidden, ""},
		"an environment that is none":      {own, "backend-services-3", backend, "Production", http.StatusForbidden, ""},
		"no environment":                   {own, "backend-services-3", backend, "", http.StatusForbidden, ""},
		"an environment it runs not in":    {f.operator(t), "backend-services-3", backend, "staging", http.StatusBadRequest, "environment"},
		"a claimed scope":                  {mint(backend, auth.Production, auth.AllScopes), "admin-2", "isectech-admin", "production", http.StatusForbidden, ""},
		"an operator for a service":        {f.operator(t), "admin-3", "isectech-admin", "production", http.StatusCreated, ""},
		"an operator for another's prefix": {f.operator(t), "frontend-1", "isectech-admin", "production", http.StatusBadRequest, "service_id"},
		"an operator for nobody":           {f.operator(t), "shadow-1", "isectech-shadow", "production", http.StatusBadRequest, "service_name"},
	} {
		body := fmt.Sprintf(`{"service_id":%s,"service_name":%s,"environment":%q}`, quoted(tc.id), quoted(tc.service), tc.env)
		w := f.call(t, tc.token, http.MethodPost, "/internal/registry/register", body)
		if w.Code != tc.code || tc.field != "" && !strings.Contains(w.Body.String(), fmt.Sprintf(`"field":%q`, tc.field)) {
			t.Errorf("%s: %d %s, want %d %s", name, w.Code, w.Body, tc.code, tc.field)
		}
	}
	for _, id := range []string{"admin-1", "admin-2", "shadow-1", "api-gateway-1"} {
		if f.generation(t, id) != 0 {
			t.Errorf("%s is registered", id)
		}
	}
}

func quoted(s string) string {
	s = strings.ReplaceAll(s, "\x00", `\u0000`)
	return `"` + s + `"`
}

// An id belongs to whoever registered it, in the environment of that, whatever its name would allow.
func TestWhoeverHasAnID(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	dev := f.Claims(backend, auth.PlatformAudience, auth.ServiceDiscover)
	dev.Environment = auth.Development
	development := f.Mint(t, dev)
	register := func(token, env string) int {
		return f.call(t, token, http.MethodPost, "/internal/registry/register",
			fmt.Sprintf(`{"service_id":"backend-services-1","service_name":"backend","environment":%q}`, env)).Code
	}
	if code := register("", "production"); code != http.StatusCreated {
		t.Fatal(code)
	}
	if code := register(development, "development"); code != http.StatusForbidden {
		t.Errorf("the id was moved to another environment: %d", code)
	}
	// Nor does an operator move it.
	if code := register(f.operator(t), "development"); code != http.StatusForbidden {
		t.Errorf("an operator moved the id: %d", code)
	}
	path := services + "/backend-services-1"
	for _, token := range []string{development, f.Token(t, "isectech-admin", auth.PlatformAudience, auth.AllScopes)} {
		for method, at := range map[string]string{http.MethodPut: path + "/heartbeat", http.MethodDelete: path} {
			if w := f.call(t, token, method, at, ""); w.Code != http.StatusForbidden {
				t.Errorf("%s by another: %d", method, w.Code)
			}
		}
		if w := f.call(t, token, http.MethodPatch, path, `{"status":"maintenance"}`); w.Code != http.StatusForbidden {
			t.Errorf("PATCH by another: %d", w.Code)
		}
		// Judged as it would be, though nothing were written.
		if w := f.call(t, token, http.MethodPost, "/internal/registry/register?dry_run=true",
			`{"service_id":"backend-services-1","service_name":"backend","environment":"production"}`); w.Code != http.StatusForbidden {
			t.Errorf("a rehearsal by another: %d", w.Code)
		}
	}
	for _, ref := range []string{"backend-services-1/..", "%2e%2e", "backend-services-1%00", url.PathEscape("bаckend-services-1")} {
		if w := f.call(t, "", http.MethodDelete, services+"/"+ref, ""); w.Code < 400 || w.Code >= 500 {
			if w.Code != http.StatusTemporaryRedirect && w.Code != http.StatusPermanentRedirect && w.Code != http.StatusMovedPermanently {
				t.Errorf("DELETE %s: %d", ref, w.Code)
			}
		}
	}
	if f.generation(t, "backend-services-1") != 1 {
		t.Error("the record was changed")
	}
	if w := f.call(t, f.operator(t), http.MethodDelete, path, ""); w.Code != http.StatusNoContent {
		t.Errorf("an operator: %d", w.Code)
	}
	// The id is free, and is taken again by whom it belongs to.
	if code := register(development, "development"); code != http.StatusCreated {
		t.Errorf("after its end: %d", code)
	}
}

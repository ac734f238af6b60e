package main

import (
	"net/http"
	"strings"
)

// answer is what the platform of a script says to a request. CALLER in a body becomes the caller's token.
type answer struct {
	status int
	body   string
}

const (
	backendRecord = `{"service_id":"backend-services-001","service_name":"isectech-backend-services","environment":"production",` +
		`"version":"1.2.0","status":"starting","generation":1,"lease_expires_at":"2026-01-04T12:01:30Z","registered_by":"CALLER"}`
	frontendRecord = `{"service_id":"frontend-1","service_name":"isectech-frontend","environment":"development",` +
		`"version":"2.0.0","status":"healthy","generation":7}`
	registry = "/internal/registry/"
	journal  = "/internal/journal"
)

// routes are the answers to all requests but those to the token endpoint and to validate.
var routes = map[string]answer{
	"POST " + registry + "register":                        {http.StatusCreated, backendRecord},
	"POST " + registry + "register?dry_run=true":           {http.StatusOK, `{"dry_run":true,"outcome":"created","service":` + backendRecord + `}`},
	"GET " + registry + "services?limit=500":               {http.StatusOK, `{"services":[` + backendRecord + `],"next_page_token":"p2"}`},
	"GET " + registry + "services?limit=500&page_token=p2": {http.StatusOK, `{"services":[` + frontendRecord + `],"next_page_token":""}`},
	"GET " + registry + "services?limit=1":                 {http.StatusOK, `{"services":[` + backendRecord + `],"next_page_token":"p2"}`},
	"GET " + registry + "services?environment=development&limit=500&metadata.tier=gold&name=frontend&region=r&status=healthy&tag=t&tag=u&version=%3E%3D2+%3C3": {http.StatusOK, `{"services":[` + frontendRecord + `],"next_page_token":""}`},
	"GET " + registry + "services/backend-services?limit=500":     {http.StatusOK, `{"service_name":"isectech-backend-services","services":[` + backendRecord + `],"next_page_token":""}`},
	"GET " + registry + "services/backend-services-001?limit=500": {http.StatusOK, backendRecord},
	"GET " + registry + "services/a%2F..%2Fb?limit=500":           {http.StatusOK, `{"services":[],"next_page_token":""}`},
	"PUT " + registry + "services/backend-services-001/heartbeat": {http.StatusOK, backendRecord},
	"DELETE " + registry + "services/backend-services-001":        {http.StatusNoContent, ""},
	"GET " + registry + "services/backend-services/endpoints/api?environment=production": {http.StatusNotFound, `{"error":"not_found","message":"no instance can be called",` +
		`"reasons":["backend-services-001 is starting",{"service_id":"backend-services-002","reason":"lapsed","detail":"since noon","remedy":"a heartbeat"},7],"request_id":"req-2"}`},
	"GET " + registry + "services/frontend/endpoints/web?environment=development":              {http.StatusOK, `{"service_id":"frontend-1","url":"https://f.example/web","protocol":"https","port":443,"path":"/web"}`},
	"GET " + registry + "services/frontend/endpoints/web?environment=development&explain=true": {http.StatusOK, `{"service_id":"frontend-1","url":"https://f.example/web","considered":["frontend-1"]}`},
	"PUT " + registry + "services/frontend-1/heartbeat":                                        {http.StatusForbidden, `{"error":"not_owner","message":"frontend-1 is not yours","request_id":"req-3"}`},
	"PUT " + registry + "services/down-1/heartbeat":                                            {http.StatusServiceUnavailable, `{"error":"unavailable","message":"try again","request_id":"req-4"}`},
	"PUT " + registry + "services/away-1/heartbeat":                                            {http.StatusFound, ""},
	"PUT " + registry + "services/odd-1/heartbeat":                                             {http.StatusBadGateway, "<html>\x1b[31mBad gateway</html>"},
	"PUT " + registry + "services/wrong-1/heartbeat": {http.StatusBadRequest, `{"error":"invalid_request","message":"\u001b[31mno","fields":[{"field":"endpoints[0].port","message":"want 1 to 65535"}],` +
		`"required":["admin:write"],"request_id":"req-5"}`},

	"GET " + journal + "?verify=true": {http.StatusOK, `{"objects":2,"entries":5,"faults":null}`},
	"GET " + journal + "?limit=2&object=services%2Fbackend-services-001": {http.StatusOK, `{"entries":[{"id":"e-1","object":"services/backend-services-001","sequence":1,"op":"create",` +
		`"actor":"isectech-backend-services","cause":"req-9","commit":"c","at":"2026-01-04T12:00:00Z","hash":"h"}],"next_page_token":"p2"}`},

	"GET /internal/auth/keys": {http.StatusOK, `{"keys":[{"kid":"kid-1","algorithm":"ES256","state":"current","since":"2026-01-04T12:00:00Z","secret_version":1}],` +
		`"next":{"step":"create","due_at":"2026-02-03T11:45:00Z"}}`},
	"POST /internal/auth/keys/rotate": {http.StatusOK, `{"done":[{"step":"create","kid":"kid-2"}],"keys":[{"kid":"kid-1","algorithm":"ES256","state":"current","since":"2026-01-04T12:00:00Z","secret_version":1},` +
		`{"kid":"kid-2","algorithm":"ES256","state":"next","since":"2026-01-05T12:00:00Z","secret_version":2}],"next":{"step":"promote","kid":"kid-2","due_at":"2026-01-05T12:15:00Z"}}`},
	"GET /internal/auth/policy":           {http.StatusOK, `{"services":{},"edges":[]}`},
	"GET /internal/auth/policy?version=2": {http.StatusOK, `{"services":{},"edges":[],"operators":{}}`},
	"POST /internal/auth/revoke":          {http.StatusOK, `{"kind":"service_name","value":"isectech-api-gateway","actor":"CALLER","revoked_at":"2026-01-04T12:00:00Z","expires_at":"2026-01-04T12:16:01Z"}`},
	"POST /internal/auth/quarantine": {http.StatusOK, `{"service_name":"isectech-api-gateway","reason":"odd","actor":"operator:ops@isectech.com",` +
		`"since":"2026-01-04T12:00:00Z","expires_at":"2026-01-04T16:00:00Z"}`},
	"GET /internal/auth/quarantine": {http.StatusOK, `{"quarantines":[{"service_name":"isectech-api-gateway","reason":"odd","actor":"operator:ops@isectech.com",` +
		`"since":"2026-01-04T12:00:00Z"}]}`},
	"DELETE /internal/auth/quarantine/api-gateway": {http.StatusNoContent, ""},
	"DELETE /internal/auth/quarantine/nobody":      {http.StatusNotFound, `{"error":"not_found","message":"the policy knows no service of that name","request_id":"req-8"}`},

	"GET /internal/auth/decisions/id.mac": {http.StatusOK, `{"decision_id":"id.mac","decided_at":"2026-01-04T12:00:00Z","decision":"deny","reason":"untrusted_edge",` +
		`"message":"isectech-frontend may not call isectech-backend-services","auth_method":"jwt","caller":"isectech-frontend","environment":"production",` +
		`"target":"isectech-backend-services","method":"GET","path":"/x","scopes":["api:read"],"required":[],"policy_version":3,` +
		`"rules":[{"rule":"known_caller","outcome":"passed","detail":"it is in the policy"},{"rule":"edge","path":"edges","outcome":"failed","detail":"no edge"}]}`},
}

// replacement is the answer to a new policy. One that knows isectech-raced comes too late.
func replacement(h http.Header, policy []byte) answer {
	switch {
	case h.Get("If-Match") != `"3"` || h.Get("Content-Type") != "application/json":
		return answer{http.StatusBadRequest, `{"error":"invalid_request","message":"not as it was seen"}`}
	case strings.Contains(string(policy), `"isectech-raced"`):
		return answer{http.StatusPreconditionFailed, `{"error":"precondition_failed","message":"a precondition of the request does not hold","generation":4}`}
	default:
		return answer{http.StatusOK, `{"version":4,"changed":true,"findings":[{"path":"operators","severity":"warning","code":"no_administrator","message":"Nobody."}]}`}
	}
}

// validation is the answer of validate, which depends on headers.
func validation(h http.Header) answer {
	asked := strings.Join([]string{h.Get("X-Target-Service"), h.Get("X-Required-Scopes"), h.Get("X-Service-Name")}, "|")
	switch asked {
	case "isectech-backend-services||", "isectech-backend-services|api:read api:write|isectech-api-gateway", "||":
		return answer{http.StatusOK, `{"valid":true,"decision":"allow","reason":"allowed","auth_method":"jwt","service_name":"isectech-api-gateway",` +
			`"service_id":"api-gateway-k1","environment":"production","scopes":["api:read"],"expires_at":"2026-01-04T12:10:00Z","policy_version":3,"decision_id":"id.mac","asked":"` + asked + `"}`}
	case "isectech-down||":
		return answer{http.StatusServiceUnavailable, `{"error":"unavailable","message":"no policy","request_id":"req-6"}`}
	default:
		return answer{http.StatusForbidden, `{"error":"untrusted_edge","reason":"untrusted_edge","message":"isectech-frontend may not call it","valid":false,"decision":"deny","policy_version":3,` +
			`"decision_id":"id.mac","request_id":"req-7","timestamp":"2026-01-04T12:00:00Z"}`}
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/isectech/service-networking/test/load"
)

// subject is a server that is measured, and how it is asked.
type subject struct {
	load.Server
	request func(raw, target string) []byte
	allows  func(status int, body []byte) (bool, error)
}

// validateRequest asks as a proxy or a service does, with the token as the caller's own.
func validateRequest(raw, target string) []byte {
	return fmt.Appendf(nil, "GET /internal/auth/validate HTTP/1.1\r\nHost: authz\r\nAuthorization: Bearer %s\r\n"+
		"X-Target-Service: %s\r\nX-Required-Scopes: %s\r\n\r\n", raw, target, required)
}

// opaInput is the question to OPA.
func opaInput(raw, target string) map[string]any {
	return map[string]any{"token": raw, "target": target, "scopes": []string{required}}
}

// dataRequest asks OPA's data API the same.
func dataRequest(raw, target string) []byte {
	body, err := json.Marshal(map[string]any{"input": opaInput(raw, target)})
	if err != nil {
		panic(err) // of strings alone
	}
	return fmt.Appendf(nil, "POST /v1/data/authz/allow HTTP/1.1\r\nHost: opa\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\n\r\n%s", len(body), body)
}

func validateAllows(status int, body []byte) (bool, error) {
	var answer struct {
		Valid    bool   `json:"valid"`
		Decision string `json:"decision"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return false, err
	}
	if answer.Valid != (answer.Decision == "allow") || answer.Valid != (status == http.StatusOK) {
		return false, fmt.Errorf("status %d: %s", status, body)
	}
	return answer.Valid, nil
}

func dataAllows(status int, body []byte) (bool, error) {
	var answer struct {
		Result *bool `json:"result"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return false, err
	}
	if status != http.StatusOK || answer.Result == nil {
		return false, fmt.Errorf("status %d: %s", status, body)
	}
	return *answer.Result, nil
}

// agree wants a subject to let through what it must, and to refuse the rest.
func (s *subject) agree(ctx context.Context, cases []example) error {
	for _, c := range cases {
		status, body, err := s.Once(ctx, s.request(c.raw, c.target))
		if err != nil {
			return fmt.Errorf("%s: %s: %w", s.Name, c.name, err)
		}
		allowed, err := s.allows(status, body)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", s.Name, c.name, err)
		}
		if allowed != c.allow {
			return fmt.Errorf("%s: %s: allowed is %v: %s", s.Name, c.name, allowed, bytes.TrimSpace(body))
		}
	}
	return nil
}

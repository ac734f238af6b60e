package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// subject is a server that is measured, and how it is asked.
type subject struct {
	name string
	*process
	connections int
	request     func(raw, target string) []byte
	allows      func(status int, body []byte) (bool, error)
}

// validateRequest asks as a proxy or a service does, with the token as the caller's own.
func validateRequest(raw, target string) []byte {
	return fmt.Appendf(nil, "GET /internal/auth/validate HTTP/1.1\r\nHost: authz\r\nAuthorization: Bearer %s\r\n"+
		"X-Target-Service: %s\r\nX-Required-Scopes: %s\r\n\r\n", raw, target, required)
}

// dataRequest asks OPA's data API the same.
func dataRequest(raw, target string) []byte {
	body, err := json.Marshal(map[string]any{"input": map[string]any{"token": raw, "target": target, "scopes": []string{required}}})
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

// measurement is what one turn showed.
type measurement struct {
	rate float64 // requests a second
	cpu  float64 // microseconds of the server's a request
}

// turn asks a server for a time with whatever next returns, over connections of its own: none is idle for as long
// as the others take.
func (s *subject) turn(ctx context.Context, warm, d time.Duration, next func(i int64) []byte) (measurement, error) {
	c, err := dial(ctx, s.address, s.connections)
	if err != nil {
		return measurement{}, err
	}
	defer c.close()
	if _, _, err := c.load(ctx, warm, next); err != nil {
		return measurement{}, err
	}
	before, err := s.cpu()
	if err != nil {
		return measurement{}, err
	}
	n, took, err := c.load(ctx, d, next)
	if err != nil {
		return measurement{}, err
	}
	after, err := s.cpu()
	if err != nil {
		return measurement{}, err
	}
	return measurement{
		rate: float64(n) / took.Seconds(),
		cpu:  float64((after - before).Microseconds()) / float64(n),
	}, nil
}

// once sends one request and returns the answer's status and body.
func (s *subject) once(ctx context.Context, request []byte) (status int, body []byte, err error) {
	c, err := dial(ctx, s.address, 1)
	if err != nil {
		return 0, nil, err
	}
	defer c.close()
	return c.once(request)
}

// agree wants a subject to let through what it must, and to refuse the rest.
func (s *subject) agree(ctx context.Context, cases []example) error {
	for _, c := range cases {
		status, body, err := s.once(ctx, s.request(c.raw, c.target))
		if err != nil {
			return fmt.Errorf("%s: %s: %w", s.name, c.name, err)
		}
		allowed, err := s.allows(status, body)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", s.name, c.name, err)
		}
		if allowed != c.allow {
			return fmt.Errorf("%s: %s: allowed is %v: %s", s.name, c.name, allowed, bytes.TrimSpace(body))
		}
	}
	return nil
}

package authz

import (
	"errors"
	"log/slog"
	"net/http"

	"github.com/isectech/service-networking/shared/auth"
	"github.com/isectech/service-networking/shared/auth/token"
	"github.com/isectech/service-networking/shared/platform/telemetry"
)

// Bounds of what a caller's words take up in a line: every denial gets one.
const (
	maxLoggedPath  = 512
	maxLoggedWord  = 64
	maxLoggedWords = 16
)

func clip(s string, n int) string { return s[:min(len(s), n)] }

func clipAll(words []string) []string {
	some := make([]string, 0, min(len(words), maxLoggedWords))
	for _, w := range words[:cap(some)] {
		some = append(some, clip(w, maxLoggedWord))
	}
	return some
}

// recordNoToken logs that a token was refused to someone whose own credentials, where there were any, are good.
// One that was refused for what the request's form is says nothing about the caller, and is no security event.
func (s *Service) recordNoToken(r *http.Request, who auth.Principal, err error) {
	reason, code, privileged := auth.ReasonOf(err), "unauthenticated", false
	if o, ok := errors.AsType[*oauthRefusal](err); ok {
		code, privileged = o.code, o.privileged
	} else if reason == "" {
		code = "error"
	}
	detail := refusalDetail(err)
	s.deps.Logger.LogAttrs(r.Context(), slog.LevelWarn, "access token refused",
		slog.String("decision", "deny"), slog.String("reason", string(reason)), slog.String("oauth_error", code),
		slog.String("detail", telemetry.Scrub(detail)), slog.String("auth_method", string(who.Method)),
		slog.String("service_name", who.Subject.String()), slog.String("environment", string(who.Environment)))
	if reason != "" {
		s.guard.Refused(r, who, privileged, err)
	}
}

// recordIntrospection logs that somebody asked what a token is worth, and whether it was told.
func (s *Service) recordIntrospection(r *http.Request, of token.Claims, told, active bool) {
	level := slog.LevelInfo
	if !told {
		level = slog.LevelWarn
	}
	s.deps.Logger.LogAttrs(r.Context(), level, "access token introspected", slog.Bool("told", told), slog.Bool("active", active),
		slog.String("of", of.Subject.String()), slog.String("audience", of.Audience), slog.String("jti", of.ID))
}

// recordBatch logs what became of questions about decisions that nobody acts on.
func (s *Service) recordBatch(r *http.Request, version int64, decisions []map[string]any) {
	denied := 0
	for _, d := range decisions {
		if d["decision"] != "allow" {
			denied++
		}
	}
	s.deps.Logger.LogAttrs(r.Context(), slog.LevelInfo, "authorization questions answered",
		slog.Int("questions", len(decisions)), slog.Int("denied", denied), slog.Int64("policy_version", version))
}

package httpx

import (
	"log/slog"
	"net/http"
	"time"
)

// Server returns a server for listeners of our own, with the bounds that net/http leaves open. In
// production the platform's front end stands before the functions and has its own.
func Server(h http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       2 * time.Minute,
		WriteTimeout:      2 * time.Minute, // more than DefaultTimeout, so that a late answer still says why
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
}

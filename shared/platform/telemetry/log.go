package telemetry

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"time"
)

// LevelCritical is for what somebody has to be woken for; Cloud Logging calls it CRITICAL.
const LevelCritical = slog.LevelError + 4

// LogOptions says what a logger writes.
type LogOptions struct {
	Level   slog.Leveler // least severe level that is written; nil means info
	Service string       // the member "service"; logger.With("service", …) replaces it
	Project string       // Google Cloud project of the traces; "" leaves the bare trace id
}

// NewLogger returns a logger that writes one JSON object a line in the form that Cloud Logging reads:
// timestamp, level, severity, message and service, then the request's request_id and
// logging.googleapis.com/trace, its annotations, and the attributes of the line. No name occurs twice at
// the top of a line: what is closest to the call counts.
//
// Values under names that speak of credentials are masked, and so is anything that looks like one (see
// mask.go). That is a net below the code that logs, not a licence for it.
func NewLogger(w io.Writer, o LogOptions) *slog.Logger {
	level := o.Level
	if level == nil {
		level = slog.LevelInfo
	}
	h := &handler{
		project: o.Project,
		inner:   slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: replace}),
	}
	if o.Service != "" {
		h.levels[0] = []slog.Attr{slog.String("service", o.Service)}
	}
	return slog.New(h)
}

// maxGroups bounds how deep groups nest; deeper ones are flattened into the last.
const maxGroups = 4

// handler collects the attributes of a line and leaves the encoding to slog's own handler.
type handler struct {
	inner   slog.Handler
	project string
	// levels[i] are the attributes given by With inside i groups, groups[i] the name of group i+1.
	levels [maxGroups + 1][]slog.Attr
	groups []string
}

// Enabled reports whether a line of this level is written.
func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.inner.Enabled(ctx, level)
}

// WithAttrs returns a handler whose lines carry attrs.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	depth := len(h.groups)
	c.levels[depth] = merge(slices.Clone(h.levels[depth]), attrs)
	return &c
}

// WithGroup returns a handler that puts further attributes into a group.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" || len(h.groups) == maxGroups {
		return h
	}
	c := *h
	c.groups = append(slices.Clip(h.groups), name)
	return &c
}

// Handle writes one line.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	own := make([]slog.Attr, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		own = append(own, a)
		return true
	})
	depth := len(h.groups)
	own = merge(slices.Clone(h.levels[depth]), own)
	for ; depth > 0; depth-- {
		group := slog.Attr{Key: h.groups[depth-1], Value: slog.GroupValue(own...)}
		own = merge(slices.Clone(h.levels[depth-1]), []slog.Attr{group})
	}
	line := slog.NewRecord(r.Time, r.Level, r.Message, 0)
	line.AddAttrs(slog.String("severity", severity(r.Level)))
	line.AddAttrs(merge(h.context(ctx), own)...)
	return h.inner.Handle(ctx, line)
}

// context returns the attributes that the context of a line brings.
func (h *handler) context(ctx context.Context) []slog.Attr {
	s := scopeOf(ctx)
	if s == nil {
		return nil
	}
	var attrs []slog.Attr
	if s.request.ID != "" {
		attrs = append(attrs, slog.String("request_id", s.request.ID))
	}
	if s.request.Trace != "" {
		trace := s.request.Trace
		if h.project != "" {
			trace = "projects/" + h.project + "/traces/" + trace
		}
		attrs = append(attrs, slog.String("logging.googleapis.com/trace", trace))
		if s.request.Span != "" {
			attrs = append(attrs, slog.String("logging.googleapis.com/spanId", s.request.Span))
		}
	}
	return merge(attrs, s.annotations())
}

// merge sets more in attrs, later ones replacing earlier ones of the same name. Attributes that slog would
// ignore or inline are treated as slog does.
func merge(attrs, more []slog.Attr) []slog.Attr {
	for _, a := range more {
		a.Value = a.Value.Resolve()
		switch {
		case a.Value.Kind() == slog.KindGroup && a.Key == "":
			attrs = merge(attrs, a.Value.Group())
		case a.Key == "" && a.Value.Kind() == slog.KindAny && a.Value.Any() == nil:
		default:
			a.Key = ownName(a.Key)
			attrs = setAttr(attrs, a)
		}
	}
	return attrs
}

// ownName keeps attributes from posing as the members that every line has.
func ownName(key string) string {
	switch key {
	case slog.TimeKey, slog.LevelKey, slog.MessageKey, "timestamp", "severity", "message", "":
		return "attr_" + key
	}
	return key
}

// replace gives slog's own members their names and forms, and masks the others.
func replace(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return mask(a)
	}
	switch a.Key {
	case slog.TimeKey:
		return slog.String("timestamp", a.Value.Time().UTC().Format(time.RFC3339Nano))
	case slog.LevelKey:
		level, _ := a.Value.Any().(slog.Level)
		return slog.String("level", seedLevel(level))
	case slog.MessageKey:
		return slog.String("message", scrub(a.Value.String()))
	}
	return mask(a)
}

// seedLevel names a level as the log readers of the platform know it.
func seedLevel(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "DEBUG"
	case l < slog.LevelWarn:
		return "INFO"
	case l < slog.LevelError:
		return "WARN"
	default:
		return "ERROR"
	}
}

// severity names a level as Cloud Logging knows it.
func severity(l slog.Level) string {
	switch {
	case l >= LevelCritical:
		return "CRITICAL"
	case l >= slog.LevelError:
		return "ERROR"
	case l >= slog.LevelWarn:
		return "WARNING"
	case l >= slog.LevelInfo:
		return "INFO"
	default:
		return "DEBUG"
	}
}

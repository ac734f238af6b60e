package otlp

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	// flushTime bounds how long an answer waits for its spans.
	flushTime = 500 * time.Millisecond
	// pause is how long no answer waits after one has waited in vain.
	pause = 30 * time.Second
	// batchTime is how long spans that no answer waits for lie in the queue.
	batchTime = 5 * time.Second
)

// prompt is the SDK's batch processor, which queues spans and drops what does not fit, made to export what it
// holds whenever the work that this process was asked for ends: the function's processor stops with the
// answer, and what is still queued then waits for another request, or is lost with the instance. Answers that
// end at the same time share an export.
type prompt struct {
	sdk.SpanProcessor
	now    func() time.Time
	logger *slog.Logger
	until  atomic.Int64 // Unix nanoseconds; no answer waits before
}

func newPrompt(e sdk.SpanExporter, now func() time.Time, logger *slog.Logger) *prompt {
	return &prompt{
		SpanProcessor: sdk.NewBatchSpanProcessor(e, sdk.WithBatchTimeout(batchTime), sdk.WithExportTimeout(exportTimeout)),
		now:           now, logger: logger,
	}
}

// OnEnd takes a span that has ended, and exports if it was the first of its trace in this process.
func (p *prompt) OnEnd(s sdk.ReadOnlySpan) {
	p.SpanProcessor.OnEnd(s)
	if !s.SpanContext().IsSampled() || !first(s) {
		return
	}
	now := p.now().UnixNano()
	until := p.until.Load()
	if now < until {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTime) // a request's own is over, maybe
	defer cancel()
	err := p.ForceFlush(ctx)
	if err == nil {
		return
	}
	if p.until.CompareAndSwap(until, now+int64(pause)) { // of those that waited together one tells
		p.logger.LogAttrs(ctx, slog.LevelWarn, "spans cannot be exported; answers do not wait for them for a while",
			slog.Any("err", err), slog.Duration("pause", pause))
	}
}

// first reports whether a span is what this process was asked to do, by a request or an event.
func first(s sdk.ReadOnlySpan) bool {
	kind, parent := s.SpanKind(), s.Parent()
	return (kind == trace.SpanKindServer || kind == trace.SpanKindConsumer) && (!parent.IsValid() || parent.IsRemote())
}

// Package otlp links a binary with OpenTelemetry's SDK and exporters. A program or function that is to record
// spans imports it for its effect, in the file of its composition root:
//
//	import _ "github.com/isectech/service-networking/shared/platform/tracing/otlp"
//
// What is recorded, and where it goes, is tracing.Config's to say; the import alone records nothing. The
// exporter reads OpenTelemetry's further variables itself, such as OTEL_EXPORTER_OTLP_HEADERS for a collector
// that wants a credential.
package otlp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/tracing"
)

func init() { tracing.Link(start) }

// exportTimeout bounds one export in the background.
const exportTimeout = 5 * time.Second

// limits are a net below the code that makes spans, and hold for those of Google's clients too.
var limits = sdk.SpanLimits{
	AttributeValueLengthLimit: 300, AttributeCountLimit: 32,
	EventCountLimit: 16, AttributePerEventCountLimit: 8,
	LinkCountLimit: 8, AttributePerLinkCountLimit: 4,
}

// start makes the provider that a configuration asks for and installs it.
func start(ctx context.Context, cfg tracing.Config, e tracing.Environment) (func(context.Context) error, error) {
	exporter, err := exporterOf(ctx, cfg, e)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	about, err := describe(e)
	if err != nil {
		return nil, errors.Join(err, exporter.Shutdown(ctx))
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		e.Logger.LogAttrs(ctx, slog.LevelDebug, "opentelemetry", slog.Any("err", err))
	}))
	provider := newProvider(cfg, exporter, about, e)
	tracing.Install(provider)
	return provider.Shutdown, nil
}

func newProvider(cfg tracing.Config, exporter sdk.SpanExporter, about *resource.Resource, e tracing.Environment) *sdk.TracerProvider {
	return sdk.NewTracerProvider(
		sdk.WithResource(about), sdk.WithRawSpanLimits(limits), sdk.WithSampler(samplerOf(cfg)),
		sdk.WithSpanProcessor(newPrompt(exporter, e.Now, e.Logger)),
	)
}

func exporterOf(ctx context.Context, cfg tracing.Config, e tracing.Environment) (sdk.SpanExporter, error) {
	if cfg.Exporter == tracing.Console {
		return stdouttrace.New(stdouttrace.WithWriter(e.Console))
	}
	return otlptracehttp.New(ctx,
		otlptracehttp.WithEndpointURL(cfg.Endpoint.JoinPath("v1", "traces").String()),
		otlptracehttp.WithTimeout(exportTimeout),
		// A request waits for its spans. They are not worth a second attempt.
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: false}),
	)
}

func samplerOf(cfg tracing.Config) sdk.Sampler {
	ratio := sdk.TraceIDRatioBased(float64(cfg.SamplerArg))
	switch cfg.Sampler {
	case tracing.AlwaysOn:
		return sdk.AlwaysSample()
	case tracing.AlwaysOff:
		return sdk.NeverSample()
	case tracing.TraceIDRatio:
		return ratio
	case tracing.ParentBasedAlwaysOn:
		return sdk.ParentBased(sdk.AlwaysSample())
	case tracing.ParentBasedAlwaysOff:
		return sdk.ParentBased(sdk.NeverSample())
	default:
		return sdk.ParentBased(ratio)
	}
}

// deployment is what Cloud Run and the platform's own configuration say of a process.
type deployment struct {
	Environment string `env:"ENVIRONMENT, default=production"`
	Service     string `env:"K_SERVICE"`
	Revision    string `env:"K_REVISION"`
}

// describe says what all spans of a process have in common.
func describe(e tracing.Environment) (*resource.Resource, error) {
	var d deployment
	if err := config.Load(e.Lookup, &d); err != nil {
		return nil, err
	}
	attrs := []attribute.KeyValue{
		tracing.ServiceName(e.Service),
		tracing.Text("deployment.environment.name", d.Environment),
	}
	if d.Service != "" {
		attrs = append(attrs, tracing.Text("faas.name", d.Service), tracing.Text("faas.version", d.Revision))
	}
	return resource.NewSchemaless(attrs...), nil
}

package tracing

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/isectech/service-networking/shared/platform/config"
)

// Config says whether spans are recorded and where they go. The variables are those that OpenTelemetry
// specifies, as far as they are listed here.
type Config struct {
	Exporter   Exporter    `env:"OTEL_TRACES_EXPORTER, default=none" desc:"Where spans go: none, otlp (OTLP over HTTP) or console (standard output, one JSON object a line). A binary that was linked without exporters takes none alone."`
	Endpoint   config.URL  `env:"OTEL_EXPORTER_OTLP_ENDPOINT, default=http://localhost:4318" desc:"Collector that spans are sent to, without the path /v1/traces."`
	Sampler    Sampler     `env:"OTEL_TRACES_SAMPLER, default=parentbased_traceidratio" desc:"Which requests are recorded: always_on, always_off, traceidratio, or one of them after parentbased_, which follows the caller's choice where there is one."`
	SamplerArg Probability `env:"OTEL_TRACES_SAMPLER_ARG, default=1" desc:"Share of the requests that the traceidratio samplers record, 0 to 1."`
}

// Exporter is where spans go.
type Exporter string

// Exporters.
const (
	None    Exporter = "none"
	OTLP    Exporter = "otlp"
	Console Exporter = "console"
)

// EnvDecode parses the name of an exporter; stdout is another name of console.
func (e *Exporter) EnvDecode(value string) error {
	switch value {
	case "none", "otlp", "console":
		*e = Exporter(value)
	case "stdout":
		*e = Console
	default:
		return fmt.Errorf("%.32q: want none, otlp or console", value)
	}
	return nil
}

// Sampler is the name of a rule by which requests are chosen to be recorded.
type Sampler string

// Samplers. Those that are parent-based follow the caller's choice, where it made one.
const (
	AlwaysOn                Sampler = "always_on"
	AlwaysOff               Sampler = "always_off"
	TraceIDRatio            Sampler = "traceidratio"
	ParentBasedAlwaysOn     Sampler = "parentbased_always_on"
	ParentBasedAlwaysOff    Sampler = "parentbased_always_off"
	ParentBasedTraceIDRatio Sampler = "parentbased_traceidratio"
)

// EnvDecode parses the name of a sampler.
func (s *Sampler) EnvDecode(value string) error {
	switch v := Sampler(value); v {
	case AlwaysOn, AlwaysOff, TraceIDRatio, ParentBasedAlwaysOn, ParentBasedAlwaysOff, ParentBasedTraceIDRatio:
		*s = v
		return nil
	}
	return fmt.Errorf("%.32q: want always_on, always_off, traceidratio, or one of them after parentbased_", value)
}

// Probability is a number from 0 to 1.
type Probability float64

// Validate checks what the fields' types leave open.
func (c *Config) Validate() error {
	if p := float64(c.SamplerArg); !(p >= 0 && p <= 1) { // NaN included
		return config.Faultf("OTEL_TRACES_SAMPLER_ARG", "%v is not between 0 and 1", p)
	}
	return nil
}

// Environment is what recording needs of the process that it is in.
type Environment struct {
	Lookup  func(string) (string, bool) // environment variables
	Now     func() time.Time
	Logger  *slog.Logger
	Console io.Writer // of the console exporter
	Service string    // name of the process in traces
}

// Starter makes a provider of spans, installs it and returns what ends it.
type Starter func(ctx context.Context, cfg Config, e Environment) (stop func(context.Context) error, err error)

// linked is what the binary was linked with, nil without exporters.
var linked atomic.Pointer[Starter]

// Link makes Configure use exporters. It is called by the package that brings them along, from its init
// function, so that a blank import is what links a binary with them.
func Link(s Starter) { linked.Store(&s) }

// Configure reads Config and starts to record spans if it says so. What it returns is to be called when the
// process ends, after the last request: it exports what is left. It is not nil unless there is an error.
func Configure(ctx context.Context, e Environment) (stop func(context.Context) error, err error) {
	var cfg Config
	if err := config.Load(e.Lookup, &cfg); err != nil {
		return nil, err
	}
	if cfg.Exporter == None {
		return func(context.Context) error { return nil }, nil
	}
	start := linked.Load()
	if start == nil {
		return nil, &config.Error{Faults: []*config.Fault{{
			Variable: "OTEL_TRACES_EXPORTER", Problem: string(cfg.Exporter) + ": this binary was linked without exporters",
		}}}
	}
	return (*start)(ctx, cfg, e)
}

// Command coldstart measures how long a function takes from the start of its process to its first answer,
// beside the same of a bare function that links and makes the same Google clients. What is measured is built
// from the function's zip; no back end is in reach. The two take turns, so that whatever else the machine does
// meets both.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/isectech/service-networking/test/figure"
	"github.com/isectech/service-networking/test/stage"
)

// subject is a function, and a request that it answers without a back end.
type subject struct {
	function string // its folder
	target   string
	probe    stage.Probe
}

var subjects = []subject{
	{"authz", "Authz", stage.Probe{Path: "/.well-known/oauth-authorization-server", Status: 200}},
	// All that it serves it reads from the store, so what it is asked for is something that there is not.
	{"register", "Register", stage.Probe{Path: "/internal/registry", Status: 404}},
}

// bare is what each is compared with.
var bare = subject{"hello", "Hello", stage.Probe{Path: "/", Status: 200}}

const (
	google = "cloud.google.com/go/"
	// poll is how often a process that starts is asked.
	poll    = 100 * time.Microsecond
	warmups = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := program(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "coldstart:", err)
		os.Exit(1) //nolint:gocritic // the deferred stop has nothing left to do
	}
}

func program(ctx context.Context, args []string, w io.Writer) error {
	flags := flag.NewFlagSet("coldstart", flag.ContinueOnError)
	root := flags.String("root", ".", "the repository's root")
	runs := flags.Int("runs", 31, "how often each is started")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *runs < 1 {
		return errors.New("-runs: want 1 or more")
	}
	work, err := os.MkdirTemp("", "coldstart-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	env, err := stage.Environment(ctx, work)
	if err != nil {
		return err
	}
	var figures []figure.Figure
	for _, s := range subjects {
		found, err := s.measure(ctx, *root, filepath.Join(work, s.function), env, *runs, w)
		if err != nil {
			return fmt.Errorf("%s: %w", s.function, err)
		}
		figures = append(figures, found...)
	}
	for _, f := range figures {
		if err := f.Write(w); err != nil {
			return err
		}
	}
	return nil
}

// measure builds a subject and its bare counterpart and starts them in turns.
func (s subject) measure(ctx context.Context, root, work string, env []string, runs int, w io.Writer) ([]figure.Figure, error) {
	if err := os.Mkdir(work, 0o755); err != nil {
		return nil, err
	}
	zip, err := stage.Zip(ctx, root, s.function, work)
	if err != nil {
		return nil, err
	}
	built, err := stage.Rehearse(ctx, zip, work)
	if err != nil {
		return nil, err
	}
	tags := clients(built.Packages)
	hello := filepath.Join(work, "hello")
	if err := build(ctx, filepath.Join(root, "test", "coldstart", "hello"), hello, tags); err != nil {
		return nil, err
	}
	fmt.Fprintf(w, "%s beside a bare function with %s\n", s.target, strings.Join(tags, ", "))
	var of, to []float64
	for i := range warmups + runs {
		pair := []float64{0, 0}
		order := []int{0, 1}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, which := range order {
			if which == 0 {
				pair[0], err = s.start(ctx, built.Binary, env)
			} else {
				pair[1], err = bare.start(ctx, hello, env)
			}
			if err != nil {
				return nil, err
			}
		}
		if i >= warmups { // the first read the binaries from disk
			of, to = append(of, pair[0]), append(to, pair[1])
		}
	}
	name := "coldstart-" + s.function
	return []figure.Figure{
		figure.Summarize(name+"-first-answer", "ms", of),
		figure.Summarize(name+"-bare-first-answer", "ms", to),
		figure.Compare(name, of, to),
	}, nil
}

// start starts a binary and returns how many milliseconds passed until its first answer.
func (s subject) start(ctx context.Context, binary string, env []string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	p, err := stage.Start(ctx, binary, append([]string{"FUNCTION_TARGET=" + s.target}, env...))
	if err != nil {
		return 0, err
	}
	status, err := p.Await(ctx, s.probe.Path, poll)
	took := time.Since(p.Started)
	if err := errors.Join(err, p.Kill()); err != nil {
		return 0, err
	}
	if status != s.probe.Status {
		return 0, fmt.Errorf("%s answers GET %s with %d, want %d", s.target, s.probe.Path, status, s.probe.Status)
	}
	return float64(took) / float64(time.Millisecond), nil
}

// clients names the Google clients among packages, as the build tags of the bare function do.
func clients(packages []string) []string {
	var tags []string
	for _, p := range packages {
		name, ok := strings.CutPrefix(p, google)
		if !ok {
			continue
		}
		switch name {
		case "firestore":
			tags = append(tags, "firestore")
		case "secretmanager/apiv1":
			tags = append(tags, "secretmanager")
		case "pubsub/v2":
			tags = append(tags, "pubsub")
		}
	}
	return tags
}

func build(ctx context.Context, dir, binary string, tags []string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", strings.Join(tags, ","), "-o", binary, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the bare function: %w\n%s", err, out)
	}
	return nil
}

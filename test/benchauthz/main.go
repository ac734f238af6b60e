// Command benchauthz measures the authorizer beside its peers in one run: a bare net/http handler that reads
// the same header, the same with a bare verification of the signature, and Open Policy Agent's server with the
// equivalent policy, without and with its cache of verified tokens. Each is a process of its own with one
// processor; they take turns, so that whatever else the machine does meets all of them. Before anything is
// measured, the authorizer and OPA must answer a set of examples alike.
//
// It ends with a line of JSON a headline figure. Comparisons are ratios within the run.
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
	"syscall"
	"time"

	"github.com/isectech/service-networking/shared/auth/policy"
	"github.com/isectech/service-networking/test/benchplatform"
	"github.com/isectech/service-networking/test/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := program(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "benchauthz:", err)
		os.Exit(1) //nolint:gocritic // the deferred stop has nothing left to do
	}
}

// options are the program's flags.
type options struct {
	root        string
	opa         bool
	rounds      int
	turn        time.Duration
	tokens      int
	connections int
}

func program(ctx context.Context, args []string, w io.Writer) error {
	var o options
	flags := flag.NewFlagSet("benchauthz", flag.ContinueOnError)
	flags.StringVar(&o.root, "root", ".", "the repository's root")
	flags.BoolVar(&o.opa, "opa", true, "measure OPA too, which takes its modules and a minute to build")
	flags.IntVar(&o.rounds, "rounds", 15, "how many turns each server has")
	flags.DurationVar(&o.turn, "turn", 800*time.Millisecond, "how long a turn is")
	flags.IntVar(&o.tokens, "tokens", 2000, "how many new tokens a turn has")
	flags.IntVar(&o.connections, "connections", 16, "how many connections ask at once")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.rounds < 1 || o.tokens < 1 || o.connections < 1 {
		return errors.New("-rounds, -tokens and -connections: want 1 or more")
	}
	work, err := os.MkdirTemp("", "benchauthz-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	b := &bench{options: o, work: work, out: w}
	defer b.close()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	return b.run(ctx)
}

// prepare builds and starts the servers and has them agree.
func (b *bench) prepare(ctx context.Context) error {
	var err error
	if b.signer, err = benchplatform.Make(ctx, b.work, policy.Default()); err != nil {
		return err
	}
	if b.figures, err = b.inProcess(ctx); err != nil { // before the authorizer has the platform's directory
		return err
	}
	serve := filepath.Join(b.work, "serve")
	if err := load.Build(ctx, filepath.Join(b.root, "test"), "./benchauthz/serve", serve, true); err != nil {
		return err
	}
	questions, err := examples(b.signer, time.Now())
	if err != nil {
		return err
	}
	if b.authz, err = b.ours(ctx, serve, "authz", 0); err != nil {
		return err
	}
	if err := b.authz.agree(ctx, questions); err != nil {
		return err
	}
	_, body, err := b.authz.Once(ctx, b.authz.request(questions[0].raw, target))
	if err != nil {
		return err
	}
	if b.bare, err = b.ours(ctx, serve, "bare", len(body)); err != nil {
		return err
	}
	if b.verify, err = b.ours(ctx, serve, "verify", len(body)); err != nil {
		return err
	}
	if !b.opa {
		return nil
	}
	return b.startOPA(ctx, questions)
}

// ours starts one of our servers.
func (b *bench) ours(ctx context.Context, serve, what string, answer int) (*subject, error) {
	p, err := load.Start(ctx, serve, "-what", what, "-dir", b.work, "-answer", fmt.Sprint(answer))
	if err != nil {
		return nil, err
	}
	return b.add(&subject{Server: load.Server{Name: what, Process: p}, request: validateRequest, allows: validateAllows}), nil
}

// startOPA builds OPA itself and starts it twice.
func (b *bench) startOPA(ctx context.Context, questions []example) error {
	dir := filepath.Join(b.root, "test", "benchauthz", "opa")
	binary := filepath.Join(b.work, "opa")
	if err := load.Build(ctx, dir, "github.com/open-policy-agent/opa", binary, false); err != nil {
		return err
	}
	version, err := exec.CommandContext(ctx, binary, "version").Output()
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "%s", version)
	data, err := writeOPAData(b.work)
	if err != nil {
		return err
	}
	if err := b.opaInProcess(ctx, binary, data, questions[0]); err != nil {
		return err
	}
	for _, cached := range []bool{false, true} {
		address, err := load.FreeAddress(ctx)
		if err != nil {
			return err
		}
		p, err := load.StartAt(ctx, address, binary, opaArguments(b.root, data, address, cached)...)
		if err != nil {
			return err
		}
		s := b.add(&subject{Server: load.Server{Name: "opa", Process: p}, request: dataRequest, allows: dataAllows})
		if err := s.agree(ctx, questions); err != nil {
			return err
		}
		if cached {
			s.Name, b.opaCached = "opa with its cache", s
		} else {
			b.opaPlain = s
		}
	}
	return nil
}

// add keeps a server to be ended.
func (b *bench) add(s *subject) *subject {
	s.Connections = b.connections
	b.all = append(b.all, s)
	return s
}

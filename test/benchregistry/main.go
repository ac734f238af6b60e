// Command benchregistry measures the registry beside its peers in one run: etcd, asked for the same instances by a
// range read through its JSON gateway, and a bare net/http handler that reads the same header and writes the same
// bytes. Each is a process of its own with one processor; they take turns, so that whatever else the machine does
// meets all of them. Before anything is measured, the registry and etcd must answer alike.
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
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/isectech/service-networking/test/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := program(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "benchregistry:", err)
		os.Exit(1) //nolint:gocritic // the deferred stop has nothing left to do
	}
}

// options are the program's flags.
type options struct {
	root        string
	etcd        bool
	http        bool
	rounds      int
	turn        time.Duration
	connections int
}

// bench is one run.
type bench struct {
	options
	work   string
	binary string
	out    io.Writer
	all    []*load.Server
}

func program(ctx context.Context, args []string, w io.Writer) error {
	var o options
	flags := flag.NewFlagSet("benchregistry", flag.ContinueOnError)
	flags.StringVar(&o.root, "root", ".", "the repository's root")
	flags.BoolVar(&o.etcd, "etcd", true, "measure etcd too, which must be installed")
	flags.BoolVar(&o.http, "http", true, "measure servers, and not only what happens in process")
	flags.IntVar(&o.rounds, "rounds", 11, "how many turns each server has")
	flags.DurationVar(&o.turn, "turn", 600*time.Millisecond, "how long a turn is")
	flags.IntVar(&o.connections, "connections", 16, "how many connections ask at once")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.rounds < 1 || o.connections < 1 {
		return errors.New("-rounds and -connections: want 1 or more")
	}
	work, err := os.MkdirTemp("", "benchregistry-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	b := &bench{options: o, work: work, out: w, binary: filepath.Join(work, "serve")}
	defer b.close()
	return b.run(ctx)
}

func (b *bench) close() {
	for _, s := range b.all {
		s.Stop()
	}
	b.all = nil
}

// serve starts one of our servers.
func (b *bench) serve(ctx context.Context, name string, args ...string) (*load.Server, error) {
	p, err := load.Start(ctx, b.binary, args...)
	if err != nil {
		return nil, err
	}
	return b.add(name, p), nil
}

// add keeps a server to be ended.
func (b *bench) add(name string, p *load.Process) *load.Server {
	s := &load.Server{Name: name, Process: p, Connections: b.connections}
	b.all = append(b.all, s)
	return s
}

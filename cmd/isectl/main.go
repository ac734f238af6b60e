// Command isectl is the operator's way into the platform: it gets and judges tokens, registers and finds
// services, explains decisions and verifies the journal, checks tokens and documents without a platform,
// and runs the whole platform in one process (isectl dev).
//
// It exits with 0 when what was asked is done, 1 when it was refused or failed, 2 when it was not asked
// properly.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// The exit statuses.
const (
	exitDone    = 0
	exitRefused = 1
	exitUsage   = 2
)

// cli is the command line. Commands that take time or the environment get them from the app.
type cli struct {
	Globals

	Dev        DevCmd        `cmd:"" help:"Run the whole platform in this process."`
	Bootstrap  BootstrapCmd  `cmd:"" help:"Make the policy, the signing key and the root CA, where there are none."`
	Service    ServiceCmd    `cmd:"" help:"Services that the policy knows."`
	Token      TokenCmd      `cmd:"" help:"Print an access token for a service, whose API key signs the request."`
	Validate   ValidateCmd   `cmd:"" help:"Print the decision on a token, and on what it is to be used for."`
	Explain    ExplainCmd    `cmd:"" help:"Show the rules behind a decision."`
	Policy     PolicyCmd     `cmd:"" help:"The policy."`
	Keys       KeysCmd       `cmd:"" help:"The keys that sign access tokens."`
	Quarantine QuarantineCmd `cmd:"" help:"Isolate a service, or end that."`
	Revoke     RevokeCmd     `cmd:"" help:"Take back tokens, keys or certificates."`
	Register   RegisterCmd   `cmd:"" help:"Register an instance of a service."`
	Services   ServicesCmd   `cmd:"" help:"List registered instances."`
	Resolve    ResolveCmd    `cmd:"" help:"Find a service's instances, or one endpoint to call."`
	Heartbeat  HeartbeatCmd  `cmd:"" help:"Renew an instance's lease."`
	Unregister UnregisterCmd `cmd:"" help:"Remove an instance."`
	Watch      WatchCmd      `cmd:"" help:"Print what changes in the registry, as it changes."`
	Journal    JournalCmd    `cmd:"" help:"The journal of every change."`
	Check      CheckCmd      `cmd:"" help:"Judge tokens, ids and documents without a platform."`
	Sign       SignCmd       `cmd:"" help:"Sign a raw HTTP/1.1 request from standard input."`
	Version    VersionCmd    `cmd:"" help:"Print the version."`
}

// Globals are the flags of every command.
type Globals struct {
	Server   string `help:"Address of the platform; unless given, that of the local one." placeholder:"URL" env:"ISECTL_SERVER"`
	LocalDir string `help:"Directory of the local platform's state." default:".local" placeholder:"DIR" env:"LOCAL_DIR"`
	Output   string `help:"What is printed: text, or JSON." enum:"text,json" default:"text" env:"ISECTL_OUTPUT"`
	IDToken  string `help:"The operator's Google ID token, for a platform that is not the local one." placeholder:"TOKEN" env:"ISECTL_ID_TOKEN"`
}

func main() {
	forgetEmpty()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// forgetEmpty makes a variable that is set to nothing count as not set.
func forgetEmpty() {
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); value == "" && name != "" {
			_ = os.Unsetenv(name) // fails for names that no variable has
		}
	}
}

func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	var c cli
	a := &app{Globals: &c.Globals, in: in, out: out, errs: errs, now: time.Now, lookup: os.LookupEnv, asked: isTerminal(in)}
	parser, err := kong.New(&c,
		kong.Name("isectl"),
		kong.Description("Operate the isectech service network."),
		kong.Writers(out, errs),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, Tree: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(a),
	)
	if err != nil {
		panic(err) // the command line itself is wrong, whatever was asked
	}
	selected, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(errs, "isectl: %v (isectl --help says more)\n", err)
		return exitUsage
	}
	err = selected.Run()
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errTold):
		return exitRefused
	}
	a.fail(err)
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitRefused
}

// Command serve is a server to be measured: the authorizer over a platform's directory, or one of those that
// it is compared with. It prints the address it got and serves until its standard input ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/isectech/service-networking/functions/authz"
	"github.com/isectech/service-networking/shared/platform/config"
	"github.com/isectech/service-networking/shared/platform/secrets/secretserver"
	"github.com/isectech/service-networking/shared/platform/telemetry"
	"github.com/isectech/service-networking/shared/store/boltstore"
	"github.com/isectech/service-networking/test/load"
)

func main() {
	if err := program(context.Background(), os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

func program(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	what := flags.String("what", "authz", "authz, bare or verify")
	dir := flags.String("dir", "", "the platform's directory")
	answer := flags.Int("answer", 0, "the size of a bare answer")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var h http.Handler
	switch *what {
	case "authz":
		var closeAll func()
		var err error
		if h, closeAll, err = authorizer(ctx, *dir); err != nil {
			return err
		}
		defer closeAll()
	case "bare":
		h = bare(*answer)
	case "verify":
		key, err := readKey(filepath.Join(*dir, "jwks.json"))
		if err != nil {
			return err
		}
		h = verifying(key, *answer)
	default:
		return fmt.Errorf("-what %s: want authz, bare or verify", *what)
	}
	return load.Serve(ctx, h, stdin, stdout)
}

// unlimited is a rate that is counted and never used up: one caller asks all.
const unlimited = "1000000000/1m"

// authorizer is the function as its composition root makes it, but over back ends in a directory, with the
// configuration's defaults but for the rate, and a log that goes to a file.
func authorizer(ctx context.Context, dir string) (http.Handler, func(), error) {
	var cfg authz.Config
	if err := config.Load(func(name string) (string, bool) { return unlimited, name == "RATE_LIMIT" }, &cfg); err != nil {
		return nil, nil, err
	}
	db, err := boltstore.Open(filepath.Join(dir, "platform.db"), boltstore.Options{Now: time.Now})
	if err != nil {
		return nil, nil, err
	}
	vault, err := secretserver.Open(filepath.Join(dir, "secrets"), time.Now)
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	client, err := vault.Client(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, vault.Close(), db.Close())
	}
	lines, err := os.Create(filepath.Join(dir, "authz.log"))
	if err != nil {
		return nil, nil, errors.Join(err, client.Close(), vault.Close(), db.Close())
	}
	service := authz.New(cfg, authz.Deps{
		Store: db, Secrets: client, Now: time.Now, Metrics: telemetry.NewMetrics(),
		Logger: telemetry.NewLogger(lines, telemetry.LogOptions{Service: authz.Name}),
	})
	return service.Handler(), func() { _ = errors.Join(client.Close(), vault.Close(), db.Close(), lines.Close()) }, nil
}

// Command serve is a server to be measured: the registry over a platform's directory, or a bare handler that writes
// the same bytes. It prints the address it got and serves until its standard input ends.
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
	"strings"
	"time"

	"github.com/isectech/service-networking/functions/register"
	"github.com/isectech/service-networking/shared/platform/config"
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
	what := flags.String("what", "register", "register or bare")
	dir := flags.String("dir", "", "the platform's directory")
	answer := flags.String("answer", "", "the file that a bare handler answers with")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var h http.Handler
	switch *what {
	case "register":
		var closeAll func()
		var err error
		if h, closeAll, err = registrar(*dir); err != nil {
			return err
		}
		defer closeAll()
	case "bare":
		body, err := os.ReadFile(*answer)
		if err != nil {
			return err
		}
		h = bare(body)
	default:
		return fmt.Errorf("-what %s: want register or bare", *what)
	}
	return load.Serve(ctx, h, stdin, stdout)
}

// bare reads the header that carries a token and answers.
func bare(body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body)
	})
}

// registrar is the function as its composition root makes it, but over a store in a directory, with the
// configuration's defaults and a log that goes to a file.
func registrar(dir string) (http.Handler, func(), error) {
	var cfg register.Config
	if err := config.Load(func(string) (string, bool) { return "", false }, &cfg); err != nil {
		return nil, nil, err
	}
	db, err := boltstore.Open(filepath.Join(dir, "platform.db"), boltstore.Options{Now: time.Now})
	if err != nil {
		return nil, nil, err
	}
	lines, err := os.Create(filepath.Join(dir, "register.log"))
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	service, err := register.New(cfg, register.Deps{
		Store: db, Now: time.Now, Metrics: telemetry.NewMetrics(), Told: register.NewToldHere(time.Now),
		Logger: telemetry.NewLogger(lines, telemetry.LogOptions{Service: register.Name}),
	})
	if err != nil {
		return nil, nil, errors.Join(err, db.Close(), lines.Close())
	}
	return service.Handler(), func() { _ = errors.Join(db.Close(), lines.Close()) }, nil
}

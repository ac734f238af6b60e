package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/isectech/service-networking/cmd/isectl/internal/client"
	"github.com/isectech/service-networking/cmd/isectl/internal/credential"
	"github.com/isectech/service-networking/cmd/isectl/internal/local"
	"github.com/isectech/service-networking/shared/platform/secrets"
	"github.com/isectech/service-networking/shared/platform/secrets/secretserver"
)

// maxDocument bounds a document that is read from a file or standard input.
const maxDocument = 1 << 20

// errTold ends a command whose answer, a refusal, has been printed.
var errTold = errors.New("refused")

// usageError is a fault of the command line that its grammar does not find.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// app is what commands work with.
type app struct {
	*Globals

	in     io.Reader
	out    io.Writer
	errs   io.Writer
	now    func() time.Time
	lookup func(string) (string, bool) // the environment
	asked  bool                        // somebody sits at standard input and can answer
}

// fail tells an error as the output format wants it.
func (a *app) fail(err error) {
	if a.Output != "json" {
		fmt.Fprintf(a.errs, "isectl: %v\n", err)
		return
	}
	var refused *client.Error
	body := new(bytes.Buffer)
	if errors.As(err, &refused) && json.Compact(body, refused.Body) == nil && bytes.HasPrefix(body.Bytes(), []byte("{")) {
		fmt.Fprintf(a.errs, "%s\n", body)
		return
	}
	code := "failed"
	if errors.As(err, new(usageError)) {
		code = "usage"
	}
	encoded, _ := json.Marshal(map[string]string{"error": code, "message": err.Error()}) // strings always encode
	fmt.Fprintf(a.errs, "%s\n", encoded)
}

// print writes an answer: its own JSON, or what text makes of it, in aligned columns.
func (a *app) print(body []byte, text func(w io.Writer)) error {
	if a.Output == "json" {
		line := new(bytes.Buffer)
		if err := json.Compact(line, body); err != nil {
			return fmt.Errorf("the platform's answer is not JSON: %w", err)
		}
		line.WriteByte('\n')
		_, err := line.WriteTo(a.out)
		return err
	}
	table := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	text(table)
	return table.Flush()
}

// connect returns a client of the platform that the flags name.
func (a *app) connect() (*client.Client, error) {
	server := a.Server
	if server == "" {
		info, err := local.Dir(a.LocalDir).ReadInfo()
		if errors.Is(err, local.ErrNoPlatform) {
			return nil, fmt.Errorf("%w; start one (make run), or say where it is (--server, --local-dir)", err)
		}
		if err != nil {
			return nil, err
		}
		server = info.Server
	}
	c, err := client.New(server, "isectl/"+version())
	if errors.Is(err, client.ErrAddress) {
		return nil, usageError{err}
	}
	return c, err
}

// operatorToken exchanges the operator's ID token, Google's or the local one, for an access token.
func (a *app) operatorToken(ctx context.Context, c *client.Client) (string, error) {
	assertion := a.IDToken
	if assertion == "" {
		info, err := local.Dir(a.LocalDir).ReadInfo()
		if errors.Is(err, local.ErrNoPlatform) {
			return "", fmt.Errorf("no operator's credential: %w; give an ID token (ISECTL_ID_TOKEN) or --local-dir", err)
		}
		if err != nil {
			return "", err
		}
		operator := credential.Operator{Email: info.Operator, Key: info.OperatorKey, KeyID: info.OperatorKeyID}
		if assertion, err = operator.Assertion(a.now()); err != nil {
			return "", err
		}
	}
	issued, err := c.OperatorToken(ctx, assertion, client.Ask{})
	return issued.AccessToken, err
}

// openSecrets returns a client of the Secret Manager that holds API keys: a project's, or the local one.
func (a *app) openSecrets(ctx context.Context, project string) (c *secrets.Client, closeAll func() error, err error) {
	if project != "" {
		if c, err = secrets.New(ctx, project); err != nil {
			return nil, nil, err
		}
		return c, c.Close, nil
	}
	dir := local.Dir(a.LocalDir).Secrets()
	if _, err := os.Stat(dir); err != nil { // opening it would make it
		return nil, nil, fmt.Errorf("no API keys here: %w", err)
	}
	server, err := secretserver.Open(dir, a.now)
	if err != nil {
		return nil, nil, err
	}
	if c, err = server.Client(ctx); err != nil {
		return nil, nil, errors.Join(err, server.Close())
	}
	return c, func() error { return errors.Join(c.Close(), server.Close()) }, nil
}

// read reads a document from a file, or from standard input where the name is "-".
func (a *app) read(name string) ([]byte, error) {
	in := a.in
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, usageError{err}
		}
		defer func() { _ = file.Close() }() // it was only read
		in = file
	}
	data, err := io.ReadAll(io.LimitReader(in, maxDocument+1))
	if err == nil && len(data) > maxDocument {
		err = fmt.Errorf("%s: larger than %d MiB", name, maxDocument>>20)
	}
	return data, err
}

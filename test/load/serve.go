package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"

	"github.com/isectech/service-networking/shared/platform/httpx"
)

// Serve is the other side of Start, in the server's own process: it serves at a free port of this machine, with the
// same settings whatever is compared, prints its address and ends with its standard input.
func Serve(ctx context.Context, h http.Handler, stdin io.Reader, stdout io.Writer) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := httpx.Server(h, slog.New(slog.DiscardHandler))
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		_ = server.Close()
	}()
	if _, err := fmt.Fprintln(stdout, listener.Addr()); err != nil {
		return err
	}
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

package secrets_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/isectech/service-networking/shared/platform/secrets"
	"github.com/isectech/service-networking/shared/platform/secrets/secretserver"
)

var noon = time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC)

// open returns a client of a new server in memory.
func open(t *testing.T, opts ...secretserver.Option) *secrets.Client {
	t.Helper()
	server, err := secretserver.Open("", func() time.Time { return noon }, opts...)
	if err != nil {
		t.Fatal(err)
	}
	client, err := server.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(client.Close(), server.Close()); err != nil {
			t.Error(err)
		}
	})
	return client
}

// filled returns a client of a server with the secret "key", versions 1–3: enabled, disabled, destroyed.
func filled(t *testing.T, opts ...secretserver.Option) *secrets.Client {
	t.Helper()
	client := open(t, opts...)
	ctx := t.Context()
	err := client.Create(ctx, "key", map[string]string{"service": "isectech-frontend"})
	for _, payload := range []string{"one", "two", "three"} {
		_, addErr := client.AddVersion(ctx, "key", []byte(payload))
		err = errors.Join(err, addErr)
	}
	err = errors.Join(err, client.Disable(ctx, "key", 2, ""), client.Destroy(ctx, "key", 3, ""))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestVersionsAndPayloads(t *testing.T) {
	t.Parallel()
	client := filled(t)
	value, err := client.Access(t.Context(), "key", 1)
	if err != nil || string(value.Reveal()) != "one" {
		t.Errorf("Access(key, 1) = %q, %v", value.Reveal(), err)
	}
	got, err := client.Versions(t.Context(), "key")
	if err != nil {
		t.Fatal(err)
	}
	etags := map[string]bool{}
	for i := range got {
		etags[got[i].Etag] = true
		got[i].Etag = ""
	}
	want := []secrets.Version{
		{Number: 3, State: secrets.Destroyed, CreateTime: noon},
		{Number: 2, State: secrets.Disabled, CreateTime: noon},
		{Number: 1, State: secrets.Enabled, CreateTime: noon},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Versions (-want +got):\n%s", diff)
	}
	if len(etags) != 3 || etags[""] {
		t.Errorf("etags %v: want three different ones", etags)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	access := func(name string, version int64) func(context.Context, *secrets.Client) error {
		return func(ctx context.Context, c *secrets.Client) error {
			_, err := c.Access(ctx, name, version)
			return err
		}
	}
	add := func(name string, payload []byte) func(context.Context, *secrets.Client) error {
		return func(ctx context.Context, c *secrets.Client) error {
			_, err := c.AddVersion(ctx, name, payload)
			return err
		}
	}
	tests := map[string]struct {
		do   func(context.Context, *secrets.Client) error
		want error
	}{
		"access no secret":    {access("none", 1), secrets.ErrNotFound},
		"access no version":   {access("key", 4), secrets.ErrNotFound},
		"access disabled":     {access("key", 2), secrets.ErrDisabled},
		"access destroyed":    {access("key", 3), secrets.ErrDestroyed},
		"access version 0":    {access("key", 0), secrets.ErrInvalid},
		"access version -1":   {access("key", -1), secrets.ErrInvalid},
		"name with a slash":   {access("key/versions/1", 1), secrets.ErrInvalid},
		"name with a newline": {access("key\n", 1), secrets.ErrInvalid},
		"name with dots":      {access("../key", 1), secrets.ErrInvalid},
		"empty name":          {access("", 1), secrets.ErrInvalid},
		"long name":           {access(strings.Repeat("k", 256), 1), secrets.ErrInvalid},
		"longest name":        {access(strings.Repeat("k", 255), 1), secrets.ErrNotFound},
		"add to no secret":    {add("none", []byte("x")), secrets.ErrNotFound},
		"add nothing":         {add("key", nil), secrets.ErrInvalid},
		"add too much":        {add("key", make([]byte, secrets.MaxPayload+1)), secrets.ErrInvalid},
		"add the most":        {add("key", make([]byte, secrets.MaxPayload)), nil},
		"create again":        {func(ctx context.Context, c *secrets.Client) error { return c.Create(ctx, "key", nil) }, secrets.ErrExists},
		"create with bad label": {func(ctx context.Context, c *secrets.Client) error {
			return c.Create(ctx, "new", map[string]string{"A B": ""})
		}, secrets.ErrInvalid},
		"create with bad name": {func(ctx context.Context, c *secrets.Client) error { return c.Create(ctx, "ne w", nil) }, secrets.ErrInvalid},
		"versions of none": {func(ctx context.Context, c *secrets.Client) error {
			_, err := c.Versions(ctx, "none")
			return err
		}, secrets.ErrNotFound},
		"versions of bad name": {func(ctx context.Context, c *secrets.Client) error {
			_, err := c.Versions(ctx, "..")
			return err
		}, secrets.ErrInvalid},
		"enable destroyed":    {func(ctx context.Context, c *secrets.Client) error { return c.Enable(ctx, "key", 3, "") }, secrets.ErrDestroyed},
		"destroy destroyed":   {func(ctx context.Context, c *secrets.Client) error { return c.Destroy(ctx, "key", 3, "") }, secrets.ErrDestroyed},
		"disable disabled":    {func(ctx context.Context, c *secrets.Client) error { return c.Disable(ctx, "key", 2, "") }, nil},
		"enable disabled":     {func(ctx context.Context, c *secrets.Client) error { return c.Enable(ctx, "key", 2, "") }, nil},
		"disable, wrong etag": {func(ctx context.Context, c *secrets.Client) error { return c.Disable(ctx, "key", 1, `"0"`) }, secrets.ErrConflict},
		"enable, wrong etag":  {func(ctx context.Context, c *secrets.Client) error { return c.Enable(ctx, "key", 1, `"0"`) }, secrets.ErrConflict},
		"destroy, wrong etag": {func(ctx context.Context, c *secrets.Client) error { return c.Destroy(ctx, "key", 1, `"0"`) }, secrets.ErrConflict},
		"disable bad version": {func(ctx context.Context, c *secrets.Client) error { return c.Disable(ctx, "key", 0, "") }, secrets.ErrInvalid},
		"enable bad version":  {func(ctx context.Context, c *secrets.Client) error { return c.Enable(ctx, "key", 0, "") }, secrets.ErrInvalid},
		"destroy bad version": {func(ctx context.Context, c *secrets.Client) error { return c.Destroy(ctx, "key", 0, "") }, secrets.ErrInvalid},
		"destroy none":        {func(ctx context.Context, c *secrets.Client) error { return c.Destroy(ctx, "key", 9, "") }, secrets.ErrNotFound},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := test.do(t.Context(), filled(t)); !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

func TestEtagGuardsAChange(t *testing.T) {
	t.Parallel()
	client := filled(t)
	ctx := t.Context()
	before, err := client.Versions(ctx, "key")
	if err != nil {
		t.Fatal(err)
	}
	etag := before[2].Etag // of version 1
	// Enabling what is enabled changes nothing but the etag, so that the reader of the old one sees that
	// somebody wanted it enabled.
	if err := client.Enable(ctx, "key", 1, etag); err != nil {
		t.Fatal(err)
	}
	if err := client.Disable(ctx, "key", 1, etag); !errors.Is(err, secrets.ErrConflict) {
		t.Errorf("Disable with the etag of before: %v, want ErrConflict", err)
	}
	if _, err := client.Access(ctx, "key", 1); err != nil {
		t.Errorf("version 1 after a refused Disable: %v", err)
	}
}

// alter is an interceptor that changes the answers of one method after they were made.
func alter(method string, change func(answer any) error) secretserver.Option {
	return secretserver.WithInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		answer, err := next(ctx, req)
		if err != nil || !strings.HasSuffix(info.FullMethod, "/"+method) {
			return answer, err
		}
		return answer, change(answer)
	})
}

func TestDamageOnTheWayIsFound(t *testing.T) {
	t.Parallel()
	type response = *secretmanagerpb.AccessSecretVersionResponse
	tests := map[string]func(answer any) error{
		"payload changed":    func(a any) error { a.(response).Payload.Data = []byte("0ne"); return nil },
		"payload cut":        func(a any) error { a.(response).Payload.Data = nil; return nil },
		"checksum missing":   func(a any) error { a.(response).Payload.DataCrc32C = nil; return nil },
		"no payload":         func(a any) error { a.(response).Payload = nil; return nil },
		"of another version": func(a any) error { a.(response).Name = "projects/local/secrets/key/versions/2"; return nil },
		"of another secret":  func(a any) error { a.(response).Name = "projects/local/secrets/key2/versions/1"; return nil },
		"lost by the server": func(any) error { return status.Error(codes.DataLoss, "file key.json: damaged") },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := filled(t, alter("AccessSecretVersion", change))
			if value, err := client.Access(t.Context(), "key", 1); !errors.Is(err, secrets.ErrCorrupt) || value.Len() != 0 {
				t.Errorf("Access = %d bytes, %v; want none, ErrCorrupt", value.Len(), err)
			}
		})
	}
}

func TestMalformedVersionsAreRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*secretmanagerpb.SecretVersion){
		"no number":     func(v *secretmanagerpb.SecretVersion) { v.Name = "projects/local/secrets/key/versions/latest" },
		"zero":          func(v *secretmanagerpb.SecretVersion) { v.Name = "projects/local/secrets/key/versions/0" },
		"no name":       func(v *secretmanagerpb.SecretVersion) { v.Name = "" },
		"unknown state": func(v *secretmanagerpb.SecretVersion) { v.State = 99 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := filled(t, alter("ListSecretVersions", func(a any) error {
				change(a.(*secretmanagerpb.ListSecretVersionsResponse).Versions[1])
				return nil
			}))
			if _, err := client.Versions(t.Context(), "key"); !errors.Is(err, secrets.ErrCorrupt) {
				t.Errorf("Versions: %v, want ErrCorrupt", err)
			}
		})
	}
}

func TestAnswersOfAFailingServer(t *testing.T) {
	t.Parallel()
	for code, want := range map[codes.Code]error{
		codes.PermissionDenied: secrets.ErrDenied,
		codes.Unauthenticated:  secrets.ErrDenied,
		codes.Internal:         secrets.ErrUnavailable,
		codes.DeadlineExceeded: secrets.ErrUnavailable,
		codes.Unknown:          secrets.ErrUnavailable,
		codes.Unimplemented:    secrets.ErrInvalid,
	} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			client := filled(t, alter("AccessSecretVersion", func(any) error { return status.Error(code, "no") }))
			if _, err := client.Access(t.Context(), "key", 1); !errors.Is(err, want) {
				t.Errorf("Access: %v, want %v", err, want)
			}
		})
	}
}

func TestAccessTriesAgain(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	client := filled(t, alter("AccessSecretVersion", func(any) error {
		if calls.Add(1) == 1 {
			return status.Error(codes.Unavailable, "starting")
		}
		return nil
	}))
	if value, err := client.Access(t.Context(), "key", 1); err != nil || !bytes.Equal(value.Reveal(), []byte("one")) {
		t.Errorf("Access after one failure: %q, %v", value.Reveal(), err)
	}
}

func TestContextEndsACall(t *testing.T) {
	t.Parallel()
	client := filled(t, alter("AccessSecretVersion", func(any) error { return status.Error(codes.Unavailable, "down") }))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := client.Access(ctx, "key", 1); !errors.Is(err, secrets.ErrUnavailable) {
		t.Errorf("Access past its deadline: %v, want ErrUnavailable", err)
	}
	canceled, stop := context.WithCancel(t.Context())
	stop()
	if _, err := client.Access(canceled, "key", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Access with a cancelled context: %v, want context.Canceled", err)
	}
}

func TestNewRefusesAProjectThatIsAPath(t *testing.T) {
	t.Parallel()
	for _, project := range []string{"", "a/secrets/b"} {
		if _, err := secrets.New(t.Context(), project); !errors.Is(err, secrets.ErrInvalid) {
			t.Errorf("New(%q): %v, want ErrInvalid", project, err)
		}
	}
}

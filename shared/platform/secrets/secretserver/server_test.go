package secretserver_test

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strings"
	"testing"
	"time"

	secretmanager "cloud.google.com/go/secretmanager/apiv1"
	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/isectech/service-networking/shared/platform/secrets/secretserver"
)

var noon = time.Date(2026, 1, 4, 12, 0, 0, 0, time.UTC)

const parent = "projects/p1"

// api returns Google's own client of a server on a directory ("" for one in memory).
func api(t *testing.T, dir string) *secretmanager.Client {
	t.Helper()
	server, err := secretserver.Open(dir, func() time.Time { return noon })
	if err != nil {
		t.Fatal(err)
	}
	opts, err := server.ClientOptions()
	if err != nil {
		t.Fatal(err)
	}
	client, err := secretmanager.NewClient(t.Context(), opts...)
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

func automatic() *pb.Secret {
	return &pb.Secret{Replication: &pb.Replication{Replication: &pb.Replication_Automatic_{Automatic: &pb.Replication_Automatic{}}}}
}

// create makes a secret with versions.
func create(t *testing.T, c *secretmanager.Client, id string, payloads ...string) *pb.Secret {
	t.Helper()
	secret, err := c.CreateSecret(t.Context(), &pb.CreateSecretRequest{Parent: parent, SecretId: id, Secret: automatic()})
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range payloads {
		if _, err := c.AddSecretVersion(t.Context(), &pb.AddSecretVersionRequest{
			Parent: secret.GetName(), Payload: &pb.SecretPayload{Data: []byte(payload)},
		}); err != nil {
			t.Fatal(err)
		}
	}
	return secret
}

func access(ctx context.Context, c *secretmanager.Client, name string) (string, error) {
	answer, err := c.AccessSecretVersion(ctx, &pb.AccessSecretVersionRequest{Name: name})
	if err != nil {
		return "", err
	}
	sum := int64(crc32.Checksum(answer.GetPayload().GetData(), crc32.MakeTable(crc32.Castagnoli)))
	if answer.GetPayload().GetDataCrc32C() != sum {
		return "", errors.New("checksum of the answer does not match")
	}
	return answer.GetName() + "=" + string(answer.GetPayload().GetData()), nil
}

func TestLatestAliasAndState(t *testing.T) {
	t.Parallel()
	c := api(t, "")
	ctx := t.Context()
	create(t, c, "key", "one", "two", "three")
	name := parent + "/secrets/key"
	if _, err := c.UpdateSecret(ctx, &pb.UpdateSecretRequest{
		Secret:     &pb.Secret{Name: name, VersionAliases: map[string]int64{"first": 1}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"version_aliases"}},
	}); err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string]string{"latest": "/versions/3=three", "first": "/versions/1=one", "2": "/versions/2=two"} {
		if got, err := access(ctx, c, name+"/versions/"+version); err != nil || got != name+want {
			t.Errorf("access %s: %q, %v; want %q", version, got, err, name+want)
		}
	}
	// latest is the newest version, not the newest that can be read.
	if _, err := c.DisableSecretVersion(ctx, &pb.DisableSecretVersionRequest{Name: name + "/versions/3"}); err != nil {
		t.Fatal(err)
	}
	_, err := access(ctx, c, name+"/versions/latest")
	want := "Secret Version [" + name + "/versions/3] is in DISABLED state."
	if status.Code(err) != codes.FailedPrecondition || status.Convert(err).Message() != want {
		t.Errorf("access a disabled latest: %v, want FAILED_PRECONDITION %q", err, want)
	}
	destroyed, err := c.DestroySecretVersion(ctx, &pb.DestroySecretVersionRequest{Name: name + "/versions/2"})
	if err != nil || destroyed.GetState() != pb.SecretVersion_DESTROYED || !destroyed.GetDestroyTime().AsTime().Equal(noon) {
		t.Errorf("destroyed: %v, %v", destroyed, err)
	}
	_, err = access(ctx, c, name+"/versions/2")
	want = "Secret Version [" + name + "/versions/2] is in DESTROYED state."
	if status.Code(err) != codes.FailedPrecondition || status.Convert(err).Message() != want {
		t.Errorf("access a destroyed version: %v, want FAILED_PRECONDITION %q", err, want)
	}
	got, err := c.GetSecretVersion(ctx, &pb.GetSecretVersionRequest{Name: name + "/versions/latest"})
	if err != nil || got.GetName() != name+"/versions/3" || got.GetState() != pb.SecretVersion_DISABLED {
		t.Errorf("get latest: %v, %v", got, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	name := parent + "/secrets/key"
	wrong := int64(1)
	add := func(payload *pb.SecretPayload) func(context.Context, *secretmanager.Client) error {
		return func(ctx context.Context, c *secretmanager.Client) error {
			_, err := c.AddSecretVersion(ctx, &pb.AddSecretVersionRequest{Parent: name, Payload: payload})
			return err
		}
	}
	mk := func(parent, id string, secret *pb.Secret) func(context.Context, *secretmanager.Client) error {
		return func(ctx context.Context, c *secretmanager.Client) error {
			_, err := c.CreateSecret(ctx, &pb.CreateSecretRequest{Parent: parent, SecretId: id, Secret: secret})
			return err
		}
	}
	read := func(name string) func(context.Context, *secretmanager.Client) error {
		return func(ctx context.Context, c *secretmanager.Client) error {
			_, err := access(ctx, c, name)
			return err
		}
	}
	update := func(secret *pb.Secret, paths ...string) func(context.Context, *secretmanager.Client) error {
		return func(ctx context.Context, c *secretmanager.Client) error {
			_, err := c.UpdateSecret(ctx, &pb.UpdateSecretRequest{Secret: secret, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
			return err
		}
	}
	with := func(change func(*pb.Secret)) *pb.Secret {
		s := automatic()
		change(s)
		return s
	}
	labels := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprintf("l%d", i)] = ""
		}
		return m
	}
	tests := map[string]struct {
		do   func(context.Context, *secretmanager.Client) error
		code codes.Code
		text string
	}{
		"create twice":            {mk(parent, "key", automatic()), codes.AlreadyExists, "Secret [" + name + "] already exists."},
		"create without a name":   {mk(parent, "", automatic()), codes.InvalidArgument, ""},
		"create with a path":      {mk(parent, "a/../b", automatic()), codes.InvalidArgument, ""},
		"create nowhere":          {mk("p1", "new", automatic()), codes.InvalidArgument, ""},
		"create regionally":       {mk("projects/p/locations/europe-west1", "new", automatic()), codes.Unimplemented, ""},
		"create unreplicated":     {mk(parent, "new", &pb.Secret{}), codes.InvalidArgument, "Field [secret.replication] is required."},
		"create with expiry":      {mk(parent, "new", with(func(s *pb.Secret) { s.Expiration = &pb.Secret_ExpireTime{ExpireTime: timestamppb.New(noon)} })), codes.Unimplemented, ""},
		"create with rotation":    {mk(parent, "new", with(func(s *pb.Secret) { s.Rotation = &pb.Rotation{} })), codes.Unimplemented, ""},
		"create with alias":       {mk(parent, "new", with(func(s *pb.Secret) { s.VersionAliases = map[string]int64{"a": 1} })), codes.InvalidArgument, ""},
		"create with 65 labels":   {mk(parent, "new", with(func(s *pb.Secret) { s.Labels = labels(65) })), codes.InvalidArgument, ""},
		"create with 64 labels":   {mk(parent, "new", with(func(s *pb.Secret) { s.Labels = labels(64) })), codes.OK, ""},
		"add nothing":             {add(nil), codes.InvalidArgument, "Field [payload] is required."},
		"add 64 KiB":              {add(&pb.SecretPayload{Data: []byte(strings.Repeat("x", 64<<10))}), codes.OK, ""},
		"add more":                {add(&pb.SecretPayload{Data: []byte(strings.Repeat("x", 64<<10+1))}), codes.InvalidArgument, ""},
		"add with wrong checksum": {add(&pb.SecretPayload{Data: []byte("x"), DataCrc32C: &wrong}), codes.InvalidArgument, ""},
		"access no secret":        {read(parent + "/secrets/none/versions/1"), codes.NotFound, "Secret [" + parent + "/secrets/none] not found or has no versions."},
		"access an empty secret":  {read(parent + "/secrets/empty/versions/latest"), codes.NotFound, "Secret [" + parent + "/secrets/empty] not found or has no versions."},
		"access no version":       {read(name + "/versions/9"), codes.NotFound, "Secret Version [" + name + "/versions/9] not found."},
		"access no alias":         {read(name + "/versions/first"), codes.NotFound, "Secret Version [" + name + "/versions/first] not found."},
		"access 01":               {read(name + "/versions/01"), codes.NotFound, ""},
		"access +1":               {read(name + "/versions/+1"), codes.NotFound, ""},
		"access a secret":         {read(name), codes.InvalidArgument, ""},
		"access a deeper path":    {read(name + "/versions/1/x"), codes.InvalidArgument, ""},
		"access regionally":       {read("projects/p/locations/l/secrets/key/versions/1"), codes.Unimplemented, ""},
		"update with wrong etag":  {update(&pb.Secret{Name: name, Etag: `"0"`}, "labels"), codes.FailedPrecondition, ""},
		"update nothing":          {update(&pb.Secret{Name: name}), codes.InvalidArgument, ""},
		"update the rotation":     {update(&pb.Secret{Name: name}, "rotation"), codes.Unimplemented, ""},
		"update with a bad label": {update(&pb.Secret{Name: name, Labels: map[string]string{"A": ""}}, "labels"), codes.InvalidArgument, ""},
		"alias of no version":     {update(&pb.Secret{Name: name, VersionAliases: map[string]int64{"a": 2}}, "version_aliases"), codes.InvalidArgument, ""},
		"alias named latest":      {update(&pb.Secret{Name: name, VersionAliases: map[string]int64{"latest": 1}}, "version_aliases"), codes.InvalidArgument, ""},
		"alias that is a number":  {update(&pb.Secret{Name: name, VersionAliases: map[string]int64{"1": 1}}, "version_aliases"), codes.InvalidArgument, ""},
		"update no secret":        {update(&pb.Secret{Name: parent + "/secrets/none"}, "labels"), codes.NotFound, "Secret [" + parent + "/secrets/none] not found."},
		"disable latest": {func(ctx context.Context, c *secretmanager.Client) error {
			_, err := c.DisableSecretVersion(ctx, &pb.DisableSecretVersionRequest{Name: name + "/versions/latest"})
			return err
		}, codes.InvalidArgument, ""},
		"delete with wrong etag": {func(ctx context.Context, c *secretmanager.Client) error {
			return c.DeleteSecret(ctx, &pb.DeleteSecretRequest{Name: name, Etag: `"0"`})
		}, codes.FailedPrecondition, ""},
		"negative page": {func(ctx context.Context, c *secretmanager.Client) error {
			_, err := c.ListSecretVersions(ctx, &pb.ListSecretVersionsRequest{Parent: name, PageSize: -1}).Next()
			return err
		}, codes.InvalidArgument, ""},
		"page token of elsewhere": {func(ctx context.Context, c *secretmanager.Client) error {
			_, err := c.ListSecretVersions(ctx, &pb.ListSecretVersionsRequest{Parent: name, PageToken: "x"}).Next()
			return err
		}, codes.InvalidArgument, ""},
		"filter by time": {func(ctx context.Context, c *secretmanager.Client) error {
			_, err := c.ListSecretVersions(ctx, &pb.ListSecretVersionsRequest{Parent: name, Filter: "create_time>2020"}).Next()
			return err
		}, codes.Unimplemented, ""},
		"rotate": {func(ctx context.Context, c *secretmanager.Client) error {
			_, err := c.RotateSecret(ctx, &pb.RotateSecretRequest{})
			return err
		}, codes.Unimplemented, ""},
	}
	for label, test := range tests {
		t.Run(label, func(t *testing.T) {
			t.Parallel()
			c := api(t, "")
			create(t, c, "key", "one")
			create(t, c, "empty")
			err := test.do(t.Context(), c)
			if status.Code(err) != test.code {
				t.Fatalf("%v, want %v", err, test.code)
			}
			if test.text != "" && status.Convert(err).Message() != test.text {
				t.Errorf("text %q, want %q", status.Convert(err).Message(), test.text)
			}
		})
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	c := api(t, filepath.Join(t.TempDir(), "secrets"))
	ctx := t.Context()
	payloads := strings.Split("a b c d e f g", " ")
	var want []string
	for _, id := range payloads {
		create(t, c, id)
		want = append(want, parent+"/secrets/"+id)
	}
	create(t, c, "versions", payloads...)
	want = append(want, parent+"/secrets/versions")
	for size := range int32(10) {
		var got []string
		it := c.ListSecrets(ctx, &pb.ListSecretsRequest{Parent: parent, PageSize: size})
		for {
			secret, err := it.Next()
			if errors.Is(err, iterator.Done) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, secret.GetName())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("secrets in pages of %d (-want +got):\n%s", size, diff)
		}
	}
	if _, err := c.DisableSecretVersion(ctx, &pb.DisableSecretVersionRequest{Name: parent + "/secrets/versions/versions/4"}); err != nil {
		t.Fatal(err)
	}
	for filter, want := range map[string]string{"": "7654321", "state:ENABLED": "765321", "state=disabled": "4", "state:DESTROYED": ""} {
		for size := range int32(8) {
			var got strings.Builder
			it := c.ListSecretVersions(ctx, &pb.ListSecretVersionsRequest{Parent: parent + "/secrets/versions", PageSize: size, Filter: filter})
			for {
				version, err := it.Next()
				if errors.Is(err, iterator.Done) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				got.WriteString(strings.TrimPrefix(version.GetName(), parent+"/secrets/versions/versions/"))
			}
			if got.String() != want {
				t.Errorf("versions with %q in pages of %d: %s, want %s", filter, size, got.String(), want)
			}
		}
	}
}

func TestEtagsOfSecretAndVersionsAreApart(t *testing.T) {
	t.Parallel()
	c := api(t, "")
	ctx := t.Context()
	made := create(t, c, "key", "one")
	name := made.GetName()
	if _, err := c.DisableSecretVersion(ctx, &pb.DisableSecretVersionRequest{Name: name + "/versions/1"}); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetSecret(ctx, &pb.GetSecretRequest{Name: name})
	if err != nil || !proto.Equal(made, got) {
		t.Errorf("a change of a version changed the secret: %v, %v; want %v", got, err, made)
	}
	updated, err := c.UpdateSecret(ctx, &pb.UpdateSecretRequest{
		Secret:     &pb.Secret{Name: name, Etag: made.GetEtag(), Labels: map[string]string{"a": "b"}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels"}},
	})
	if err != nil || updated.GetEtag() == made.GetEtag() || updated.GetLabels()["a"] != "b" {
		t.Errorf("update: %v, %v", updated, err)
	}
	if err := c.DeleteSecret(ctx, &pb.DeleteSecretRequest{Name: name, Etag: updated.GetEtag()}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetSecret(ctx, &pb.GetSecretRequest{Name: name}); status.Code(err) != codes.NotFound {
		t.Errorf("a deleted secret: %v, want NOT_FOUND", err)
	}
}

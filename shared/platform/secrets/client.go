// Package secrets reads and writes Secret Manager, which keeps API keys, signing keys and certificates.
//
// Versions are read by number alone: "latest" and aliases are only eventually consistent in Secret
// Manager, so the number of the active version lives in a document beside whoever needs it. Payloads are
// checked against their CRC32C both ways and travel as Value, which shows a mask wherever it is printed.
//
// The package secretserver answers the same client inside the process.
package secrets

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"

	secretmanager "cloud.google.com/go/secretmanager/apiv1"
	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
)

// MaxPayload is the largest payload that Secret Manager takes, in bytes.
const MaxPayload = 64 << 10

// accessTimeout bounds one Access, retries included, when the caller's context has no earlier deadline:
// a request is waiting for it, so the client's default of a minute is too long.
const accessTimeout = 10 * time.Second

// maxName is the longest name of a secret, in bytes.
const maxName = 255

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// State is the state of a version.
type State string

// The states there are. Destroyed is final.
const (
	Enabled   State = "enabled"
	Disabled  State = "disabled"
	Destroyed State = "destroyed"
)

// Version describes a version of a secret without its payload.
type Version struct {
	Number     int64
	State      State
	CreateTime time.Time
	Etag       string // changes with every change of the version, those without effect included
}

// Client reads and writes the secrets of one project. It is safe for concurrent use.
type Client struct {
	api    *secretmanager.Client
	parent string
}

// New returns a client of the project's secrets.
func New(ctx context.Context, project string, opts ...option.ClientOption) (*Client, error) {
	if project == "" || strings.Contains(project, "/") {
		return nil, fmt.Errorf("secrets: project %q: %w", project, ErrInvalid)
	}
	api, err := secretmanager.NewClient(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("secrets: make the client: %w", err)
	}
	api.CallOptions.AccessSecretVersion = []gax.CallOption{
		gax.WithTimeout(accessTimeout),
		gax.WithRetry(func() gax.Retryer {
			return gax.OnCodes([]codes.Code{codes.Unavailable, codes.ResourceExhausted}, gax.Backoff{
				Initial: 100 * time.Millisecond, Max: 2 * time.Second, Multiplier: 2,
			})
		}),
	}
	return &Client{api: api, parent: "projects/" + project}, nil
}

// At returns the options of a client of a stand-in at an address, in the clear; none for the empty address.
func At(address string) []option.ClientOption {
	if address == "" {
		return nil
	}
	return []option.ClientOption{
		option.WithEndpoint(address), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}
}

// Close ends the client's connections.
func (c *Client) Close() error { return c.api.Close() }

// Access returns the payload of a version, after checking it against the checksum sent with it.
func (c *Client) Access(ctx context.Context, name string, version int64) (Value, error) {
	resource, err := c.version(name, version)
	if err != nil {
		return Value{}, err
	}
	answer, err := c.api.AccessSecretVersion(ctx, &secretmanagerpb.AccessSecretVersionRequest{Name: resource})
	if err != nil {
		return Value{}, translate("access", label(name, version), err)
	}
	payload := answer.GetPayload()
	if payload == nil || payload.DataCrc32C == nil || payload.GetDataCrc32C() != checksum(payload.GetData()) {
		return Value{}, fmt.Errorf("secrets: access %s: %w: checksum does not match", label(name, version), ErrCorrupt)
	}
	if got := answer.GetName(); !strings.HasSuffix(got, "/secrets/"+name+"/versions/"+strconv.FormatInt(version, 10)) {
		return Value{}, fmt.Errorf("secrets: access %s: %w: the answer is for %q", label(name, version), ErrCorrupt, got)
	}
	return NewValue(payload.GetData()), nil
}

// Create makes a secret without versions, replicated wherever Google chooses.
func (c *Client) Create(ctx context.Context, name string, labels map[string]string) error {
	if err := validName(name); err != nil {
		return err
	}
	_, err := c.api.CreateSecret(ctx, &secretmanagerpb.CreateSecretRequest{
		Parent: c.parent, SecretId: name, Secret: &secretmanagerpb.Secret{
			Labels: labels,
			Replication: &secretmanagerpb.Replication{Replication: &secretmanagerpb.Replication_Automatic_{
				Automatic: &secretmanagerpb.Replication_Automatic{},
			}},
		},
	})
	return translate("create", name, err)
}

// AddVersion adds an enabled version and returns its number. Two calls add two versions: after
// ErrUnavailable, look at Versions before trying again.
func (c *Client) AddVersion(ctx context.Context, name string, payload []byte) (int64, error) {
	if err := validName(name); err != nil {
		return 0, err
	}
	if len(payload) == 0 || len(payload) > MaxPayload {
		return 0, fmt.Errorf("secrets: add a version of %s: %w: payload of %d bytes, want 1–%d", name, ErrInvalid, len(payload), MaxPayload)
	}
	sum := checksum(payload)
	added, err := c.api.AddSecretVersion(ctx, &secretmanagerpb.AddSecretVersionRequest{
		Parent:  c.secret(name),
		Payload: &secretmanagerpb.SecretPayload{Data: payload, DataCrc32C: &sum},
	})
	if err != nil {
		return 0, translate("add a version of", name, err)
	}
	version, err := parseVersion(added)
	if err != nil {
		return 0, fmt.Errorf("secrets: add a version of %s: %w", name, err)
	}
	return version.Number, nil
}

// Versions lists the versions of a secret, newest first.
func (c *Client) Versions(ctx context.Context, name string) ([]Version, error) {
	if err := validName(name); err != nil {
		return nil, err
	}
	var versions []Version
	it := c.api.ListSecretVersions(ctx, &secretmanagerpb.ListSecretVersionsRequest{Parent: c.secret(name)})
	for {
		listed, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return versions, nil
		}
		if err != nil {
			return nil, translate("list the versions of", name, err)
		}
		version, err := parseVersion(listed)
		if err != nil {
			return nil, fmt.Errorf("secrets: list the versions of %s: %w", name, err)
		}
		versions = append(versions, version)
	}
}

// Disable makes a version unreadable until it is enabled again. An empty etag changes it whatever it is;
// otherwise ErrConflict says that it is no longer the one that was read. So do Enable and Destroy.
func (c *Client) Disable(ctx context.Context, name string, version int64, etag string) error {
	resource, err := c.version(name, version)
	if err != nil {
		return err
	}
	_, err = c.api.DisableSecretVersion(ctx, &secretmanagerpb.DisableSecretVersionRequest{Name: resource, Etag: etag})
	return translate("disable", label(name, version), err)
}

// Enable makes a disabled version readable again.
func (c *Client) Enable(ctx context.Context, name string, version int64, etag string) error {
	resource, err := c.version(name, version)
	if err != nil {
		return err
	}
	_, err = c.api.EnableSecretVersion(ctx, &secretmanagerpb.EnableSecretVersionRequest{Name: resource, Etag: etag})
	return translate("enable", label(name, version), err)
}

// Destroy removes the payload of a version for ever (after the secret's version_destroy_ttl, where set).
func (c *Client) Destroy(ctx context.Context, name string, version int64, etag string) error {
	resource, err := c.version(name, version)
	if err != nil {
		return err
	}
	_, err = c.api.DestroySecretVersion(ctx, &secretmanagerpb.DestroySecretVersionRequest{Name: resource, Etag: etag})
	return translate("destroy", label(name, version), err)
}

func (c *Client) secret(name string) string { return c.parent + "/secrets/" + name }

func (c *Client) version(name string, version int64) (string, error) {
	if err := validName(name); err != nil {
		return "", err
	}
	if version < 1 {
		return "", fmt.Errorf("secrets: %s: %w: version %d, want a number from 1", name, ErrInvalid, version)
	}
	return c.secret(name) + "/versions/" + strconv.FormatInt(version, 10), nil
}

func validName(name string) error {
	if len(name) == 0 || len(name) > maxName || strings.ContainsFunc(name, notOfName) {
		return fmt.Errorf("secrets: name %.80q: %w: want 1 to %d letters, digits, underscores and hyphens", name, ErrInvalid, maxName)
	}
	return nil
}

// notOfName reports whether a name may not have the character. A regular expression that counts to 255 would
// take longer to compile than anything else that this package does when a function starts.
func notOfName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
}

func parseVersion(v *secretmanagerpb.SecretVersion) (Version, error) {
	states := map[secretmanagerpb.SecretVersion_State]State{
		secretmanagerpb.SecretVersion_ENABLED:   Enabled,
		secretmanagerpb.SecretVersion_DISABLED:  Disabled,
		secretmanagerpb.SecretVersion_DESTROYED: Destroyed,
	}
	state, known := states[v.GetState()]
	number, err := strconv.ParseInt(v.GetName()[strings.LastIndexByte(v.GetName(), '/')+1:], 10, 64)
	if err != nil || number < 1 || !known {
		return Version{}, fmt.Errorf("%w: version %.300q in state %v", ErrCorrupt, v.GetName(), v.GetState())
	}
	return Version{Number: number, State: state, CreateTime: v.GetCreateTime().AsTime(), Etag: v.GetEtag()}, nil
}

func checksum(payload []byte) int64 { return int64(crc32.Checksum(payload, castagnoli)) }

func label(name string, version int64) string { return name + "/" + strconv.FormatInt(version, 10) }

package secretserver

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"time"

	"cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// errDamaged means that a stored secret is not what was written.
var errDamaged = errors.New("damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) int64 { return int64(crc32.Checksum(b, castagnoli)) }

// record is one stored secret with all its versions, oldest first and numbered from 1 without a gap.
type record struct {
	Name       string            `json:"name"`
	CreateTime time.Time         `json:"create_time"`
	Revision   int64             `json:"revision"` // of the secret itself; every change of it counts one up
	Labels     map[string]string `json:"labels,omitempty"`
	Aliases    map[string]int64  `json:"version_aliases,omitempty"`
	Versions   []version         `json:"versions"`
}

type version struct {
	State       string    `json:"state"` // a name of SecretVersion_State
	CreateTime  time.Time `json:"create_time"`
	DestroyTime time.Time `json:"destroy_time,omitzero"`
	Revision    int64     `json:"revision"` // every change of the version counts one up
	Checked     bool      `json:"client_specified_checksum,omitempty"`
	Payload     []byte    `json:"payload,omitempty"` // gone once destroyed
}

// envelope is the content of a file: the record and the checksum of its bytes, so that damage anywhere
// in the file is found before anything in it is believed.
type envelope struct {
	Checksum int64           `json:"crc32c"`
	Secret   json.RawMessage `json:"secret"`
}

func encode(r *record) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode secret %s: %w", r.Name, err)
	}
	file, err := json.Marshal(envelope{Checksum: checksum(body), Secret: body})
	if err != nil {
		return nil, fmt.Errorf("encode secret %s: %w", r.Name, err)
	}
	return append(file, '\n'), nil
}

// decode reads a file's content. Its errors name the fault and hold nothing of the payload.
func decode(file []byte) (*record, error) {
	var e envelope
	if err := strict(file, &e); err != nil {
		return nil, fmt.Errorf("%w: not the JSON of a secret", errDamaged)
	}
	if checksum(e.Secret) != e.Checksum {
		return nil, fmt.Errorf("%w: checksum does not match", errDamaged)
	}
	var r record
	if err := strict(e.Secret, &r); err != nil {
		return nil, fmt.Errorf("%w: not a record of this version's form", errDamaged)
	}
	for i, v := range r.Versions {
		if state(v.State) == secretmanagerpb.SecretVersion_STATE_UNSPECIFIED {
			return nil, fmt.Errorf("%w: version %d has no known state", errDamaged, i+1)
		}
	}
	return &r, nil
}

func strict(data []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	return nil
}

func state(name string) secretmanagerpb.SecretVersion_State {
	return secretmanagerpb.SecretVersion_State(secretmanagerpb.SecretVersion_State_value[name])
}

// etag is opaque to clients; the quotes are part of it, as in the real ones. The creation time keeps the
// etags of a secret apart from those of a deleted one of the same name.
func (r *record) etag() string { return r.etagOf(0, r.Revision) }

func (r *record) etagOf(number, revision int64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%d\n%d\n%d", r.Name, r.CreateTime.UnixMicro(), number, revision))
	return `"` + hex.EncodeToString(sum[:7]) + `"`
}

// proto returns the secret as the API shows it, in a project.
func (r *record) proto(project string) *secretmanagerpb.Secret {
	return &secretmanagerpb.Secret{
		Name:       "projects/" + project + "/secrets/" + r.Name,
		CreateTime: timestamppb.New(r.CreateTime),
		Labels:     r.Labels,
		Etag:       r.etag(),
		Replication: &secretmanagerpb.Replication{Replication: &secretmanagerpb.Replication_Automatic_{
			Automatic: &secretmanagerpb.Replication_Automatic{},
		}},
		VersionAliases: r.Aliases,
	}
}

// versionProto returns version number as the API shows it, in a project.
func (r *record) versionProto(project string, number int64) *secretmanagerpb.SecretVersion {
	v := r.Versions[number-1]
	shown := &secretmanagerpb.SecretVersion{
		Name:       "projects/" + project + "/secrets/" + r.Name + "/versions/" + strconv.FormatInt(number, 10),
		CreateTime: timestamppb.New(v.CreateTime),
		State:      state(v.State),
		Etag:       r.etagOf(number, v.Revision),
		ReplicationStatus: &secretmanagerpb.ReplicationStatus{ReplicationStatus: &secretmanagerpb.ReplicationStatus_Automatic{
			Automatic: &secretmanagerpb.ReplicationStatus_AutomaticStatus{},
		}},
		ClientSpecifiedPayloadChecksum: v.Checked,
	}
	if !v.DestroyTime.IsZero() {
		shown.DestroyTime = timestamppb.New(v.DestroyTime)
	}
	return shown
}

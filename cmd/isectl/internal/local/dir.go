// Package local is the platform on one machine: all functions in one process, over an embedded store and
// a Secret Manager of its own, with everything that lasts in one directory.
package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Dir is the directory that holds the platform's state (LOCAL_DIR).
type Dir string

// Store is the file of the embedded store. A running platform has it locked.
func (d Dir) Store() string { return filepath.Join(string(d), "platform.db") }

// Secrets is the directory of the local Secret Manager.
func (d Dir) Secrets() string { return filepath.Join(string(d), "secrets") }

// messages is the file of the local Pub/Sub.
func (d Dir) messages() string { return filepath.Join(string(d), "pubsub.db") }

// info is the file that tells isectl where the platform is and how to act as its operator.
func (d Dir) info() string { return filepath.Join(string(d), "local.json") }

// Info is how isectl finds a local platform and proves to it that an operator is calling.
type Info struct {
	Server        string `json:"server"`           // base URL
	PubSub        string `json:"pubsub,omitempty"` // host:port of Pub/Sub, whose project is "local"
	DNS           string `json:"dns,omitempty"`    // host:port of the zone internal.isectech.com, UDP and TCP
	PID           int    `json:"pid"`
	Operator      string `json:"operator"`        // e-mail address
	OperatorKey   string `json:"operator_key"`    // PKCS #8 PEM: signs the ID tokens that are exchanged
	OperatorKeyID string `json:"operator_key_id"` // their kid
}

// Prepare makes the directory, for nobody else to read.
func (d Dir) Prepare() error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("local directory: %w", err)
	}
	return nil
}

// ErrNoPlatform means that no platform has ever run in the directory.
var ErrNoPlatform = errors.New("no platform has run here")

// ReadInfo reads what a platform left in the directory.
func (d Dir) ReadInfo() (Info, error) {
	var info Info
	data, err := os.ReadFile(d.info())
	if errors.Is(err, fs.ErrNotExist) {
		return info, fmt.Errorf("%s: %w", d, ErrNoPlatform)
	}
	if err != nil {
		return info, fmt.Errorf("read operator credential: %w", err)
	}
	if err := json.Unmarshal(data, &info); err != nil {
		return info, fmt.Errorf("read %s: %w", d.info(), err)
	}
	return info, nil
}

// writeInfo replaces the file in one step.
func (d Dir) writeInfo(info Info) error {
	data, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(string(d), ".local-*.json") // mode 0600
	if err != nil {
		return fmt.Errorf("write operator credential: %w", err)
	}
	_, err = tmp.Write(append(data, '\n'))
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), d.info())
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("write operator credential: %w", err)
	}
	return nil
}

// Package emulatortest gives tests the official Firestore emulator: one process a test binary, one
// project a test.
//
// A package whose tests need it calls Main from its TestMain, so that the emulator ends with the tests:
//
//	func TestMain(m *testing.M) { os.Exit(emulatortest.Main(m)) }
//
// An emulator that runs already is used when FIRESTORE_EMULATOR_HOST names it; Start gives a test one of its
// own. Where there is none and none can be started, tests are skipped; with CI=true they fail instead.
package emulatortest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const addrVariable = "FIRESTORE_EMULATOR_HOST"

// shared is the emulator of this test binary.
var shared struct {
	once    sync.Once
	addr    string
	process *process
	err     error
}

// Main runs the tests and ends the emulator that they started. It returns the exit status.
func Main(m *testing.M) int {
	status := m.Run()
	if shared.process != nil {
		shared.process.stop()
	}
	return status
}

// Addr returns the emulator's host:port, starting it if need be; without one it skips the test, or fails
// it in CI.
func Addr(t testing.TB) string {
	t.Helper()
	shared.once.Do(func() {
		if shared.addr = os.Getenv(addrVariable); shared.addr != "" {
			return
		}
		if shared.process, shared.err = start(); shared.err == nil {
			shared.addr = shared.process.addr
		}
	})
	if shared.err != nil {
		missing(t, shared.err)
	}
	return shared.addr
}

// missing skips a test that has no emulator, or fails it in CI.
func missing(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("the Firestore emulator is required in CI: %v", err)
	}
	t.Skipf("NOT TESTED against Firestore, since its emulator cannot be started: %v", err)
}

// Client returns a client of a project that no other test has. Both go when the test ends. Dial options
// may put interceptors between client and emulator.
func Client(t testing.TB, dial ...grpc.DialOption) *firestore.Client {
	t.Helper()
	addr := Addr(t)
	project := Project()
	t.Cleanup(func() {
		if err := reset(addr, project); err != nil {
			t.Errorf("emulatortest: reset: %v", err)
		}
	})
	return ClientOf(t, project, dial...)
}

// Project returns the id of a project that no other test has. Upper-case letters in one make the emulator
// fail in obscure ways.
func Project() string { return "test-" + strings.ToLower(rand.Text())[:16] }

// ClientOf returns another client of a project.
func ClientOf(t testing.TB, project string, dial ...grpc.DialOption) *firestore.Client {
	t.Helper()
	return clientAt(t, Addr(t), project, dial...)
}

func clientAt(t testing.TB, addr, project string, dial ...grpc.DialOption) *firestore.Client {
	t.Helper()
	dial = append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(owner{}),
	}, dial...)
	conn, err := grpc.NewClient("passthrough:///"+addr, dial...)
	if err != nil {
		t.Fatalf("emulatortest: %v", err)
	}
	client, err := firestore.NewClient(context.WithoutCancel(t.Context()), project, option.WithGRPCConn(conn))
	if err != nil {
		t.Fatalf("emulatortest: %v", err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("emulatortest: close: %v", err)
		}
	})
	return client
}

// owner is the credential by which the emulator lets everything pass.
type owner struct{}

// GetRequestMetadata returns the header that the emulator knows.
func (owner) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer owner"}, nil
}

// RequireTransportSecurity is false: the emulator speaks plain text.
func (owner) RequireTransportSecurity() bool { return false }

// reset removes all documents of a project from the emulator's memory.
func reset(addr, project string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	url := fmt.Sprintf("http://%s/emulator/v1/projects/%s/databases/(default)/documents", addr, project)
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("emulator: %s", resp.Status)
	}
	return nil
}

package local_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/isectech/service-networking/cmd/isectl/internal/local"
)

// asPlatform names the directory that this test binary is to run a platform on, rather than tests: only a
// process can be killed.
const asPlatform = "LOCAL_TEST_PLATFORM"

func TestMain(m *testing.M) {
	dir, ok := os.LookupEnv(asPlatform)
	if !ok {
		os.Exit(m.Run())
	}
	err := local.Run(context.Background(), local.Options{
		Dir: local.Dir(dir), Port: "0", Lookup: os.LookupEnv, Now: time.Now, Logs: os.Stderr,
		Ready: func(info local.Info) { _ = json.NewEncoder(os.Stdout).Encode(info) },
	})
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

package redistest_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/platform/redis/redistest"
)

func TestServer(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Do("SET", "a", "1")
	if got := s.Do("MGET", "a", "b"); got != "1\n" {
		t.Errorf("mget: %q", got)
	}
	s.Flush()
	if got := s.Keys(); len(got) != 0 {
		t.Errorf("keys after a flush: %q", got)
	}
	kinds := map[string]bool{}
	for kind := range redistest.GarbageKinds {
		s.Garbage("a", kind)
		kinds[s.Do("TYPE", "a")] = true
	}
	if len(kinds) != 6 {
		t.Errorf("types of garbage: %v", kinds)
	}
	s.Pause()
	s.Resume()
	if got := s.Do("PING"); got != "PONG" {
		t.Errorf("after a pause: %q", got)
	}
	s.Pause()
	s.Stop()
	s.Stop()
	if _, err := s.Try("PING"); err == nil {
		t.Error("a stopped server answers")
	}
	s.Start()
	if got := s.Do("DBSIZE"); got != "0" {
		t.Errorf("%s keys after a restart", got)
	}
}

// orphanVariable makes the test binary start a server and wait to be killed.
const orphanVariable = "REDISTEST_ORPHAN"

// TestOrphan kills a test binary the hard way: its server must end too, frozen or not.
func TestOrphan(t *testing.T) {
	if os.Getenv(orphanVariable) != "" {
		s := redistest.Start(t)
		s.Pause()
		fmt.Println("at", s.Addr())
		select {}
	}
	t.Parallel()
	redistest.Start(t) // skips where there is none
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOrphan$")
	cmd.Env = append(os.Environ(), orphanVariable+"=1")
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr := ""
	for lines := bufio.NewScanner(output); addr == "" && lines.Scan(); {
		_, addr, _ = strings.Cut(lines.Text(), "at ")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	end := time.After(30 * time.Second)
	for {
		var dialer net.Dialer
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		cancel()
		if err != nil {
			return
		}
		_ = conn.Close()
		select {
		case <-end:
			t.Fatalf("the server at %s has outlived its test by 30 seconds", addr)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

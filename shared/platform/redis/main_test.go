package redis_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails when a connection's goroutines outlive the tests.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

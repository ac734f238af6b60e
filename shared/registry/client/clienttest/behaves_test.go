package clienttest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/isectech/service-networking/shared/registry/client/clienttest"
)

// The registry of tests does what the real one does; the tests' own module asks that one the same.
func TestBehaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clienttest.Behaves(t, clienttest.Subject{
			HTTP:    clienttest.New(t, time.Now, "isectech-backend-services"),
			Token:   func() string { return "a-token" },
			Advance: time.Sleep,
		})
	})
}

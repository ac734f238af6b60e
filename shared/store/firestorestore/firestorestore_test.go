package firestorestore_test

import (
	"os"
	"testing"
	"time"

	"github.com/isectech/service-networking/shared/store"
	"github.com/isectech/service-networking/shared/store/firestorestore"
	"github.com/isectech/service-networking/shared/store/firestorestore/emulatortest"
	"github.com/isectech/service-networking/shared/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(emulatortest.Main(m)) }

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store { return open(t, now) })
}

func open(t testing.TB, now func() time.Time) *firestorestore.Store {
	t.Helper()
	s, err := firestorestore.New(emulatortest.Client(t), firestorestore.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

package boltstore

import (
	"fmt"
	"runtime/debug"

	"github.com/isectech/service-networking/shared/store"
)

// guard runs fn, which reads the mapped file, and turns what a damaged page makes of it, a failed
// assertion or an address outside the file, into a store.CorruptError.
func guard(fn func() error) (err error) {
	was := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(was)
	defer func() {
		if r := recover(); r != nil {
			err = &store.CorruptError{Err: fmt.Errorf("damaged page: %v", r)}
		}
	}()
	return fn()
}

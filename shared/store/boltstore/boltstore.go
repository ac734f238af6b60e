// Package boltstore keeps a store in one local file: a store.Store for one machine, durable across
// kill -9, held by one process at a time.
//
// Every value in the file carries a checksum over itself, its key and its bucket, and the file's structure
// is checked before it is used; damage is an error that wraps store.ErrCorrupt, never a crash.
package boltstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/isectech/service-networking/shared/store"
)

// ErrLocked says that another process holds the file.
var ErrLocked = errors.New("another process holds the store")

// errClosed is what calls get after Close.
var errClosed = fmt.Errorf("%w: closed", store.ErrUnavailable)

// Options are what a store is made with. Now is required.
type Options struct {
	Now    func() time.Time
	Logger *slog.Logger // nil: none
	// ReadOnly opens an existing file for reading alone, as verification of a stopped platform does:
	// nothing is changed, repaired or compacted, and Commit is refused.
	ReadOnly bool
	// Log names the collections whose writes are kept, each for itself, for ReadLog.
	Log []string
}

// DB is an open store. It implements store.Store and store.Checker.
type DB struct {
	path string
	now  func() time.Time
	log  *slog.Logger

	bolt      *bbolt.DB
	file      *os.File // bolt's own, which holds the lock
	readOnly  bool
	changelog changelog
	found     error // damage seen on opening that the file works in spite of

	broken  atomic.Pointer[error] // set once a write transaction has failed: no write is tried after it
	queueMu sync.Mutex
	queue   []*request
	lead    chan struct{} // held by whoever commits for all in the queue
}

// Open opens the store at a path, or makes it. It returns ErrLocked when another process has it open, and
// an error wrapping store.ErrCorrupt when the file's structure is damaged.
func Open(path string, opts Options) (*DB, error) {
	if opts.Now == nil {
		return nil, fmt.Errorf("%w: boltstore: no clock", store.ErrInvalid)
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	changelog, err := newChangelog(opts.Log)
	if err != nil {
		return nil, fmt.Errorf("boltstore: log: %w", err)
	}
	db := &DB{
		path: path, now: opts.Now, log: opts.Logger, readOnly: opts.ReadOnly, changelog: changelog,
		lead: make(chan struct{}, 1),
	}
	if err := db.open(); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

// Close waits for the calls that are under way and releases the file, which then holds nothing but what is
// live.
func (db *DB) Close() error {
	db.lead <- struct{}{} // no commit from here on
	defer func() { <-db.lead }()
	if err := db.isBroken(); errors.Is(err, errClosed) {
		return nil
	} else if err != nil {
		// bbolt's own locks may be held for ever; the process's hold on the file must not be.
		return db.file.Close()
	}
	closed := errClosed
	db.broken.CompareAndSwap(nil, &closed)
	var fresh *bbolt.DB
	if !db.readOnly {
		var err error
		if fresh, _, err = db.compact(); err != nil {
			db.log.Warn("store_not_compacted", slog.String("path", db.path), slog.Any("error", err))
		}
	}
	err := db.bolt.Close()
	if fresh != nil {
		err = errors.Join(err, fresh.Close())
	}
	return err
}

func (db *DB) isBroken() error {
	if err := db.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// view runs fn in a read transaction. What fn keeps of the transaction's memory it has to copy.
func (db *DB) view(ctx context.Context, fn func(tx *bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := guard(func() error { return db.bolt.View(fn) })
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return errClosed
	}
	return err
}

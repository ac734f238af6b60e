package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/isectech/service-networking/shared/store"
)

const (
	fileMode    = 0o600
	lockTimeout = 500 * time.Millisecond
	// reopenings bounds how often the file may have been replaced by its compacted copy just when it was
	// opened.
	reopenings = 10

	// A file up to smallFile is compacted whenever it has free pages, which hold old copies of what was
	// overwritten; a bigger one when half of it is free.
	smallFile    = 32 << 20
	compactBatch = 1 << 20
)

// open makes the file if there is none, checks its structure, takes it, and compacts it.
func (db *DB) open() error {
	if err := db.create(); err != nil {
		return err
	}
	// bbolt trusts the pages it reads; so they are looked at before it opens the file for writing, which
	// reads the list of free pages.
	if err := db.inspect(); err != nil {
		return err
	}
	if err := db.take(); err != nil {
		return err
	}
	if err := db.prepare(); err != nil {
		return errors.Join(err, db.file.Close())
	}
	return nil
}

// create makes a file with empty buckets. It appears under its name when it is whole, so that no kill can
// leave half of one.
func (db *DB) create() error {
	if _, err := os.Stat(db.path); !errors.Is(err, fs.ErrNotExist) || db.readOnly {
		return err
	}
	dir := filepath.Dir(db.path)
	temp, err := os.CreateTemp(dir, filepath.Base(db.path)+".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	if err := temp.Close(); err != nil {
		return err
	}
	fresh, err := bbolt.Open(temp.Name(), fileMode, &bbolt.Options{Timeout: lockTimeout})
	if err != nil {
		return err
	}
	err = fresh.Update(func(tx *bbolt.Tx) error {
		for _, name := range buckets() {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		return put(tx, metaBucket, []byte(formatKey), []byte(format))
	})
	if err := errors.Join(err, fresh.Close()); err != nil {
		return err
	}
	if err := os.Link(temp.Name(), db.path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// inspect checks the structure under a shared lock.
func (db *DB) inspect() error {
	bolt, file, err := db.openBolt(db.path, true)
	if err != nil {
		return err
	}
	torn, err := inspectFile(file)
	db.found = torn
	if torn != nil {
		db.log.Warn("store_meta_page_damaged", slog.String("path", db.path), slog.Any("error", torn))
	}
	return errors.Join(err, bolt.Close())
}

// take opens the file and with it the lock.
func (db *DB) take() error {
	for range reopenings {
		bolt, file, err := db.openBolt(db.path, db.readOnly)
		if err != nil {
			return err
		}
		// Whoever held the lock before may have put a compacted file in the place of this one.
		held, err := file.Stat()
		if err != nil {
			return errors.Join(err, bolt.Close())
		}
		named, err := os.Stat(db.path)
		if err != nil {
			return errors.Join(err, bolt.Close())
		}
		if os.SameFile(held, named) {
			db.bolt, db.file = bolt, file
			return nil
		}
		if err := bolt.Close(); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: the file is being replaced", ErrLocked)
}

// prepare checks the format and brings the file into shape.
func (db *DB) prepare() error {
	err := guard(func() error {
		return db.bolt.View(func(tx *bbolt.Tx) error {
			got, err := get(tx, metaBucket, []byte(formatKey))
			if err != nil {
				return err
			}
			if string(got) != format {
				return fmt.Errorf("%w: format %.20q of the file; %q is known", store.ErrInvalid, got, format)
			}
			return nil
		})
	})
	if err != nil || db.readOnly {
		return err
	}
	info, err := db.file.Stat()
	if err != nil {
		return err
	}
	if info.Mode().Perm() != fileMode {
		if err := db.file.Chmod(fileMode); err != nil {
			return err
		}
	}
	if err := db.prepareLog(); err != nil {
		return err
	}
	compacted, file, err := db.compact()
	if err != nil || compacted == nil {
		return err
	}
	old := db.bolt
	db.bolt, db.file = compacted, file
	return old.Close()
}

// openBolt opens a file with bbolt and returns bbolt's own handle of it too.
func (db *DB) openBolt(path string, readOnly bool) (bolt *bbolt.DB, file *os.File, err error) {
	err = guard(func() (err error) {
		bolt, err = bbolt.Open(path, fileMode, &bbolt.Options{
			Timeout:      lockTimeout,
			ReadOnly:     readOnly,
			FreelistType: bbolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				file, err = os.OpenFile(name, flag, mode) // #nosec G304 -- the path is the caller's own
				return file, err
			},
		})
		return err
	})
	switch {
	case err == nil:
		return bolt, file, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		err = ErrLocked
	case errors.Is(err, store.ErrCorrupt):
		// A failed assertion has left the handle, and with it the lock, behind.
		err = errors.Join(err, file.Close())
	case !isSystem(err):
		// What is not the system's error is bbolt's about the content.
		err = &store.CorruptError{Err: err}
	}
	return nil, nil, err
}

// isSystem reports whether an error comes from the file system.
func isSystem(err error) bool {
	var path *fs.PathError
	var number syscall.Errno
	return errors.As(err, &path) || errors.As(err, &number)
}

// compact copies what is live into a new file and puts it in the place of the old one, if that is worth
// it. It returns the new file, locked and open, or nil; the old one stays open and is the caller's to close.
func (db *DB) compact() (*bbolt.DB, *os.File, error) {
	stats := db.bolt.Stats()
	info, err := db.file.Stat()
	if err != nil {
		return nil, nil, err
	}
	free := int64(stats.FreePageN+stats.PendingPageN) * int64(db.bolt.Info().PageSize)
	if free == 0 || info.Size() > smallFile && free < info.Size()/2 {
		return nil, nil, nil
	}
	temp := db.path + ".compact"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	fresh, file, err := db.openBolt(temp, false)
	if err != nil {
		return nil, nil, err
	}
	// Nobody depends on the copy before it is whole: one sync at its end does.
	fresh.NoSync = true
	err = guard(func() error { return bbolt.Compact(fresh, db.bolt, compactBatch) })
	if err == nil {
		err = fresh.Sync()
	}
	fresh.NoSync = false
	if err == nil {
		err = os.Rename(temp, db.path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(db.path))
	}
	if err != nil {
		return nil, nil, errors.Join(err, fresh.Close(), os.Remove(temp))
	}
	return fresh, file, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir) // #nosec G304 -- the path is the caller's own
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

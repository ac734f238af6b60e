package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io/fs"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// The buckets of the file. Every value in them is preceded by a checksum over its bucket, its key and
// itself.
const (
	topicsBucket        = "topics"        // name → Topic
	subscriptionsBucket = "subscriptions" // name → number, Subscription
	messagesBucket      = "messages"      // id → topic, PubsubMessage
	pendingBucket       = "pending"       // number of the subscription, id → failures
)

const (
	fileMode    = 0o600
	lockTimeout = 500 * time.Millisecond
)

// ErrLocked says that another process holds the file.
var ErrLocked = errors.New("another process holds it")

// errCorrupt says that the file does not hold what was written to it.
var errCorrupt = errors.New("the file is damaged")

// disk keeps bytes by bucket and key. update does all of what fn puts or nothing, durably, and not before fn
// has returned; one update runs at a time.
type disk interface {
	update(fn func(put func(bucket string, key, value []byte)) error) error // a nil value removes
	get(bucket string, key []byte) ([]byte, error)                          // nil: not there
	each(bucket string, fn func(key, value []byte) error) error             // in the order of the keys
	close() error
}

func openDisk(path string) (disk, error) {
	if path == "" {
		m := &memory{buckets: make(map[string]map[string][]byte)}
		for _, name := range buckets() {
			m.buckets[name] = make(map[string][]byte)
		}
		return m, nil
	}
	return openFile(path)
}

func buckets() []string {
	return []string{topicsBucket, subscriptionsBucket, messagesBucket, pendingBucket}
}

// file is a disk in one file.
type file struct{ db *bbolt.DB }

func openFile(path string) (*file, error) {
	f := new(file)
	err := guard(func() (err error) {
		f.db, err = bbolt.Open(path, fileMode, &bbolt.Options{Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType})
		if errors.Is(err, bolterrors.ErrTimeout) {
			return ErrLocked
		}
		if err != nil {
			return err
		}
		return f.db.Update(func(tx *bbolt.Tx) error {
			for _, name := range buckets() {
				if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err == nil {
		err = private(path)
	}
	if err != nil && f.db != nil {
		err = errors.Join(err, f.db.Close())
	}
	return f, err
}

// private takes a file that somebody made readable for others back from them.
func private(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm() == fs.FileMode(fileMode) {
		return nil
	}
	return os.Chmod(path, fileMode)
}

func (f *file) update(fn func(put func(bucket string, key, value []byte)) error) error {
	return guard(func() error {
		return f.db.Update(func(tx *bbolt.Tx) error {
			var failed error
			err := fn(func(bucket string, key, value []byte) {
				b := tx.Bucket([]byte(bucket))
				if value == nil {
					failed = errors.Join(failed, b.Delete(key))
					return
				}
				failed = errors.Join(failed, b.Put(key, seal(bucket, key, value)))
			})
			return errors.Join(err, failed)
		})
	})
}

func (f *file) get(bucket string, key []byte) (value []byte, err error) {
	err = guard(func() error {
		return f.db.View(func(tx *bbolt.Tx) error {
			sealed := tx.Bucket([]byte(bucket)).Get(key)
			if sealed == nil {
				return nil
			}
			v, err := unseal(bucket, key, sealed)
			value = bytes.Clone(v)
			return err
		})
	})
	return value, err
}

func (f *file) each(bucket string, fn func(key, value []byte) error) error {
	return guard(func() error {
		return f.db.View(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte(bucket)).ForEach(func(k, v []byte) error {
				value, err := unseal(bucket, k, v)
				if err != nil {
					return err
				}
				return fn(k, value)
			})
		})
	})
}

func (f *file) close() error { return f.db.Close() }

// guard turns what bbolt makes of a damaged page, a failed assertion or an address outside the file, into
// an error.
func guard(fn func() error) (err error) {
	was := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(was)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errCorrupt, r)
		}
	}()
	return fn()
}

var crcTable = crc64.MakeTable(crc64.ECMA)

func seal(bucket string, key, value []byte) []byte {
	sealed := make([]byte, 8, 8+len(value))
	binary.BigEndian.PutUint64(sealed, checksum(bucket, key, value))
	return append(sealed, value...)
}

func unseal(bucket string, key, sealed []byte) ([]byte, error) {
	if len(sealed) < 8 || binary.BigEndian.Uint64(sealed) != checksum(bucket, key, sealed[8:]) {
		return nil, fmt.Errorf("%w: %s %q", errCorrupt, bucket, key)
	}
	return sealed[8:], nil
}

func checksum(bucket string, key, value []byte) uint64 {
	sum := crc64.Update(0, crcTable, fmt.Appendf(nil, "%s %d ", bucket, len(key)))
	sum = crc64.Update(sum, crcTable, key)
	return crc64.Update(sum, crcTable, value)
}

// memory is a disk that ends with the process.
type memory struct {
	mu      sync.RWMutex
	buckets map[string]map[string][]byte
}

func (m *memory) update(fn func(put func(bucket string, key, value []byte)) error) error {
	var puts []func()
	err := fn(func(bucket string, key, value []byte) {
		puts = append(puts, func() {
			if value == nil {
				delete(m.buckets[bucket], string(key))
				return
			}
			m.buckets[bucket][string(key)] = value
		})
	})
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, put := range puts {
		put()
	}
	return nil
}

func (m *memory) get(bucket string, key []byte) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.buckets[bucket][string(key)], nil
}

func (m *memory) each(bucket string, fn func(key, value []byte) error) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, k := range slices.Sorted(maps.Keys(m.buckets[bucket])) {
		if err := fn([]byte(k), m.buckets[bucket][k]); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) close() error { return nil }

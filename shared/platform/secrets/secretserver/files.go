package secretserver

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

const (
	fileSuffix = ".json"
	tempPrefix = ".tmp-"
	// longestStem keeps a file's name below the 255 bytes that file systems take.
	longestStem = 240
)

// files keeps one content a file name. read returns fs.ErrNotExist for a file that is not there; write
// replaces a file as a whole or not at all; lock keeps all other writers out until it is released.
type files interface {
	read(file string) ([]byte, error)
	write(file string, content []byte) error
	remove(file string) error
	list() ([]string, error)
	lock() (unlock func(), err error)
}

// fileName returns the file of a secret: its name, or for a name that no file system takes, a part of it
// and its digest, set apart by a dot, which no secret's name has.
func fileName(secret string) string {
	if len(secret) > longestStem {
		sum := sha256.Sum256([]byte(secret))
		secret = secret[:longestStem/2] + "." + hex.EncodeToString(sum[:])
	}
	return secret + fileSuffix
}

// directory keeps files in a directory that other processes use as well.
type directory struct{ path string }

// openDirectory makes the directory if need be, refuses one that others may look into, and removes what
// a process that was killed in the middle of a write has left behind.
func openDirectory(path string) (*directory, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("secretserver: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("secretserver: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("secretserver: directory %s has mode %#o; secrets need 0700 (chmod 700 it)", path, info.Mode().Perm())
	}
	d := &directory{path}
	unlock, err := d.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("secretserver: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			if err := os.Remove(filepath.Join(path, e.Name())); err != nil {
				return nil, fmt.Errorf("secretserver: remove an unfinished write: %w", err)
			}
		}
	}
	return d, nil
}

// read reads the file every time: another process may have replaced it, and the files are small.
func (d *directory) read(file string) ([]byte, error) {
	return os.ReadFile(filepath.Join(d.path, file)) //nolint:gosec // file comes from fileName or list
}

// write makes the new content durable before the name points to it, and the name durable before it
// returns, so that a crash at any moment leaves the old content or the new.
func (d *directory) write(file string, content []byte) (err error) {
	temp, err := os.CreateTemp(d.path, tempPrefix) // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreMissing(os.Remove(temp.Name())))
		}
	}()
	_, err = temp.Write(content)
	if err == nil {
		err = temp.Sync()
	}
	err = errors.Join(err, temp.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), filepath.Join(d.path, file)); err != nil {
		return err
	}
	return d.sync()
}

func (d *directory) remove(file string) error {
	if err := os.Remove(filepath.Join(d.path, file)); err != nil {
		return err
	}
	return d.sync()
}

func (d *directory) list() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), fileSuffix) && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// lock takes the advisory lock of the directory itself, which ends with the process that holds it.
func (d *directory) lock() (func(), error) {
	handle, err := os.Open(d.path)
	if err != nil {
		return nil, fmt.Errorf("secretserver: %w", err)
	}
	for {
		err = syscall.Flock(int(handle.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("secretserver: lock %s: %w", d.path, err), handle.Close())
	}
	return func() { _ = handle.Close() }, nil // closing releases the lock; nothing was written through it
}

func (d *directory) sync() error {
	handle, err := os.Open(d.path)
	if err != nil {
		return err
	}
	return errors.Join(handle.Sync(), handle.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// memory keeps files for as long as the process lives.
type memory struct {
	mu      sync.Mutex
	content map[string][]byte
	writers sync.Mutex
}

func newMemory() *memory { return &memory{content: map[string][]byte{}} }

func (m *memory) read(file string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	content, ok := m.content[file]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return content, nil
}

func (m *memory) write(file string, content []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.content[file] = content
	return nil
}

func (m *memory) remove(file string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.content, file)
	return nil
}

func (m *memory) list() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.content)), nil
}

func (m *memory) lock() (func(), error) {
	m.writers.Lock()
	return m.writers.Unlock, nil
}

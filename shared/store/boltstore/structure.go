package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	"github.com/isectech/service-networking/shared/store"
)

// bbolt's file format: pages that begin with id, flags, count and overflow; two of them are meta pages, of
// which the one with the higher transaction is in force; the rest form trees and the list of free pages.
// bbolt itself trusts all of it: a page number out of range is an invalid address, a loop never ends. So
// the pages are walked here first, by bounds-checked reads.
const (
	pageHeader  = 16
	elementSize = 16
	branchFlag  = 0x01
	leafFlag    = 0x02
	freeFlag    = 0x10
	bucketFlag  = 0x01 // of a leaf's element
	metaSize    = 64
	metaMagic   = 0xED0CDAED
	metaVersion = 2
	noFreelist  = ^uint64(0)
	maxLevels   = 64
	manyFree    = 0xFFFF // the true count is the first element
)

var order = binary.NativeEndian

// meta is what a meta page says.
type meta struct {
	pageSize             uint32
	root, freelist, high uint64
	tx                   uint64
}

func parseMeta(page []byte) (meta, error) {
	if len(page) < pageHeader+metaSize {
		return meta{}, io.ErrUnexpectedEOF
	}
	b := page[pageHeader : pageHeader+metaSize]
	sum := fnv.New64a()
	_, _ = sum.Write(b[:metaSize-8])
	if order.Uint32(b) != metaMagic || order.Uint32(b[4:]) != metaVersion || order.Uint64(b[56:]) != sum.Sum64() {
		return meta{}, errors.New("not a valid meta page")
	}
	return meta{order.Uint32(b[8:]), order.Uint64(b[16:]), order.Uint64(b[32:]), order.Uint64(b[40:]), order.Uint64(b[48:])}, nil
}

// inspectFile checks the whole structure of a file that nobody writes. torn is damage that the file works
// in spite of: one of the two meta pages is invalid, so the last commit may be missing.
func inspectFile(file *os.File) (torn, err error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	head := make([]byte, 64<<10)
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	head = head[:n]
	m, torn, err := currentMeta(head)
	if err != nil {
		return nil, &store.CorruptError{Err: err}
	}
	if m.high > uint64(info.Size())/uint64(m.pageSize) { // #nosec G115 -- a size is not negative
		return torn, &store.CorruptError{Err: fmt.Errorf("file is cut off: %d bytes for %d pages", info.Size(), m.high)}
	}
	w := newWalk(file, m.pageSize, m.high)
	err = w.tree(m.root, "root")
	if err == nil && m.freelist != noFreelist {
		err = w.free(m.freelist)
	}
	if err != nil {
		return torn, &store.CorruptError{Err: err}
	}
	return torn, nil
}

// currentMeta returns the meta page that is in force.
func currentMeta(head []byte) (m meta, torn, err error) {
	first, err0 := parseMeta(head)
	var second meta
	err1 := errors.New("not found")
	for size := 1 << 10; size <= len(head)/2; size <<= 1 {
		if found, err := parseMeta(head[size:]); err == nil && int(found.pageSize) == size {
			second, err1 = found, nil
			break
		}
	}
	switch {
	case err0 != nil && err1 != nil:
		return meta{}, nil, errors.New("neither meta page is valid")
	case err0 != nil:
		return second, &store.CorruptError{Err: fmt.Errorf("meta page 0: %w; the last commit may be missing", err0)}, nil
	case err1 != nil:
		return first, &store.CorruptError{Err: fmt.Errorf("meta page 1: %w; the last commit may be missing", err1)}, nil
	case second.tx > first.tx:
		first = second
	}
	if first.pageSize < 1<<10 || first.pageSize > 64<<10 || first.pageSize&(first.pageSize-1) != 0 {
		return meta{}, nil, fmt.Errorf("page size %d", first.pageSize)
	}
	return first, nil, nil
}

// walk visits the pages of one version of the file.
type walk struct {
	from     io.ReaderAt
	pageSize int64
	high     uint64 // pages from here on do not exist
	used     []bool
}

func newWalk(from io.ReaderAt, pageSize uint32, high uint64) *walk {
	w := &walk{from: from, pageSize: int64(pageSize), high: high, used: make([]bool, high)}
	for i := range min(2, len(w.used)) {
		w.used[i] = true
	}
	return w
}

// page reads a page with its overflow, once.
func (w *walk) page(id uint64) (b []byte, flags uint16, count int, err error) {
	if id < 2 || id >= w.high {
		return nil, 0, 0, fmt.Errorf("page %d is out of range", id)
	}
	header := make([]byte, pageHeader)
	if _, err := w.from.ReadAt(header, int64(id)*w.pageSize); err != nil { // #nosec G115 -- below high
		return nil, 0, 0, fmt.Errorf("page %d: %w", id, err)
	}
	overflow := uint64(order.Uint32(header[12:]))
	if order.Uint64(header) != id || overflow >= w.high-id {
		return nil, 0, 0, fmt.Errorf("page %d has a damaged header", id)
	}
	for i := id; i <= id+overflow; i++ {
		if w.used[i] {
			return nil, 0, 0, fmt.Errorf("page %d is used twice", i)
		}
		w.used[i] = true
	}
	b = make([]byte, (int64(overflow)+1)*w.pageSize)                  // #nosec G115 -- below high
	if _, err := w.from.ReadAt(b, int64(id)*w.pageSize); err != nil { // #nosec G115 -- below high
		return nil, 0, 0, fmt.Errorf("page %d: %w", id, err)
	}
	return b, order.Uint16(header[8:]), int(order.Uint16(header[10:])), nil
}

// tree checks the tree of a bucket.
func (w *walk) tree(root uint64, name string) error {
	if err := w.branch(root, nil, nil, 0); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// branch checks a page and all below it, whose keys lie from low to below high.
func (w *walk) branch(id uint64, low, high []byte, level int) error {
	if level > maxLevels {
		return errors.New("the tree is too deep")
	}
	b, flags, count, err := w.page(id)
	if err != nil {
		return err
	}
	if flags != branchFlag && flags != leafFlag {
		return fmt.Errorf("page %d has type %#x", id, flags)
	}
	if count == 0 && (flags == branchFlag || level > 0) {
		return fmt.Errorf("page %d is empty", id)
	}
	elements, err := parseElements(b, flags, count)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	for i, e := range elements {
		if i == 0 && bytes.Compare(e.key, low) < 0 ||
			i > 0 && bytes.Compare(elements[i-1].key, e.key) >= 0 ||
			high != nil && bytes.Compare(e.key, high) >= 0 {
			return fmt.Errorf("page %d: key %d is out of order", id, i)
		}
	}
	for i, e := range elements {
		if flags == leafFlag {
			if err := w.leafElement(e); err != nil {
				return err
			}
			continue
		}
		next := high
		if i+1 < len(elements) {
			next = elements[i+1].key
		}
		if err := w.branch(e.child, e.key, next, level+1); err != nil {
			return err
		}
	}
	return nil
}

// leafElement checks a value, which may be a bucket with a tree of its own or with its only page inside.
func (w *walk) leafElement(e element) error {
	if e.flags&^bucketFlag != 0 {
		return fmt.Errorf("key %q has flags %#x", e.key, e.flags)
	}
	if e.flags == 0 {
		return nil
	}
	if len(e.value) < 16 {
		return fmt.Errorf("bucket %q is cut off", e.key)
	}
	if root := order.Uint64(e.value); root != 0 {
		return w.tree(root, fmt.Sprintf("bucket %q", e.key))
	}
	inline := e.value[16:]
	if len(inline) < pageHeader || order.Uint16(inline[8:]) != leafFlag {
		return fmt.Errorf("bucket %q is damaged", e.key)
	}
	elements, err := parseElements(inline, leafFlag, int(order.Uint16(inline[10:])))
	if err != nil {
		return fmt.Errorf("bucket %q: %w", e.key, err)
	}
	for i, in := range elements {
		if in.flags != 0 || i > 0 && bytes.Compare(elements[i-1].key, in.key) >= 0 {
			return fmt.Errorf("bucket %q: key %d is damaged", e.key, i)
		}
	}
	return nil
}

// free checks the list of free pages: each exists, once, and nothing uses it.
func (w *walk) free(id uint64) error {
	b, flags, count, err := w.page(id)
	if err != nil {
		return fmt.Errorf("free list: %w", err)
	}
	if flags != freeFlag {
		return fmt.Errorf("free list: page %d has type %#x", id, flags)
	}
	ids := b[pageHeader:]
	total := uint64(count) // #nosec G115 -- a count of 16 bits
	if count == manyFree {
		total, ids = order.Uint64(ids), ids[8:]
	}
	if total > uint64(len(ids))/8 {
		return fmt.Errorf("free list: %d pages do not fit", total)
	}
	for i := range total {
		free := order.Uint64(ids[8*i:])
		if free < 2 || free >= w.high || w.used[free] {
			return fmt.Errorf("free list: page %d is not free", free)
		}
		w.used[free] = true
	}
	// A page that is neither used nor free is lost, which says that one of both was changed.
	for i, used := range w.used {
		if !used {
			return fmt.Errorf("page %d is neither used nor free", i)
		}
	}
	return nil
}

// element is one key of a page with its value, or the page below it.
type element struct {
	flags      uint32
	key, value []byte
	child      uint64
}

func parseElements(b []byte, flags uint16, count int) ([]element, error) {
	if pageHeader+count*elementSize > len(b) {
		return nil, fmt.Errorf("%d keys do not fit", count)
	}
	elements := make([]element, count)
	for i := range elements {
		at := pageHeader + i*elementSize
		raw := b[at : at+elementSize]
		var e element
		var pos, keySize, valueSize uint64
		if flags == leafFlag {
			e.flags = order.Uint32(raw)
			pos, keySize, valueSize = uint64(order.Uint32(raw[4:])), uint64(order.Uint32(raw[8:])), uint64(order.Uint32(raw[12:]))
		} else {
			pos, keySize, e.child = uint64(order.Uint32(raw)), uint64(order.Uint32(raw[4:])), order.Uint64(raw[8:])
		}
		start := uint64(at) + pos // #nosec G115 -- an index
		if keySize == 0 || start+keySize+valueSize > uint64(len(b)) {
			return nil, fmt.Errorf("key %d is out of range", i)
		}
		e.key = b[start : start+keySize]
		e.value = b[start+keySize : start+keySize+valueSize]
		elements[i] = e
	}
	return elements, nil
}

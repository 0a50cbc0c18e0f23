package cp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/dialkv/dialkv/internal/engine"
)

// A bolt file is opened only after every page that is in use was found to make sense.
// bbolt maps the file and trusts what it finds, so a bad page ends the process, or a
// goroutine of it, wherever that may be; and where bbolt looks for bad pages itself, in
// rebuilding the list of free ones, it goes on with them beside its own panic. The
// layout is bbolt's internal/common: pages of a B+ tree, in the byte order of the
// machine.
const (
	boltHeader = 16 // of a page: id 8, flags 2, count 2, overflow 4
	boltItem   = 16 // of a page, behind the header

	boltBranch = 0x01
	boltLeaf   = 0x02

	boltRoot   = boltMeta + 16 // of the bucket of buckets, in a meta page
	boltPages  = boltMeta + 40
	boltTxn    = boltMeta + 48
	boltBucket = 16 // root and sequence, before an inline page if there is no root
)

// boltPage is one page with what overflows into those behind it.
type boltPage struct {
	b     []byte
	flags uint16
	count int
}

// boltTree walks a file. Each page is in use once.
type boltTree struct {
	file  io.ReaderAt
	size  int64  // of a page
	pages uint64 // in the file
	used  map[uint64]bool
}

func badPage(id uint64, format string, args ...any) error {
	return fmt.Errorf("%w: page %d: %s", engine.ErrCorrupt, id, fmt.Sprintf(format, args...))
}

// newestTree returns the tree of the last commit, of the two that sound meta pages name.
func newestTree(file io.ReaderAt, length int64) (*boltTree, uint64, error) {
	t := &boltTree{file: file, used: map[uint64]bool{0: true, 1: true}}
	var root, last uint64
	meta := make([]byte, boltMetaEnd)
	for i := range int64(2) {
		if _, err := file.ReadAt(meta, i*t.size); err != nil {
			return nil, 0, err
		}
		t.size = int64(binary.NativeEndian.Uint32(meta[boltPageSize:]))
		if txn := binary.NativeEndian.Uint64(meta[boltTxn:]); i == 0 || txn > last {
			last = txn
			root, t.pages = binary.NativeEndian.Uint64(meta[boltRoot:]), binary.NativeEndian.Uint64(meta[boltPages:])
		}
	}
	if t.pages > uint64(length/t.size) {
		return nil, 0, fmt.Errorf("%w: the file has %d bytes, its header counts %d pages of %d", engine.ErrCorrupt, length, t.pages, t.size)
	}
	return t, root, nil
}

// page reads a page that nobody else refers to.
func (t *boltTree) page(id uint64) (boltPage, error) {
	if id >= t.pages {
		return boltPage{}, badPage(id, "there are %d", t.pages)
	}
	head := make([]byte, boltHeader)
	if _, err := t.file.ReadAt(head, int64(id)*t.size); err != nil {
		return boltPage{}, err
	}
	more := uint64(binary.NativeEndian.Uint32(head[12:]))
	if more >= t.pages-id {
		return boltPage{}, badPage(id, "it overflows into %d others, there are %d", more, t.pages)
	}
	for i := id; i <= id+more; i++ {
		if t.used[i] {
			return boltPage{}, badPage(id, "page %d is used twice", i)
		}
		t.used[i] = true
	}
	b := make([]byte, int64(more+1)*t.size)
	if _, err := t.file.ReadAt(b, int64(id)*t.size); err != nil {
		return boltPage{}, err
	}
	if named := binary.NativeEndian.Uint64(b); named != id {
		return boltPage{}, badPage(id, "it says that it is page %d", named)
	}
	return pageOf(id, b)
}

func pageOf(id uint64, b []byte) (boltPage, error) {
	if len(b) < boltHeader {
		return boltPage{}, badPage(id, "it has %d bytes", len(b))
	}
	p := boltPage{b: b, flags: binary.NativeEndian.Uint16(b[8:]), count: int(binary.NativeEndian.Uint16(b[10:]))}
	if p.flags != boltBranch && p.flags != boltLeaf {
		return p, badPage(id, "it is of kind %#x", p.flags)
	}
	if boltHeader+p.count*boltItem > len(b) || p.flags == boltBranch && p.count == 0 {
		return p, badPage(id, "it has %d items", p.count)
	}
	return p, nil
}

// boltEntry is one item of a page: in a branch page a key and the page below it, in a leaf page a
// key and its value. next is where in the page the item after it has its bytes: they lie
// one behind the other, the first behind the list of items, so that a count that went
// bad is found.
type boltEntry struct {
	key, value []byte
	below      uint64
	bucket     bool
	next       uint64
}

func (p boltPage) item(i int, at uint64) (e boltEntry, ok bool) {
	head := uint64(boltHeader + i*boltItem)
	word := func(n uint64) uint64 { return uint64(binary.NativeEndian.Uint32(p.b[head+4*n:])) }
	var offset, key, value uint64
	if p.flags == boltBranch {
		offset, key, e.below = word(0), word(1), binary.NativeEndian.Uint64(p.b[head+8:])
	} else {
		offset, key, value = word(1), word(2), word(3)
		e.bucket, ok = word(0) == 1, word(0) <= 1
	}
	e.next = at + key + value
	if p.flags == boltLeaf && !ok || head+offset != at || e.next > uint64(len(p.b)) {
		return e, false
	}
	e.key, e.value = p.b[at:at+key], p.b[at+key:e.next]
	return e, true
}

// items are all of a page, in order of their keys.
func (p boltPage) items(id uint64) ([]boltEntry, error) {
	items := make([]boltEntry, p.count)
	at := uint64(boltHeader + p.count*boltItem)
	for i := range items {
		var ok bool
		if items[i], ok = p.item(i, at); !ok {
			return nil, badPage(id, "item %d does not lie where it should", i)
		}
		if i > 0 && bytes.Compare(items[i-1].key, items[i].key) >= 0 {
			return nil, badPage(id, "item %d is out of order", i)
		}
		at = items[i].next
	}
	return items, nil
}

// visitor is told of every item of a tree, in order.
type visitor func(key, value []byte, bucket bool) error

// walk visits the subtree under a page, whose keys are not below from and, if there is a
// to, below that.
func (t *boltTree) walk(id uint64, from, to []byte, visit visitor) error {
	p, err := t.page(id)
	if err != nil {
		return err
	}
	return t.walkPage(id, p, from, to, visit)
}

func (t *boltTree) walkPage(id uint64, p boltPage, from, to []byte, visit visitor) error {
	items, err := p.items(id)
	if err != nil {
		return err
	}
	if n := len(items); n > 0 && (bytes.Compare(from, items[0].key) > 0 || to != nil && bytes.Compare(items[n-1].key, to) >= 0) {
		return badPage(id, "its keys are not those that belong there")
	}
	for i, e := range items {
		if p.flags == boltLeaf {
			err = visit(e.key, e.value, e.bucket)
		} else {
			end := to
			if i+1 < len(items) {
				end = items[i+1].key
			}
			err = t.walk(e.below, e.key, end, visit)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkPages visits every page in use, and refuses what Raft's log store would not have
// written.
func checkPages(file io.ReaderAt, length int64) error {
	t, root, err := newestTree(file, length)
	if err != nil {
		return err
	}
	return t.walk(root, nil, nil, func(name, value []byte, bucket bool) error {
		if !bucket || len(value) < boltBucket || string(name) != "logs" && string(name) != "conf" {
			return fmt.Errorf("%w: the file has a %q that is no bucket of a log", engine.ErrCorrupt, name)
		}
		return t.bucket(string(name), value)
	})
}

// bucket walks one of the two buckets: below its root or, while it is small, in the
// place of one.
func (t *boltTree) bucket(name string, value []byte) error {
	visit := func(key, _ []byte, bucket bool) error {
		if !bucket && (name == "logs" && len(key) == 8 || name == "conf" && slices.Contains(boltKeys, string(key))) {
			return nil
		}
		return fmt.Errorf("%w: bucket %q has the key %q", engine.ErrCorrupt, name, key)
	}
	root := binary.NativeEndian.Uint64(value)
	if root != 0 {
		return t.walk(root, nil, nil, visit)
	}
	p, err := pageOf(root, value[boltBucket:])
	if err == nil && p.flags != boltLeaf {
		err = badPage(root, "a small bucket is of kind %#x", p.flags)
	}
	if err != nil {
		return err
	}
	return t.walkPage(root, p, nil, nil, visit)
}

// boltKeys are all that Raft keeps beside the entries. A name that went bad would
// otherwise be a vote that was never given.
var boltKeys = []string{"CurrentTerm", "LastVoteCand", "LastVoteTerm"}

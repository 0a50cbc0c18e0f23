package token

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/dialkv/dialkv/store"
)

// maxComponents bounds an entry. One component is left behind by every start of
// a process that wrote, so thousands mean something is wrong.
const maxComponents = 4096

// Two ids are of no actor. The N of ClosedID is a number: the entry includes all that actors
// wrote which were closed up to it. That of ClosedSum is how many writes those are.
const (
	ClosedID  = math.MaxUint64
	ClosedSum = math.MaxUint64 - 1
)

// HasClosed reports whether an entry may name a number of closures; if not, it does not.
func HasClosed(e store.Entry) bool { return bytes.Contains(e, closedID) }

var closedID = bytes.Repeat([]byte{0xff}, 8)

// Component says: everything that ID wrote up to and including N. On ap an ID is
// an actor; a cp group has the one component 0, whose N is a revision.
type Component struct {
	ID, N uint64
}

// EncodeEntry returns the version vector as an entry. The order of the components
// does not matter; of two with the same id the larger counts; one with N zero
// says nothing and is left out. No components are the nil entry.
func EncodeEntry(components []Component) store.Entry {
	sorted := slices.DeleteFunc(slices.Clone(components), func(c Component) bool { return c.N == 0 })
	slices.SortFunc(sorted, func(a, b Component) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(b.N, a.N))
	})
	sorted = slices.CompactFunc(sorted, func(a, b Component) bool { return a.ID == b.ID })
	if len(sorted) == 0 {
		return nil
	}
	b := binary.AppendUvarint(make([]byte, 0, 4+12*len(sorted)), uint64(len(sorted)))
	for _, c := range sorted {
		b = binary.BigEndian.AppendUint64(b, c.ID)
		b = binary.AppendUvarint(b, c.N)
	}
	return b
}

// DecodeEntry returns the components of an entry, in the order of their ids. The
// nil entry and the entry of zero components are both empty. What EncodeEntry
// would not have written is Invalid, so equal vectors are equal bytes.
func DecodeEntry(e store.Entry) ([]Component, error) {
	if e == nil {
		return nil, nil
	}
	r := reader{b: e}
	n := r.count(maxComponents, "components")
	components := make([]Component, 0, min(n, len(e)/9))
	for i := range n {
		c := Component{ID: r.uint64(), N: r.uvarint()}
		r.check(c.N > 0, "a component is zero")
		r.check(i == 0 || r.err != nil || components[i-1].ID < c.ID, "the components are not in order")
		if r.err != nil {
			return nil, r.invalid("entry")
		}
		components = append(components, c)
	}
	r.check(len(r.b) == 0, "bytes are left over")
	if r.err != nil {
		return nil, r.invalid("entry")
	}
	return components, nil
}

// Sum is the number of writes that an ap entry covers, if it is that of a read, or the
// revision that a cp entry names.
func Sum(e store.Entry) (sum uint64, err error) {
	components, err := DecodeEntry(e)
	for _, c := range components {
		if c.ID != ClosedID {
			sum += c.N
		}
	}
	return sum, err
}

// Join returns the least entry that covers both: the larger N of every component.
func Join(a, b store.Entry) (store.Entry, error) {
	ca, err := DecodeEntry(a)
	if err != nil {
		return nil, err
	}
	cb, err := DecodeEntry(b)
	if err != nil {
		return nil, err
	}
	return EncodeEntry(append(ca, cb...)), nil
}

// reader takes values off the front of b; after the first error every value is
// zero, so that a decoder may check once at the end of a step.
type reader struct {
	b   []byte
	err error
}

// check takes a complaint that costs nothing to name: every request is checked, and
// hardly one has a fault.
func (r *reader) check(ok bool, complaint string) {
	if !ok && r.err == nil {
		r.err = fmt.Errorf("%s", complaint)
	}
}

func (r *reader) take(n int) []byte {
	r.check(n <= len(r.b), "it ends too early")
	if r.err != nil {
		return make([]byte, n)
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) uint64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

// uvarint accepts only the shortest form of a number.
func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.check(n > 0 && (n == 1 || r.b[n-1] != 0), "a number is not a shortest uvarint")
	if r.err != nil {
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) count(most int, of string) int {
	n := r.uvarint()
	if n > uint64(most) {
		r.check(false, fmt.Sprintf("it has %d %s, the limit is %d", n, of, most))
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

func (r *reader) invalid(what string) error {
	return &store.Error{Code: store.Invalid, Msg: "the " + what + " cannot be read: " + r.err.Error()}
}

package token

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/dialkv/dialkv/store"
)

// Scope is of which keys a context says what was read: of one, or of those of a scan.
type Scope struct {
	scan            bool
	key, to, prefix string // of a scan as in its query
}

// OfKey is the scope of who has read one key, or written it.
func OfKey(key string) Scope { return Scope{key: key} }

// OfPage is the scope of who has read a page of an answer, and those before it. What comes
// behind the page was not read.
func OfPage(q store.Query, page store.Page) Scope {
	if !q.Scan() {
		return OfKey(q.Key)
	}
	s := Scope{scan: true, key: q.Key, to: q.To, prefix: q.Prefix}
	if n := len(page.Items); page.Next != "" && n > 0 {
		last := page.Items[n-1].Key
		if q.Reverse {
			s.key = last
		} else {
			s.to = last + "\x00"
		}
	}
	return s
}

// Holds reports whether the key is one of those that were read.
func (s Scope) Holds(key string) bool {
	if !s.scan {
		return key == s.key
	}
	return strings.HasPrefix(key, s.prefix) && key >= s.key && (s.to == "" || key < s.to)
}

func (s Scope) String() string {
	if !s.scan {
		return fmt.Sprintf("key %.100q", s.key)
	}
	return fmt.Sprintf("the scan from %.100q to %.100q of prefix %.100q", s.key, s.to, s.prefix)
}

func (s Scope) append(b []byte) []byte {
	if !s.scan {
		return appendText(append(b, 0), s.key)
	}
	return appendText(appendText(appendText(append(b, 1), s.key), s.to), s.prefix)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func (r *reader) text() string { return string(r.take(r.count(store.MaxKey+1, "bytes in a key"))) }

func (r *reader) scope() (s Scope) {
	kind := r.uvarint()
	r.check(kind <= 1, "it is of neither a key nor a scan")
	if s.scan = kind == 1; !s.scan {
		return OfKey(r.text())
	}
	s.key, s.to, s.prefix = r.text(), r.text(), r.text()
	return s
}

// SealContext returns the write context of what was read in the form that leaves the
// node: entry, bound to cluster, epoch, group and the keys that were read. The nil entry,
// which says that nothing was read, stays nil.
func SealContext(cluster string, epoch uint64, group store.GroupID, of Scope, entry store.Entry) ([]byte, error) {
	if entry == nil {
		return nil, nil
	}
	b, err := header(contextForm, cluster, epoch)
	if err != nil {
		return nil, err
	}
	return seal(append(of.append(appendGroup(b, group)), entry...)), nil
}

// OpenContext reads what SealContext wrote for the same cluster, epoch and group, for a
// write to the key. A context of other keys is Invalid: it would let the write supersede
// what its writer has not read. No bytes are no context: the nil entry.
func OpenContext(cluster string, epoch uint64, group store.GroupID, key string, b []byte) (store.Entry, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var ofCluster string
	var ofEpoch uint64
	r := unseal(b, contextForm, &ofCluster, &ofEpoch)
	of := r.group()
	read := r.scope()
	if r.err != nil {
		return nil, r.invalid("context")
	}
	if err := check("context", ofCluster, ofEpoch, cluster, epoch); err != nil {
		return nil, err
	}
	const try = "the context that a read of this key gave"
	switch {
	case of != group:
		return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("the context is of group %s, the key is in group %s", of, group), Try: try}
	case !read.Holds(key):
		return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("the context is of %s, the write is to %.100q", read, key), Try: try}
	}
	entry := append(store.Entry{}, r.b...)
	if _, err := DecodeEntry(entry); err != nil {
		return nil, err
	}
	return entry, nil
}

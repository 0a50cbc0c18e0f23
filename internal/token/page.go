package token

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/dialkv/dialkv/store"
)

// Page names where a scan goes on: the view of an earlier page, which one node keeps,
// and the key it had come to. Nothing in it is trusted: one that was made up finds no
// view, or begins elsewhere in a range that its holder may read anyway.
type Page struct {
	Node  string // that keeps the view
	View  uint64 // the view's name there
	Query uint64 // a hash of the query it belongs to
	Key   string // the first key of the next page; of a reverse scan, the end, not included
}

const pageVersion = 1

// Encode returns the page as a string that is safe anywhere.
func (p Page) Encode() string {
	b := []byte{pageVersion}
	b = binary.AppendUvarint(b, uint64(len(p.Node)))
	b = append(b, p.Node...)
	b = binary.BigEndian.AppendUint64(b, p.View)
	b = binary.BigEndian.AppendUint64(b, p.Query)
	b = append(b, p.Key...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParsePage reads what Encode wrote; anything else is Invalid.
func ParsePage(s string) (Page, error) {
	bad := &store.Error{Code: store.Invalid, Msg: "the page token cannot be read", Try: "the next of an earlier page, as it is"}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) < 2 || b[0] != pageVersion {
		return Page{}, bad
	}
	n, size := binary.Uvarint(b[1:])
	b = b[1+max(size, 0):]
	if size <= 0 || n > store.MaxName || uint64(len(b)) < n+16 {
		return Page{}, bad
	}
	p := Page{Node: string(b[:n]), View: binary.BigEndian.Uint64(b[n:]), Query: binary.BigEndian.Uint64(b[n+8:]), Key: string(b[n+16:])}
	if p.Encode() != s {
		return Page{}, bad
	}
	return p, nil
}

// OpenPage reads the page token of q at a node. A token of another query is Invalid, a
// view that another node keeps is Compacted.
func OpenPage(node string, group store.GroupID, q store.Query) (Page, error) {
	at, err := ParsePage(q.Page)
	switch {
	case err != nil:
		return Page{}, err
	case at.Query != QueryOf(group, q):
		return Page{}, &store.Error{Code: store.Invalid, Msg: "the page token belongs to another scan", Try: "the same range and flags as for the first page"}
	case at.Node != node:
		return Page{}, &store.Error{Code: store.Compacted, Msg: fmt.Sprintf("the scan's view is kept by %q, not by this node", at.Node), Try: "ask that node, or start the scan again"}
	}
	return at, nil
}

// Gone is the error of a page whose view its node does not keep any more, as it keeps
// so many, each for so long.
func (p Page) Gone(most int, idle time.Duration) error {
	return &store.Error{
		Code: store.Compacted,
		Msg:  fmt.Sprintf("the scan's view is not kept any more: at most %d are, each for %v after its last page", most, idle),
		Try:  "start the scan again",
	}
}

// QueryOf names what a scan is of, so that a page token goes on with no other scan.
// The limit and the level may change from page to page.
func QueryOf(group store.GroupID, q store.Query) uint64 {
	h := fnv.New64a()
	b := binary.BigEndian.AppendUint64(nil, group.Keyspace)
	b = binary.BigEndian.AppendUint32(b, group.Shard)
	for _, s := range []string{q.Key, q.To, q.Prefix} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	for _, flag := range []bool{q.Reverse, q.KeysOnly, q.Count, q.Leases, q.Siblings} {
		if b = append(b, 0); flag {
			b[len(b)-1] = 1
		}
	}
	_, _ = h.Write(b) // a hash never fails
	return h.Sum64()
}

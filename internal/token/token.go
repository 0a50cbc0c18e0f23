// Package token is what a client's session remembers, and the form in which it
// travels.
//
// A session must be shown what it has read and what it has written, on whatever
// replica it lands next. For each group it touched, its [Token] keeps two version
// vectors: the read part and the write part. A level needs one of them, or both,
// or none (Terry et al., "Session Guarantees for Weakly Consistent Replicated
// Data", PDIS 1994); [Token.For] picks. The part for one group is a [store.Entry].
//
// A token is bound to a cluster and its epoch, carries a checksum, and is opaque
// to those who hold it. It is not a secret and nothing in it is trusted: one that
// names impossible things costs its holder a wait and nobody else anything.
//
// The write context of a key looks alike but says something else: what was read
// of this key, not what the session has seen. It is sealed by [SealContext].
package token

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"github.com/dialkv/dialkv/store"
)

// Limits of a token. Beyond them a session is refused, never thinned: a token
// that forgot something would break the promise without a word.
const (
	MaxGroups = 32
	MaxBytes  = 4 << 10
	MaxString = (MaxBytes*8 + 5) / 6 // of String
)

// The first byte says which of the two it is, and in which version.
const (
	tokenForm   = 1
	contextForm = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Token is a session's memory. The zero Token has seen nothing and belongs to no
// cluster yet; it encodes to no bytes. It is not safe for concurrent use.
type Token struct {
	Cluster string // 32 hex digits
	Epoch   uint64
	groups  map[store.GroupID]map[uint64]marks
}

// marks are how far one component was read and written.
type marks struct{ read, write uint64 }

// Read remembers that an answer covered by entry was read.
func (t *Token) Read(group store.GroupID, entry store.Entry) error {
	return t.fold(group, entry, func(m *marks, n uint64) { m.read = max(m.read, n) })
}

// Wrote remembers that a write covered by entry was acknowledged.
func (t *Token) Wrote(group store.GroupID, entry store.Entry) error {
	return t.fold(group, entry, func(m *marks, n uint64) { m.write = max(m.write, n) })
}

func (t *Token) fold(group store.GroupID, entry store.Entry, raise func(*marks, uint64)) error {
	components, err := DecodeEntry(entry)
	if err != nil {
		return err
	}
	for _, c := range components {
		m := t.marks(group)[c.ID]
		raise(&m, c.N)
		t.marks(group)[c.ID] = m
	}
	return nil
}

// Fold forgets, of what was sent of a group, what the answer that came and was remembered
// stands for by a number of closures. Such an answer covers what was sent: so what it does
// not name was closed up to that number.
func (t *Token) Fold(group store.GroupID, sent, came store.Entry) error {
	had, err := DecodeEntry(sent)
	if err != nil {
		return err
	}
	now, err := DecodeEntry(came)
	if err != nil {
		return err
	}
	named := make(map[uint64]uint64, len(now))
	for _, c := range now {
		named[c.ID] = c.N
	}
	if named[ClosedID] == 0 {
		return nil
	}
	for _, c := range had {
		m := t.marks(group)[c.ID]
		if named[c.ID] > 0 || c.ID >= ClosedSum || m.read > c.N || m.write > c.N {
			continue
		}
		for _, id := range []uint64{ClosedID, ClosedSum} {
			all := t.marks(group)[id]
			if m.read > 0 {
				all.read = max(all.read, named[id])
			}
			if m.write > 0 {
				all.write = max(all.write, named[id])
			}
			if all != (marks{}) {
				t.marks(group)[id] = all
			}
		}
		delete(t.marks(group), c.ID)
	}
	return nil
}

func (t *Token) marks(group store.GroupID) map[uint64]marks {
	if t.groups == nil {
		t.groups = make(map[store.GroupID]map[uint64]marks)
	}
	if t.groups[group] == nil {
		t.groups[group] = make(map[uint64]marks)
	}
	return t.groups[group]
}

// Merge adds what another token of the same cluster and epoch has seen.
func (t *Token) Merge(u Token) error {
	if t.Cluster == "" {
		t.Cluster, t.Epoch = u.Cluster, u.Epoch
	}
	if err := u.Check(t.Cluster, t.Epoch); err != nil {
		return err
	}
	for group, components := range u.groups {
		for id, n := range components {
			m := t.marks(group)[id]
			t.marks(group)[id] = marks{read: max(m.read, n.read), write: max(m.write, n.write)}
		}
	}
	return nil
}

// Room refuses groups that the token could not take in, before anything is done there.
func (t *Token) Room(groups ...store.GroupID) error {
	n := len(t.groups)
	for _, group := range groups {
		if _, known := t.groups[group]; !known {
			n++
		}
	}
	if n > max(MaxGroups, len(t.groups)) {
		return tooLarge("groups", n, MaxGroups)
	}
	return nil
}

// For returns what a replica of the group must cover to serve the session at this
// level: nothing for eventual, the read part for monotonic, the write part for
// read-your-writes, both for all others. A write needs both as well.
func (t *Token) For(group store.GroupID, level store.Level) store.Entry {
	var components []Component
	for id, m := range t.groups[group] {
		n := max(m.read, m.write)
		switch level {
		case store.Eventual:
			n = 0
		case store.Monotonic:
			n = m.read
		case store.ReadYourWrites:
			n = m.write
		}
		components = append(components, Component{ID: id, N: n})
	}
	return EncodeEntry(components)
}

// Check refuses a token of another cluster, or of an epoch before a restore.
func (t *Token) Check(cluster string, epoch uint64) error {
	return check("token", t.Cluster, t.Epoch, cluster, epoch)
}

func check(what, cluster string, epoch uint64, wantCluster string, wantEpoch uint64) error {
	if cluster == "" || cluster == wantCluster && epoch == wantEpoch {
		return nil
	}
	try := "a new session: what the old one saw does not exist here"
	if what == "context" {
		try = "the context of a read of this key here"
	}
	return &store.Error{
		Code: store.TokenMismatch,
		Msg: fmt.Sprintf("the %s is of cluster %.8s epoch %d, this is cluster %.8s epoch %d",
			what, cluster, epoch, wantCluster, wantEpoch),
		Try: try,
	}
}

// Encode returns the token's bytes, none for a token that belongs to no cluster
// yet. A token over its limits is TooLarge.
func (t *Token) Encode() ([]byte, error) {
	if len(t.groups) > MaxGroups {
		return nil, tooLarge("groups", len(t.groups), MaxGroups)
	}
	b, err := t.append()
	if len(b) > MaxBytes {
		return nil, tooLarge("bytes", len(b), MaxBytes)
	}
	return b, err
}

func (t *Token) append() ([]byte, error) {
	if t.Cluster == "" && len(t.groups) == 0 {
		return nil, nil
	}
	b, err := header(tokenForm, t.Cluster, t.Epoch)
	if err != nil {
		return nil, err
	}
	b = binary.AppendUvarint(b, uint64(len(t.groups)))
	for _, group := range slices.SortedFunc(maps.Keys(t.groups), compareGroups) {
		b = appendGroup(b, group)
		components := t.groups[group]
		b = binary.AppendUvarint(b, uint64(len(components)))
		for _, id := range slices.Sorted(maps.Keys(components)) {
			b = binary.BigEndian.AppendUint64(b, id)
			b = binary.AppendUvarint(b, components[id].read)
			b = binary.AppendUvarint(b, components[id].write)
		}
	}
	return seal(b), nil
}

// Decode reads what Encode wrote. Anything else is Invalid.
func Decode(b []byte) (Token, error) {
	if len(b) == 0 {
		return Token{}, nil
	}
	if len(b) > MaxBytes {
		return Token{}, tooLarge("bytes", len(b), MaxBytes)
	}
	var t Token
	r := unseal(b, tokenForm, &t.Cluster, &t.Epoch)
	var last store.GroupID
	for i := range r.count(MaxGroups, "groups") {
		group := r.group()
		r.check(i == 0 || compareGroups(last, group) < 0, "the groups are not in order")
		r.components(&t, group)
		last = group
	}
	r.check(len(r.b) == 0, "bytes are left over")
	if r.err != nil {
		return Token{}, r.invalid("token")
	}
	return t, nil
}

func (r *reader) components(t *Token, group store.GroupID) {
	n := r.count(MaxBytes/10, "components")
	r.check(n > 0, "a group is empty")
	var last uint64
	for i := range n {
		id, m := r.uint64(), marks{read: r.uvarint(), write: r.uvarint()}
		r.check(i == 0 || last < id, "the components are not in order")
		r.check(m != marks{}, "a component is zero")
		if r.err != nil {
			return
		}
		t.marks(group)[id] = m
		last = id
	}
}

// String returns the token in the form that is safe in a header, a cookie or a
// message: unpadded base64url. A token over its limits, or of no valid cluster,
// has a string too; it is Parse that refuses it, rather than anybody thinning it.
func (t *Token) String() string {
	b, err := t.append()
	if err != nil {
		return err.Error()
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// Parse reads what String wrote. The empty string is the zero token.
func Parse(s string) (Token, error) {
	if len(s) > MaxString {
		return Token{}, tooLarge("characters", len(s), MaxString)
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return Token{}, &store.Error{Code: store.Invalid, Msg: "the token is not base64url", Try: "the token exactly as it was given out", Cause: err}
	}
	return Decode(b)
}

func header(form byte, cluster string, epoch uint64) ([]byte, error) {
	id, err := hex.DecodeString(cluster)
	if err != nil || len(id) != 16 || hex.EncodeToString(id) != cluster {
		return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("the cluster id %.40q is not 32 lower-case hex digits", cluster)}
	}
	return binary.AppendUvarint(append([]byte{form}, id...), epoch), nil
}

func seal(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// unseal checks form and checksum, reads the header and returns a reader of the rest.
func unseal(b []byte, form byte, cluster *string, epoch *uint64) *reader {
	r := &reader{b: b}
	r.check(len(b) > 4, "it ends too early")
	r.check(len(b) > 0 && b[0] == form, "it is of another kind or version")
	if r.err != nil {
		return r
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	r.check(crc32.Checksum(body, castagnoli) == sum, "its checksum is wrong")
	r.b = body[1:]
	*cluster = hex.EncodeToString(r.take(16))
	*epoch = r.uvarint()
	return r
}

func appendGroup(b []byte, group store.GroupID) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, group.Keyspace), uint64(group.Shard))
}

func (r *reader) group() store.GroupID {
	keyspace, n := r.uvarint(), r.uvarint()
	r.check(n <= 1<<32-1, "a shard number is too large")
	return store.GroupID{Keyspace: keyspace, Shard: uint32(n)}
}

func compareGroups(a, b store.GroupID) int {
	return cmp.Or(cmp.Compare(a.Keyspace, b.Keyspace), cmp.Compare(a.Shard, b.Shard))
}

func tooLarge(of string, n, limit int) error {
	return &store.Error{
		Code: store.TooLarge,
		Msg:  fmt.Sprintf("the session's token would have %d %s, the limit is %d", n, of, limit),
		Try:  "a new session, or several sessions that touch fewer groups each",
	}
}

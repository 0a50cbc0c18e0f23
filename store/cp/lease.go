package cp

import (
	"encoding/binary"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/store"
)

const (
	maxLeases    = 1 << 20 // in one group, those made for a put with a TTL included
	maxLeaseKeys = 4096    // attached to one lease, since they are deleted together
)

// attachment is a row of the index from leases to keys.
type attachment struct {
	lease uint64
	key   string
}

func (a attachment) bytes() []byte {
	return append(binary.BigEndian.AppendUint64(nil, a.lease), a.key...)
}

func leaseKey(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

func (t *tx) commitLeases(b *engine.Batch) {
	for id := range t.leases {
		if l := t.s.leases[id]; l == nil {
			b.Delete(t.s.key(keyLease, leaseKey(id)))
		} else {
			b.Set(t.s.key(keyLease, leaseKey(id)), encode(l))
		}
	}
	for a, on := range t.attached {
		if on {
			b.Set(t.s.key(keyAttached, a.bytes()), nil)
		} else {
			b.Delete(t.s.key(keyAttached, a.bytes()))
		}
	}
}

func noLease(id uint64) *logpb.Answer {
	return &logpb.Answer{Code: string(store.NotFound), Msg: fmt.Sprintf("the group has no lease %d: it has ended and its keys are gone, or it was never granted here", id)}
}

func fullLease(id uint64) *logpb.Answer {
	return &logpb.Answer{Code: string(store.QuotaExceeded), Msg: fmt.Sprintf("lease %d has %d keys, which is the limit", id, maxLeaseKeys)}
}

func (t *tx) tooManyLeases() *logpb.Answer {
	if len(t.s.leases) < maxLeases {
		return nil
	}
	return &logpb.Answer{Code: string(store.QuotaExceeded), Msg: fmt.Sprintf("the group has %d leases, which is the limit", maxLeases)}
}

// leaseAdvice is what to try when c was refused for a lease; no other refusal has these
// codes.
func leaseAdvice(c store.Command, code store.Code) string {
	switch {
	case code == store.NotFound && c.Op == store.KeepAlive:
		return "a new lease, and its keys put again"
	case code == store.NotFound && c.Op == store.Revoke:
		return "nothing, if it was granted in this group: it has ended"
	case code == store.NotFound:
		return "a new lease, granted in the group of the key"
	case code == store.QuotaExceeded && (c.Op == store.Grant || c.TTL > 0):
		return "one lease for several keys, or a revoke of those that nobody needs"
	case code == store.QuotaExceeded:
		return "a second lease for the other keys"
	}
	return ""
}

// full reports whether the lease takes no other key.
func (t *tx) full(id uint64, key string) bool {
	return t.s.leases[id].Keys >= maxLeaseKeys && t.record(key).GetLease() != id
}

func (t *tx) grant(c *logpb.Command) *logpb.Answer {
	if refused := t.tooManyLeases(); refused != nil {
		return refused
	}
	l := t.newLease(t.next(), c.TtlMs)
	return &logpb.Answer{Revision: l.Id, Lease: l.Id, TtlMs: l.TtlMs}
}

// putWithTTL writes a key with a lease of its own, which ends with it.
func (t *tx) putWithTTL(c *logpb.Command) *logpb.Answer {
	if refused := t.tooManyLeases(); refused != nil {
		return refused
	}
	l := t.newLease(t.next(), c.TtlMs)
	l.Own = true
	answer := written(t.set(c.Key, c.Value, l.Id, l.Id))
	answer.Lease, answer.TtlMs = l.Id, l.TtlMs
	return answer
}

func (t *tx) newLease(id uint64, ttlMS int64) *logpb.Lease {
	l := &logpb.Lease{Id: id, TtlMs: ttlMS}
	t.s.leases[id] = l
	t.leases[id] = true
	t.s.meta.Leases = uint64(len(t.s.leases))
	return l
}

// keepAlive gives a lease another TTL, which each replica counts from when it applies
// this. It takes no revision, since it changes no key.
func (t *tx) keepAlive(c *logpb.Command) *logpb.Answer {
	l := t.s.leases[c.Lease]
	if l == nil {
		return noLease(c.Lease)
	}
	l.Renewals++
	t.leases[l.Id] = true
	return &logpb.Answer{Revision: t.s.meta.Revision, Lease: l.Id, TtlMs: l.TtlMs}
}

func (t *tx) revoke(c *logpb.Command) *logpb.Answer {
	l := t.s.leases[c.Lease]
	if l == nil {
		return noLease(c.Lease)
	}
	revision := t.next()
	t.end(l, revision, false)
	return &logpb.Answer{Revision: revision}
}

// expire ends a lease that the leader found due, unless somebody has kept it alive
// since the leader looked, or the group was restored: a lease of the snapshot has the
// same name, and begins its TTL anew.
func (t *tx) expire(c *logpb.Command) *logpb.Answer {
	l := t.s.leases[c.Lease]
	if l == nil || l.Renewals != c.Renewals || c.Epoch != t.s.meta.Epoch {
		return &logpb.Answer{Revision: t.s.meta.Revision}
	}
	revision := t.next()
	t.end(l, revision, true)
	return &logpb.Answer{Revision: revision}
}

// end deletes a lease and its keys.
func (t *tx) end(l *logpb.Lease, revision uint64, expired bool) {
	for _, key := range t.keysOf(l.Id) {
		t.remove(key, revision, expired)
	}
	t.drop(l.Id)
}

// dropEmpty ends the leases made for a put that the command left without a key.
func (t *tx) dropEmpty() {
	for _, id := range t.empty {
		if l := t.s.leases[id]; l != nil && l.Keys == 0 {
			t.drop(id)
		}
	}
	t.empty = t.empty[:0]
}

func (t *tx) drop(id uint64) {
	delete(t.s.leases, id)
	t.leases[id] = true
	t.s.meta.Leases = uint64(len(t.s.leases))
}

// keysOf lists the keys attached to a lease, in order.
func (t *tx) keysOf(id uint64) []string {
	view := t.s.space.View()
	defer view.Close()
	var keys []string
	prefix := t.s.key(keyAttached, leaseKey(id))
	for key := range view.Scan(prefix, t.s.key(keyAttached, leaseKey(id+1)), &t.err) {
		if name := string(key[len(prefix):]); t.stillAttached(attachment{id, name}) {
			keys = append(keys, name)
		}
	}
	for a, on := range t.attached {
		if a.lease == id && on && !slices.Contains(keys, a.key) {
			keys = append(keys, a.key)
		}
	}
	slices.Sort(keys)
	return keys
}

func (t *tx) stillAttached(a attachment) bool {
	on, changed := t.attached[a]
	return on || !changed
}

func (t *tx) attach(lease uint64, key string) {
	if lease == 0 {
		return
	}
	t.attached[attachment{lease, key}] = true
	t.s.leases[lease].Keys++
	t.leases[lease] = true
}

// detach takes a key from its lease; one that was made for it ends.
func (t *tx) detach(lease uint64, key string) {
	l := t.s.leases[lease]
	if l == nil {
		return
	}
	t.attached[attachment{lease, key}] = false
	l.Keys--
	t.leases[lease] = true
	if l.Own && l.Keys == 0 {
		t.empty = append(t.empty, lease)
	}
}

// loadLeases reads the leases of the living generation.
func (s *state) loadLeases(view *engine.View) error {
	s.leases = make(map[uint64]*logpb.Lease)
	var failed error
	for _, b := range view.Scan(s.key(keyLease, nil), s.key(keyLease+1, nil), &failed) {
		l := new(logpb.Lease)
		if err := proto.Unmarshal(b, l); err != nil {
			return fmt.Errorf("%w: cp lease: %w", engine.ErrCorrupt, err)
		}
		s.leases[l.Id] = l
	}
	return failed
}

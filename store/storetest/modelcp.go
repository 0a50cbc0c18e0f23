package storetest

import (
	"bytes"
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/dialkv/dialkv/store"
)

// write makes s, which is the state with the next revision, what it is after c. An
// error leaves s half done; it is then forgotten.
func (s *state) write(c store.Command) (store.Result, error) {
	switch c.Op {
	case store.Transact:
		return s.transact(c.Txn)
	case store.Grant:
		return s.grant(c.TTL, false), nil
	case store.Revoke:
		return store.Result{Revision: s.number}, s.end(c.Lease)
	case store.OpenSession:
		return store.Result{Revision: s.number}, nil
	}
	here, found := s.at(c.Key)
	if !holds(c.If, here, found) {
		seen := store.Result{Revision: here.number, Found: found, Value: bytes.Clone(here.value)}
		if !found {
			seen.Revision = s.number - 1
		}
		return seen, refusal(store.Conflict, "the condition did not hold", "")
	}
	result := store.Result{Revision: s.number}
	if c.TTL != 0 {
		result = s.grant(c.TTL, true)
		c.Lease = result.Lease
	}
	did, err := s.step(store.Step{Op: c.Op, Key: c.Key, Value: c.Value, Delta: c.Delta, Lease: c.Lease})
	result.Found, result.Replaced, result.Value = did.Found, did.Replaced, did.Value
	return result, err
}

func holds(c store.Condition, here cell, found bool) bool {
	switch c.Kind {
	case store.IfValue:
		return found && bytes.Equal(here.value, c.Value)
	case store.IfRevision:
		return found && here.number == c.Revision
	case store.IfAbsent:
		return !found
	}
	return true
}

// transact does one branch; its steps see each other.
func (s *state) transact(t *store.Txn) (store.Result, error) {
	result := store.Result{Revision: s.number, Held: true}
	for _, c := range t.If {
		result.Held = result.Held && s.compare(c)
	}
	steps := t.Then
	if !result.Held {
		steps = t.Else
	}
	for _, x := range steps {
		did, err := s.step(x)
		if err != nil {
			return store.Result{}, err
		}
		result.Steps = append(result.Steps, did)
	}
	return result, nil
}

func (s *state) compare(c store.Compare) bool {
	here, found := s.at(c.Key) // of an absent key all numbers are 0
	order := cmp.Compare(map[store.Target]uint64{
		store.TargetVersion: here.version, store.TargetCreated: here.created,
		store.TargetChanged: here.number, store.TargetLease: here.lease,
	}[c.Target], c.Number)
	if c.Target == store.TargetValue {
		if !found {
			return false
		}
		order = bytes.Compare(here.value, c.Value)
	}
	switch c.Relation {
	case store.Equal:
		return order == 0
	case store.NotEqual:
		return order != 0
	case store.Less:
		return order < 0
	default:
		return order > 0
	}
}

// step does one thing with one key, at the revision of s.
func (s *state) step(x store.Step) (store.StepResult, error) {
	before, found := s.at(x.Key)
	if x.Op == store.Get {
		return store.StepResult{Found: found, Value: bytes.Clone(before.value), Revision: before.number}, nil
	}
	did := store.StepResult{Found: found, Revision: s.number, Replaced: before.number}
	after := cell{number: s.number, value: bytes.Clone(x.Value), created: before.created, version: before.version + 1, lease: x.Lease}
	if !found {
		after.created = s.number
	}
	if _, lives := s.leases[x.Lease]; x.Lease != 0 && !lives {
		return did, refusal(store.NotFound, "there is no such lease", "")
	}
	if x.Op == store.Increment {
		sum, err := plus(before.value, found, x.Delta)
		if err != nil {
			return did, err
		}
		after.value, after.lease, did.Value = sum, before.lease, bytes.Clone(sum)
	}
	if x.Op == store.Delete {
		delete(s.keys, x.Key)
	} else {
		s.keys[x.Key] = []cell{after}
	}
	return did, nil
}

// plus adds to a decimal integer. Only the form that it writes itself is one.
func plus(value []byte, found bool, delta int64) ([]byte, error) {
	var n int64
	if found {
		var err error
		if n, err = strconv.ParseInt(string(value), 10, 64); err != nil || strconv.FormatInt(n, 10) != string(value) {
			return nil, refusal(store.Invalid, "the value is no integer", "")
		}
	}
	if delta > 0 && n > math.MaxInt64-delta || delta < 0 && n < math.MinInt64-delta {
		return nil, refusal(store.Invalid, "the sum is beyond 64 bits", "")
	}
	return strconv.AppendInt(nil, n+delta, 10), nil
}

// at is what a cp key holds; the zero cell if it is absent.
func (s *state) at(key string) (here cell, found bool) {
	if cells, found := s.keys[key]; found {
		return cells[0], true
	}
	return cell{}, false
}

// lease is a promise to delete the keys that are attached to it.
type lease struct {
	ttl  time.Duration
	ends time.Time
	own  bool // made for one put: it ends with the write that leaves nothing attached
}

// grant makes a lease that is named by the revision of s.
func (s *state) grant(ttl time.Duration, own bool) store.Result {
	s.leases[s.number] = lease{ttl: ttl, ends: time.Now().Add(ttl), own: own}
	return store.Result{Revision: s.number, Lease: s.number, TTL: ttl}
}

// keepAlive takes no revision: it changes no key.
func (m *model) keepAlive(id uint64) (store.Result, error) {
	l, lives := m.state.leases[id]
	if !lives {
		return store.Result{}, refusal(store.NotFound, "there is no such lease", "")
	}
	l.ends = time.Now().Add(l.ttl)
	s := m.state.next()
	s.number, s.leases[id] = m.state.number, l
	m.state = s
	return store.Result{Revision: s.number, Lease: id, TTL: l.ttl}, nil
}

// end ends a lease with all that is attached to it.
func (s *state) end(id uint64) error {
	if _, lives := s.leases[id]; !lives {
		return refusal(store.NotFound, "there is no such lease", "")
	}
	for key, cells := range s.keys {
		if cells[0].lease == id {
			delete(s.keys, key)
		}
	}
	delete(s.leases, id)
	return nil
}

// endEmpty ends the leases that were made for one put and have no key any more.
func (s *state) endEmpty() {
	maps.DeleteFunc(s.leases, func(id uint64, l lease) bool { return l.own && s.attached(id) == 0 })
}

// expire ends the leases whose time has come, each at a revision of its own.
func (m *model) expire() {
	for {
		id, found := m.state.soonest()
		if !found || time.Now().Before(m.state.leases[id].ends) {
			return
		}
		s := m.state.next()
		_ = s.end(id) // it is there
		m.becomes(s, true)
	}
}

// soonest is the lease that ends first.
func (s *state) soonest() (id uint64, found bool) {
	for _, other := range slices.Sorted(maps.Keys(s.leases)) {
		if !found || s.leases[other].ends.Before(s.leases[id].ends) {
			id, found = other, true
		}
	}
	return id, found
}

// due is when the next lease or value ends, the zero time if none does.
func (s *state) due() (next time.Time) {
	if id, found := s.soonest(); found {
		next = s.leases[id].ends
	}
	if _, c := s.ending(); !c.ends.IsZero() && (next.IsZero() || c.ends.Before(next)) {
		next = c.ends
	}
	return next
}

// attached counts the keys of a lease.
func (s *state) attached(id uint64) (n uint64) {
	for _, cells := range s.keys {
		if cells[0].lease == id {
			n++
		}
	}
	return n
}

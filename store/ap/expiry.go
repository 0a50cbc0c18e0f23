package ap

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// A value with a TTL carries its deadline wherever it goes, in wall time. When that has
// passed, the node that took the write deletes the value, and no other of the key, by a
// write of its own; so every replica sees the same, and none hides what another shows.
// The node may be gone: whoever still has the value after the grace deletes it too. Two
// such deletes are as good as one.
const (
	expiryGrace = 10 * time.Second
	// expiryStep is what each member waits longer than the one before it in name order,
	// so that as a rule only one of them writes the delete.
	expiryStep = 500 * time.Millisecond
	// expiryBatch bounds the deletes of one commit; writes go between them.
	expiryBatch = 256
	// expiryLook is how often the wall clock is looked at, which may jump, while there
	// is a deadline.
	expiryLook = time.Second
	// maxDeadline bounds what a peer may send, so that a sum does not overflow.
	maxDeadline = 1 << 53
)

// deadlines is what the applier knows of the values that will end. There is a row for
// each of them, in the order in which this replica is to delete them.
type deadlines struct {
	own   causal.Actor // of this life: those of other writes come later
	grace uint64       // milliseconds by which
	next  uint64       // when the first row is due, or earlier; 0: there is none
}

// graceOf is how long past the deadline a member deletes what another one took.
func graceOf(c Config) uint64 {
	rank := slices.Index(c.Placement.Members, c.Node)
	return uint64((expiryGrace + time.Duration(rank)*expiryStep).Milliseconds())
}

// deadlineOf is when a value ends that is put now, in milliseconds since 1970, never
// earlier than ttl from now; 0 without a TTL.
func deadlineOf(now time.Time, ttl time.Duration) uint64 {
	if ttl == 0 {
		return 0
	}
	return uint64(max(1, now.Add(ttl+time.Millisecond-1).UnixMilli()))
}

// remaining is what is left until each deadline, nil if there is none. A value that is
// there has something left: whoever is to delete it has not done so yet.
func remaining(now time.Time, deadlines []uint64) []time.Duration {
	if !slices.ContainsFunc(deadlines, func(d uint64) bool { return d > 0 }) {
		return nil
	}
	left := make([]time.Duration, len(deadlines))
	for i, d := range deadlines {
		if d > 0 {
			left[i] = max(time.UnixMilli(int64(d)).Sub(now), time.Millisecond)
		}
	}
	return left
}

// lastDeadline is when the last of several adds of a member ends; 0 if one stays.
func lastDeadline(siblings []causal.Sibling) (last uint64) {
	for _, s := range siblings {
		if s.Deadline == 0 {
			return 0
		}
		last = max(last, s.Deadline)
	}
	return last
}

func checkDeadline(d causal.Dot, deadline uint64) error {
	if deadline > maxDeadline {
		return fmt.Errorf("the deadline %d of %s is too far", deadline, d)
	}
	return nil
}

// dueRow names a row by when it is due and of which write it is.
func dueRow(due uint64, d causal.Dot) []byte {
	return numbered(rowDeadline, due, uint64(d.Actor), d.N)
}

// schedule keeps the rows of deadlines beside a key whose siblings change. A row may be
// of an earlier life, of which this one does not know that it took the write.
func (s *state) schedule(key string, before, after []causal.Sibling) {
	for _, was := range before {
		if was.Deadline > 0 && !slices.ContainsFunc(after, sameDot(was)) && !mutant.M40 {
			s.batch.Delete(dueRow(was.Deadline, was.Dot))
			s.batch.Delete(dueRow(was.Deadline+s.grace, was.Dot))
		}
	}
	for _, is := range after {
		if is.Deadline == 0 || slices.ContainsFunc(before, sameDot(is)) || mutant.M41 {
			continue
		}
		due := is.Deadline
		if is.Dot.Actor != s.own {
			due += s.grace
		}
		s.batch.Set(dueRow(due, is.Dot), []byte(key))
		if s.next == 0 || due < s.next {
			s.next = due
		}
	}
}

func sameDot(a causal.Sibling) func(causal.Sibling) bool {
	return func(b causal.Sibling) bool { return a.Dot == b.Dot }
}

// overdue is a value that is to be deleted.
type overdue struct {
	row []byte
	dot causal.Dot
	key string
}

// overdue lists at most so many values that are due, the first ones first, and notes
// when to look again.
func (s *state) overdue(now uint64, most int) ([]overdue, error) {
	view := s.space.View()
	defer view.Close()
	var list []overdue
	var failed error
	s.next = 0
	for row, key := range view.Scan([]byte{rowDeadline}, []byte{rowDeadline + 1}, &failed) {
		if len(row) != 25 {
			return nil, corrupt(fmt.Sprintf("the deadline %x", row), nil)
		}
		due := binary.BigEndian.Uint64(row[1:])
		if due > now || len(list) == most {
			s.next = due
			break
		}
		dot := causal.Dot{Actor: causal.Actor(binary.BigEndian.Uint64(row[9:])), N: binary.BigEndian.Uint64(row[17:])}
		list = append(list, overdue{row: slices.Clone(row), dot: dot, key: string(key)})
	}
	return list, failed
}

// untilDue is how long the applier may wait for the next deadline.
func (r *Replica) untilDue() time.Duration {
	if r.state.next == 0 || !r.placed.Load().takes() {
		return time.Hour // whoever adds a deadline, or lets this replica write, looks again
	}
	left := time.UnixMilli(int64(r.state.next)).Sub(r.cfg.Clock())
	return min(max(left, 0), expiryLook)
}

// expire deletes, by this node's clock, what is due.
func (r *Replica) expire(g *group) error {
	now := uint64(max(0, r.cfg.Clock().UnixMilli()))
	if r.state.next == 0 || r.state.next > now || !r.placed.Load().takes() {
		return nil
	}
	list, err := r.state.overdue(now, expiryBatch)
	if err != nil {
		return err
	}
	for _, o := range list {
		g.swept++
		r.state.batch.Delete(o.row)
		siblings, err := r.state.siblings(o.key)
		if err != nil {
			return err
		}
		ends := []causal.Dot{o.dot}
		if mutant.M40 {
			ends = dotsOf(siblings)
		}
		if !slices.ContainsFunc(siblings, func(s causal.Sibling) bool { return s.Dot == o.dot }) && (!mutant.M40 || len(ends) == 0) {
			continue // the row outlived what it is of: the grace was another when it was made
		}
		if err := r.end(g, o.key, ends); err != nil {
			return err
		}
	}
	return nil
}

// end logs the delete of exactly that value. One that was put meanwhile stays.
func (r *Replica) end(g *group, key string, value []causal.Dot) error {
	e := &entry{key: key, expired: true, Write: causal.Write{
		Dot:        r.nextDot(),
		Stamp:      r.state.clock.Next(r.cfg.Clock()),
		Supersedes: value,
		Delete:     true,
	}}
	if err := e.encode(); err != nil {
		return fmt.Errorf("encode an entry: %w", err)
	}
	g.local++
	return r.applyEntry(g, e)
}

// dotsOf names siblings; the planted bug M40 ends all that a key holds.
func dotsOf(siblings []causal.Sibling) (dots []causal.Dot) {
	for _, s := range siblings {
		dots = append(dots, s.Dot)
	}
	return dots
}

// alive are the siblings that are shown. The planted bug M41 hides, by the clock of this
// node, those whose TTL is over, and nobody deletes them.
func (r *Replica) alive(siblings []causal.Sibling) []causal.Sibling {
	alive := causal.Alive(siblings)
	if !mutant.M41 {
		return alive
	}
	now := uint64(max(0, r.cfg.Clock().UnixMilli()))
	return slices.DeleteFunc(slices.Clone(alive), func(s causal.Sibling) bool { return s.Deadline > 0 && s.Deadline <= now })
}

// noLease refuses what would let keys end together.
func noLease() error {
	return &store.Error{
		Code: store.Unsupported, Msg: "an ap keyspace has no leases: a TTL belongs to one value", Try: "a put with a TTL, or a cp keyspace",
	}
}

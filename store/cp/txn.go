package cp

import (
	"bytes"
	"cmp"
	"fmt"

	"github.com/dialkv/dialkv/internal/logpb"
)

// transact compares and then does one of two lists of steps, all at one revision.
// Whether a step will be refused is found out before the first is done.
func (t *tx) transact(c *logpb.Command) *logpb.Answer {
	held := true
	for _, x := range c.Txn.GetIf() {
		held = held && t.compare(x)
	}
	steps := c.Txn.GetElse()
	if held {
		steps = c.Txn.GetThen()
	}
	if refused := t.refuses(steps); refused != nil {
		return refused
	}
	answer := &logpb.Answer{Revision: t.next(), Held: held}
	for _, s := range steps {
		answer.Steps = append(answer.Steps, t.step(s, answer.Revision))
	}
	return answer
}

// compare looks at a part of what a key holds. Of an absent key every number is 0,
// and nothing about its value holds.
func (t *tx) compare(x *logpb.Compare) bool {
	rec := t.record(x.Key)
	var order int
	switch x.Target {
	case logpb.Compare_TARGET_VALUE:
		if rec == nil {
			return false
		}
		order = bytes.Compare(rec.Value, x.Value)
	case logpb.Compare_TARGET_VERSION:
		order = cmp.Compare(rec.GetVersion(), x.Number)
	case logpb.Compare_TARGET_CREATED:
		order = cmp.Compare(rec.GetCreateRevision(), x.Number)
	case logpb.Compare_TARGET_CHANGED:
		order = cmp.Compare(rec.GetModifyRevision(), x.Number)
	case logpb.Compare_TARGET_LEASE:
		order = cmp.Compare(rec.GetLease(), x.Number)
	default:
		t.err = fmt.Errorf("cp: the log compares %v, which this release does not know", x.Target)
	}
	switch x.Relation {
	case logpb.Compare_RELATION_EQUAL:
		return order == 0
	case logpb.Compare_RELATION_NOT_EQUAL:
		return order != 0
	case logpb.Compare_RELATION_LESS:
		return order < 0
	case logpb.Compare_RELATION_GREATER:
		return order > 0
	}
	t.err = fmt.Errorf("cp: the log compares by %v, which this release does not know", x.Relation)
	return false
}

// refuses goes through the steps on paper, and returns the answer if one of them
// cannot be done.
func (t *tx) refuses(steps []*logpb.Step) *logpb.Answer {
	p := &paper{t: t, records: make(map[string]*logpb.Record), attached: make(map[uint64]int)}
	for i, s := range steps {
		if refused := p.step(s); refused != nil {
			refused.Msg = fmt.Sprintf("step %d, key %q: %s", i+1, s.Key, refused.Msg)
			return refused
		}
	}
	return nil
}

// paper is what the steps of a transaction would make of the state.
type paper struct {
	t        *tx
	records  map[string]*logpb.Record // nil: deleted
	attached map[uint64]int           // keys that a lease gains, or loses
}

func (p *paper) step(s *logpb.Step) (refused *logpb.Answer) {
	rec, written := p.records[s.Key]
	if !written {
		rec = p.t.record(s.Key)
	}
	switch s.Op {
	case logpb.Command_OP_PUT:
		refused = p.attach(rec.GetLease(), s.Lease)
		p.records[s.Key] = &logpb.Record{Value: s.Value, Lease: s.Lease}
	case logpb.Command_OP_DELETE:
		p.attached[rec.GetLease()]--
		p.records[s.Key] = nil
	case logpb.Command_OP_INCREMENT:
		var value []byte
		value, refused = sum(rec, s.Delta)
		p.records[s.Key] = &logpb.Record{Value: value, Lease: rec.GetLease()}
	}
	return refused
}

// attach moves a key from one lease to another; 0 is none.
func (p *paper) attach(from, to uint64) *logpb.Answer {
	switch {
	case to == 0 || to == from:
	case p.t.s.leases[to] == nil:
		return noLease(to)
	case int(p.t.s.leases[to].Keys)+p.attached[to] >= maxLeaseKeys:
		return fullLease(to)
	}
	p.attached[from]--
	p.attached[to]++
	return nil
}

func (t *tx) step(s *logpb.Step, revision uint64) *logpb.StepAnswer {
	switch s.Op {
	case logpb.Command_OP_GET:
		rec := t.record(s.Key)
		return &logpb.StepAnswer{Found: rec != nil, Value: rec.GetValue(), Revision: rec.GetModifyRevision()}
	case logpb.Command_OP_PUT:
		return t.set(s.Key, s.Value, s.Lease, revision)
	case logpb.Command_OP_DELETE:
		return t.remove(s.Key, revision, false)
	case logpb.Command_OP_INCREMENT:
		rec := t.record(s.Key)
		value, _ := sum(rec, s.Delta) // on paper it was not refused
		answer := t.set(s.Key, value, rec.GetLease(), revision)
		answer.Value = value
		return answer
	}
	t.err = fmt.Errorf("cp: the log holds step %v, which this release does not know", s.Op)
	return &logpb.StepAnswer{}
}

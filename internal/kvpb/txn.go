package kvpb

import (
	"time"

	"github.com/dialkv/dialkv/store"
)

var targets = map[store.Target]Compare_Target{
	store.TargetValue:   Compare_TARGET_VALUE,
	store.TargetVersion: Compare_TARGET_VERSION,
	store.TargetCreated: Compare_TARGET_CREATED,
	store.TargetChanged: Compare_TARGET_CHANGED,
	store.TargetLease:   Compare_TARGET_LEASE,
}

var relations = map[store.Relation]Compare_Relation{
	store.Equal:    Compare_RELATION_EQUAL,
	store.NotEqual: Compare_RELATION_NOT_EQUAL,
	store.Less:     Compare_RELATION_LESS,
	store.Greater:  Compare_RELATION_GREATER,
}

// What the tables do not know goes out as what the other end refuses.
func toTxn(t *store.Txn) *Txn {
	if t == nil {
		return nil
	}
	out := &Txn{Then: toSteps(t.Then), Else: toSteps(t.Else)}
	for _, c := range t.If {
		out.If = append(out.If, &Compare{Key: c.Key, Target: targets[c.Target], Relation: relations[c.Relation], Value: c.Value, Number: c.Number})
	}
	return out
}

func fromTxn(t *Txn) (*store.Txn, error) {
	if t == nil {
		return nil, nil
	}
	out := new(store.Txn)
	for _, c := range t.GetIf() {
		target, err := lookup(targets, c.GetTarget(), "comparison")
		if err != nil {
			return nil, err
		}
		relation, err := lookup(relations, c.GetRelation(), "relation")
		if err != nil {
			return nil, err
		}
		out.If = append(out.If, store.Compare{Key: c.GetKey(), Target: target, Relation: relation, Value: c.Value, Number: c.GetNumber()})
	}
	var err error
	if out.Then, err = fromSteps(t.GetThen()); err != nil {
		return nil, err
	}
	out.Else, err = fromSteps(t.GetElse())
	return out, err
}

func toSteps(steps []store.Step) []*Step {
	var out []*Step
	for _, s := range steps {
		out = append(out, &Step{Op: ops[s.Op], Key: s.Key, Value: s.Value, Delta: s.Delta, Lease: s.Lease})
	}
	return out
}

func fromSteps(steps []*Step) ([]store.Step, error) {
	var out []store.Step
	for _, s := range steps {
		op, err := lookup(ops, s.GetOp(), "operation")
		if err != nil {
			return nil, err
		}
		out = append(out, store.Step{Op: op, Key: s.GetKey(), Value: s.GetValue(), Delta: s.GetDelta(), Lease: s.GetLease()})
	}
	return out, nil
}

func toStepResults(steps []store.StepResult) []*StepResult {
	var out []*StepResult
	for _, s := range steps {
		out = append(out, &StepResult{Found: s.Found, Value: s.Value, Revision: s.Revision, Replaced: s.Replaced})
	}
	return out
}

func fromStepResults(steps []*StepResult) []store.StepResult {
	var out []store.StepResult
	for _, s := range steps {
		out = append(out, store.StepResult{Found: s.GetFound(), Value: s.GetValue(), Revision: s.GetRevision(), Replaced: s.GetReplaced()})
	}
	return out
}

func toLeases(leases []store.Lease) []*Lease {
	var out []*Lease
	for _, l := range leases {
		out = append(out, &Lease{Id: l.ID, TtlNs: int64(l.TTL), RemainingNs: int64(l.Remaining), Keys: l.Keys})
	}
	return out
}

func fromLeases(leases []*Lease) []store.Lease {
	var out []store.Lease
	for _, l := range leases {
		out = append(out, store.Lease{
			ID: l.GetId(), TTL: time.Duration(l.GetTtlNs()),
			Remaining: time.Duration(l.GetRemainingNs()), Keys: l.GetKeys(),
		})
	}
	return out
}

package cp

import (
	"time"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/store"
)

// The tables between the words of package store and those of the log. Commands have
// been checked when they come here, so every word is in its table.

var conditions = map[store.ConditionKind]logpb.Command_Condition{
	store.Always:     logpb.Command_CONDITION_ALWAYS,
	store.IfValue:    logpb.Command_CONDITION_VALUE,
	store.IfRevision: logpb.Command_CONDITION_REVISION,
	store.IfAbsent:   logpb.Command_CONDITION_ABSENT,
}

var ops = map[store.Op]logpb.Command_Op{
	store.Put:          logpb.Command_OP_PUT,
	store.Delete:       logpb.Command_OP_DELETE,
	store.OpenSession:  logpb.Command_OP_OPEN_SESSION,
	store.CloseSession: logpb.Command_OP_CLOSE_SESSION,
	store.Increment:    logpb.Command_OP_INCREMENT,
	store.Transact:     logpb.Command_OP_TRANSACT,
	store.Grant:        logpb.Command_OP_GRANT,
	store.KeepAlive:    logpb.Command_OP_KEEP_ALIVE,
	store.Revoke:       logpb.Command_OP_REVOKE,
	store.Get:          logpb.Command_OP_GET,
}

var targets = map[store.Target]logpb.Compare_Target{
	store.TargetValue:   logpb.Compare_TARGET_VALUE,
	store.TargetVersion: logpb.Compare_TARGET_VERSION,
	store.TargetCreated: logpb.Compare_TARGET_CREATED,
	store.TargetChanged: logpb.Compare_TARGET_CHANGED,
	store.TargetLease:   logpb.Compare_TARGET_LEASE,
}

var relations = map[store.Relation]logpb.Compare_Relation{
	store.Equal:    logpb.Compare_RELATION_EQUAL,
	store.NotEqual: logpb.Compare_RELATION_NOT_EQUAL,
	store.Less:     logpb.Compare_RELATION_LESS,
	store.Greater:  logpb.Compare_RELATION_GREATER,
}

func commandOf(c store.Command) *logpb.Command {
	return &logpb.Command{
		Op: ops[c.Op], Key: c.Key, Value: c.Value,
		Condition: conditions[c.If.Kind], ExpectValue: c.If.Value, ExpectRevision: c.If.Revision,
		Session: c.Request.Session, Number: c.Request.Number, Lowest: c.Request.Lowest,
		Delta: c.Delta, TtlMs: milliseconds(c.TTL), Lease: c.Lease, Txn: txnOf(c.Txn),
		Deps: c.Deps,
	}
}

// milliseconds rounds up: what is promised may be longer, never shorter.
func milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

func txnOf(t *store.Txn) *logpb.Txn {
	if t == nil {
		return nil
	}
	out := &logpb.Txn{Then: stepsOf(t.Then), Else: stepsOf(t.Else)}
	for _, x := range t.If {
		out.If = append(out.If, &logpb.Compare{Key: x.Key, Target: targets[x.Target], Relation: relations[x.Relation], Value: x.Value, Number: x.Number})
	}
	return out
}

func stepsOf(steps []store.Step) []*logpb.Step {
	var out []*logpb.Step
	for _, s := range steps {
		out = append(out, &logpb.Step{Op: ops[s.Op], Key: s.Key, Value: s.Value, Delta: s.Delta, Lease: s.Lease})
	}
	return out
}

func resultOf(a *logpb.Answer) store.Result {
	r := store.Result{
		Revision: a.Revision, Replaced: a.Replaced, Found: a.Found, Value: a.Value,
		Entry: entryOf(a.Epoch, a.Revision),
		Lease: a.Lease, TTL: time.Duration(a.TtlMs) * time.Millisecond, Held: a.Held,
	}
	for _, s := range a.Steps {
		r.Steps = append(r.Steps, store.StepResult{Found: s.Found, Value: s.Value, Revision: s.Revision, Replaced: s.Replaced})
	}
	return r
}

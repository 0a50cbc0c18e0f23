package client

import (
	"context"
	"fmt"

	"github.com/dialkv/dialkv/store"
)

// Fence is what the holder of a lock or a leadership shows to be let through: the
// fencing token of Kleppmann, "How to do distributed locking", 2016. Revision grows from
// holder to holder of a name, so whatever it is shown to can refuse one that is below
// the largest it has seen. Within the keyspace the option Fenced does better than that:
// it asks whether the fence is current at the very instant of the write.
type Fence struct {
	Key      string // the holder's own
	Revision uint64 // that created it
}

// fenced does a command as a transaction whose first comparison is the fence's.
func (k *Keyspace) fenced(ctx context.Context, c store.Command, o options) (store.Result, error) {
	f := *o.write.fence
	if f.Key == "" || f.Revision == 0 {
		return store.Result{}, invalid("the fence is empty", "the Fence of a Lock or a Leadership")
	}
	t, err := guarded(f, c)
	if err != nil {
		return store.Result{}, err
	}
	guard := store.Command{Op: store.Transact, Txn: t}
	if err := guard.Check(); err != nil {
		return store.Result{}, err
	}
	r, err := k.submit(ctx, guard, o)
	if err != nil {
		return store.Result{}, err
	}
	if c.Op == store.Transact {
		return k.fencedTxn(f, r)
	}
	return k.fencedWrite(f, c, r)
}

// guarded puts the fence first. What follows an Else, or stands for one, tells whether it
// was the fence that did not hold.
func guarded(f Fence, c store.Command) (*store.Txn, error) {
	t := &store.Txn{If: []store.Compare{CreatedAt(f.Key, f.Revision)}}
	switch c.Op {
	case store.Transact:
		for _, s := range c.Txn.Else {
			if s.Op != store.Get {
				return nil, invalid("a fenced transaction writes in its Else, which would be done without the fence, too", "a second transaction, fenced as well")
			}
		}
		t.If = append(t.If, c.Txn.If...)
		t.Then = c.Txn.Then
		t.Else = append(append(t.Else, c.Txn.Else...), GetStep(f.Key))
	case store.Put, store.Delete, store.Increment:
		if c.TTL != 0 || c.Context != nil || c.Blind || c.Field != "" || c.W != store.WDefault {
			return nil, invalid("a fenced write has no TTL, no w, no context and no member or field, and is not blind", "a lease in place of the TTL")
		}
		t.If = append(t.If, compares(c)...)
		t.Then = []store.Step{{Op: c.Op, Key: c.Key, Value: c.Value, Delta: c.Delta, Lease: c.Lease}}
		t.Else = []store.Step{GetStep(c.Key), GetStep(f.Key)}
	default:
		return nil, invalid(fmt.Sprintf("a %v cannot be fenced", c.Op), "a put, a delete, an increment or a transaction")
	}
	return t, nil
}

// compares says a command's own condition as a transaction does.
func compares(c store.Command) []store.Compare {
	switch c.If.Kind {
	case store.IfValue:
		return []store.Compare{ValueIs(c.Key, c.If.Value)}
	case store.IfRevision:
		return []store.Compare{Present(c.Key), ChangedAt(c.Key, c.If.Revision)}
	case store.IfAbsent:
		return []store.Compare{Absent(c.Key)}
	default:
		return nil
	}
}

func (k *Keyspace) fencedTxn(f Fence, r store.Result) (store.Result, error) {
	if r.Held {
		return r, nil
	}
	last := len(r.Steps) - 1
	if last < 0 || !r.Steps[last].Found {
		return store.Result{Revision: r.Revision, Entry: r.Entry, Proof: r.Proof}, k.superseded(f, r)
	}
	r.Steps = r.Steps[:last]
	return r, nil
}

// fencedWrite gives the transaction's result the shape of a plain write's.
func (k *Keyspace) fencedWrite(f Fence, c store.Command, r store.Result) (store.Result, error) {
	out := store.Result{Revision: r.Revision, Entry: r.Entry, Proof: r.Proof}
	if len(r.Steps) == 0 {
		return out, &store.Error{Code: store.Unknown, Op: c.Name(), Keyspace: k.name, Msg: "the answer has no steps"}
	}
	step := r.Steps[0]
	out.Found, out.Value, out.Replaced = step.Found, step.Value, step.Replaced
	if r.Held {
		return out, nil
	}
	if step.Found {
		out.Revision = step.Revision
	}
	if len(r.Steps) < 2 || !r.Steps[1].Found {
		return out, k.superseded(f, r)
	}
	return out, &store.Error{
		Code: store.Conflict, Op: c.Name(), Keyspace: k.name, Group: r.Proof.Group, Node: r.Proof.Node,
		Msg: "the fence is current, but the condition on the key does not hold",
	}
}

func (k *Keyspace) superseded(f Fence, r store.Result) error {
	return &store.Error{
		Code: store.Conflict, Op: "fenced write", Keyspace: k.name, Group: r.Proof.Group, Node: r.Proof.Node,
		Msg: fmt.Sprintf("fence %d is not current any more: %s is gone, and another may hold the name", f.Revision, f.Key),
		Try: "stop, and acquire it again",
	}
}

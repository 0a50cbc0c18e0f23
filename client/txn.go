package client

import (
	"context"
	"strconv"

	"github.com/dialkv/dialkv/store"
)

// Increment adds delta to the decimal integer that a key holds and returns the sum; an
// absent key counts as 0. A value that is no integer, or a sum beyond 64 bits, is
// Invalid and changes nothing. It is done once, however often it had to be sent.
//
// On cp keyspaces, and on ap keyspaces with the policy counter. There the sum is what
// the replica that took the increment has applied: increments that were made elsewhere
// and have not come yet count later, and none is ever lost. A Delete takes away those
// increments that its replica had applied. Where two sides of a cut counted up to the
// limit, what a Get shows afterwards may be beyond 64 bits.
func (k *Keyspace) Increment(ctx context.Context, key string, delta int64, opts ...Option) (int64, Result, error) {
	r, err := k.Write(ctx, store.Command{Op: store.Increment, Key: key, Delta: delta}, opts...)
	if err != nil {
		return 0, resultOf(r), err
	}
	sum, err := strconv.ParseInt(string(r.Value), 10, 64)
	if err != nil {
		err = &store.Error{Code: store.Unknown, Op: store.Increment.String(), Keyspace: k.name, Msg: "the answer's sum cannot be read", Cause: err}
	}
	return sum, resultOf(r), err
}

// TxnResult is what a transaction did.
type TxnResult struct {
	Held     bool               // the comparisons held, and Then was done; else Else was
	Steps    []store.StepResult // one for each step that was done
	Revision uint64
	Proof    store.Proof
}

// Txn does t.Then if every comparison of t.If holds, and else t.Else, at one instant and
// one revision. That they do not hold is an answer, with Held false, and not an error.
// Values are compared byte by byte, so that "10" is less than "9".
// All keys must be in one group; where they are not, the txn is Invalid and nothing is
// sent. A keyspace of several groups keeps keys together that share a {tag}. cp only.
//
//	r, err := accounts.Txn(ctx, store.Txn{
//		If:   []store.Compare{client.ValueIs("{u42}/state", []byte("open"))},
//		Then: []store.Step{client.IncrementStep("{u42}/balance", -30), client.PutStep("{u42}/paid", order)},
//		Else: []store.Step{client.GetStep("{u42}/state")},
//	})
func (k *Keyspace) Txn(ctx context.Context, t store.Txn, opts ...Option) (TxnResult, error) {
	r, err := k.Write(ctx, store.Command{Op: store.Transact, Txn: &t}, opts...)
	return TxnResult{Held: r.Held, Steps: r.Steps, Revision: r.Revision, Proof: r.Proof}, err
}

// Comparisons of a Txn. Others are written as store.Compare.

// Absent holds if there is no such key.
func Absent(key string) store.Compare {
	return store.Compare{Key: key, Target: store.TargetVersion, Relation: store.Equal}
}

// Present holds if there is such a key.
func Present(key string) store.Compare {
	return store.Compare{Key: key, Target: store.TargetVersion, Relation: store.NotEqual}
}

// ValueIs holds if the key is there with this value.
func ValueIs(key string, value []byte) store.Compare {
	return store.Compare{Key: key, Target: store.TargetValue, Relation: store.Equal, Value: value}
}

// ChangedAt holds if the key was last written at this revision.
func ChangedAt(key string, revision uint64) store.Compare {
	return store.Compare{Key: key, Target: store.TargetChanged, Relation: store.Equal, Number: revision}
}

// CreatedAt holds if the key was created at this revision, and not deleted since.
func CreatedAt(key string, revision uint64) store.Compare {
	return store.Compare{Key: key, Target: store.TargetCreated, Relation: store.Equal, Number: revision}
}

// Steps of a Txn. One that attaches its key to a lease is written as store.Step.

// GetStep reads a key, as the steps before it left it.
func GetStep(key string) store.Step { return store.Step{Op: store.Get, Key: key} }

// PutStep sets a key.
func PutStep(key string, value []byte) store.Step {
	return store.Step{Op: store.Put, Key: key, Value: value}
}

// DeleteStep removes a key.
func DeleteStep(key string) store.Step { return store.Step{Op: store.Delete, Key: key} }

// IncrementStep adds delta to the decimal integer that a key holds. If it cannot, the
// whole transaction is Invalid and nothing of it is done.
func IncrementStep(key string, delta int64) store.Step {
	return store.Step{Op: store.Increment, Key: key, Delta: delta}
}

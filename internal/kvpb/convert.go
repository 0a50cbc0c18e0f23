// Package kvpb is the API on the wire: the generated code, and the one table that
// turns the words of package store into it and back. Node and client both use the
// table, so a word cannot mean two things.
//
// Names that the table does not know are Invalid. They never become a default:
// a level nobody knows must not turn into a weaker read.
//
// A session's entry and a key's context cross the wire inside a token and a sealed
// context. The functions here carry those bytes as they are; sealing and opening
// is for the ends.
package kvpb

import (
	"fmt"
	"time"

	"github.com/dialkv/dialkv/store"
)

var ops = map[store.Op]Op{
	store.Put:          Op_OP_PUT,
	store.Delete:       Op_OP_DELETE,
	store.OpenSession:  Op_OP_OPEN_SESSION,
	store.CloseSession: Op_OP_CLOSE_SESSION,
	store.Increment:    Op_OP_INCREMENT,
	store.Transact:     Op_OP_TRANSACT,
	store.Grant:        Op_OP_GRANT,
	store.KeepAlive:    Op_OP_KEEP_ALIVE,
	store.Revoke:       Op_OP_REVOKE,
	store.Get:          Op_OP_GET,
}

var conditions = map[store.ConditionKind]Condition_Kind{
	store.Always:     Condition_ALWAYS,
	store.IfValue:    Condition_VALUE,
	store.IfRevision: Condition_REVISION,
	store.IfAbsent:   Condition_ABSENT,
}

// lookup reads a table backwards.
func lookup[K, V comparable](table map[K]V, v V, what string) (K, error) {
	for k, known := range table {
		if known == v {
			return k, nil
		}
	}
	var none K
	return none, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("%s %v is not known", what, v)}
}

// ToQuery fills the fields of a request that say what is read.
func ToQuery(q store.Query) *ReadRequest {
	return &ReadRequest{
		Key:      q.Key,
		Level:    levelName(q.Level),
		Limit:    uint32(max(q.Limit, 0)),
		Prefix:   q.Prefix,
		Siblings: q.Siblings,
		BoundNs:  int64(q.Bound),
		To:       q.To,
		Reverse:  q.Reverse,
		KeysOnly: q.KeysOnly,
		Count:    q.Count,
		Page:     q.Page,
		Leases:   q.Leases,
	}
}

// FromQuery returns what is read; After is for the caller to take from the token.
func FromQuery(r *ReadRequest) (store.Query, error) {
	level, err := store.ParseLevel(r.GetLevel())
	if err != nil {
		return store.Query{}, err
	}
	return store.Query{
		Key:      r.GetKey(),
		Level:    level,
		Limit:    int(r.GetLimit()),
		Prefix:   r.GetPrefix(),
		Siblings: r.GetSiblings(),
		Bound:    time.Duration(r.GetBoundNs()),
		To:       r.GetTo(),
		Reverse:  r.GetReverse(),
		KeysOnly: r.GetKeysOnly(),
		Count:    r.GetCount(),
		Page:     r.GetPage(),
		Leases:   r.GetLeases(),
	}, nil
}

// ToCommand fills the fields of a request that say what is written.
func ToCommand(c store.Command) *WriteRequest {
	return &WriteRequest{
		Op:        ops[c.Op],
		Key:       c.Key,
		Field:     c.Field,
		Value:     c.Value,
		Condition: toCondition(c.If),
		Context:   c.Context,
		Blind:     c.Blind,
		W:         orDefault(c.W),
		Session:   c.Request.Session,
		Number:    c.Request.Number,
		Lowest:    c.Request.Lowest,
		Retry:     c.Request.Retry,
		Delta:     c.Delta,
		TtlNs:     int64(c.TTL),
		Lease:     c.Lease,
		Txn:       toTxn(c.Txn),
	}
}

// FromCommand returns what is written; After is for the caller to take from the
// token, and Context for the caller to open.
func FromCommand(r *WriteRequest) (store.Command, error) {
	op, err := lookup(ops, r.GetOp(), "operation")
	if err != nil {
		return store.Command{}, err
	}
	condition, err := fromCondition(r.GetCondition())
	if err != nil {
		return store.Command{}, err
	}
	w, err := store.ParseW(r.GetW())
	if err != nil {
		return store.Command{}, err
	}
	txn, err := fromTxn(r.GetTxn())
	if err != nil {
		return store.Command{}, err
	}
	return store.Command{
		Op:      op,
		Key:     r.GetKey(),
		Field:   r.GetField(),
		Value:   r.GetValue(),
		If:      condition,
		Context: r.GetContext(),
		Blind:   r.GetBlind(),
		W:       w,
		Delta:   r.GetDelta(),
		TTL:     time.Duration(r.GetTtlNs()),
		Lease:   r.GetLease(),
		Txn:     txn,
		Request: store.Request{Session: r.GetSession(), Number: r.GetNumber(), Lowest: r.GetLowest(), Retry: r.GetRetry()},
	}, nil
}

// A condition that the table does not know goes out as one that the other end
// refuses, and never as none.
func toCondition(c store.Condition) *Condition {
	if c.Kind == store.Always {
		return nil
	}
	kind, ok := conditions[c.Kind]
	if !ok {
		kind = -1
	}
	return &Condition{Kind: kind, Value: c.Value, Revision: c.Revision}
}

func fromCondition(c *Condition) (store.Condition, error) {
	kind, err := lookup(conditions, c.GetKind(), "condition")
	return store.Condition{Kind: kind, Value: c.GetValue(), Revision: c.GetRevision()}, err
}

// ToPage returns the answer to a read.
func ToPage(p store.Page) *ReadResponse {
	return &ReadResponse{
		Items:    ToItems(p.Items),
		Leases:   toLeases(p.Leases),
		Count:    p.Count,
		Next:     p.Next,
		Revision: p.Revision,
		Context:  p.Context,
		Entry:    p.Entry,
		Deps:     p.Deps,
		Proof:    ToProof(p.Proof),
	}
}

// FromPage returns the page, or the error that came in its place.
func FromPage(r *ReadResponse) (store.Page, error) {
	if r.GetError() != nil {
		return store.Page{}, FromError(r.GetError())
	}
	proof, err := FromProof(r.GetProof())
	if err != nil {
		return store.Page{}, err
	}
	return store.Page{
		Items:    FromItems(r.GetItems()),
		Leases:   fromLeases(r.GetLeases()),
		Count:    r.GetCount(),
		Next:     r.GetNext(),
		Revision: r.GetRevision(),
		Context:  r.GetContext(),
		Entry:    r.GetEntry(),
		Deps:     r.GetDeps(),
		Proof:    proof,
	}, nil
}

// ToItems returns the items of a page.
func ToItems(items []store.Item) []*Item {
	out := make([]*Item, len(items))
	for i, item := range items {
		out[i] = &Item{
			Key: item.Key, Values: item.Values, Fields: item.Fields, Revision: item.Revision,
			Created: item.Created, Version: item.Version, Lease: item.Lease,
		}
		for _, left := range item.Remaining {
			out[i].RemainingNs = append(out[i].RemainingNs, int64(left))
		}
		for _, s := range item.Siblings {
			out[i].Siblings = append(out[i].Siblings, &Sibling{Dot: s.Dot, Stamp: s.Stamp, Field: s.Field, Value: s.Value})
		}
	}
	return out
}

// FromItems returns the items of a page.
func FromItems(items []*Item) []store.Item {
	var out []store.Item
	for _, item := range items {
		it := store.Item{
			Key: item.GetKey(), Values: item.GetValues(), Fields: item.GetFields(), Revision: item.GetRevision(),
			Created: item.GetCreated(), Version: item.GetVersion(), Lease: item.GetLease(),
		}
		for _, left := range item.GetRemainingNs() {
			it.Remaining = append(it.Remaining, time.Duration(left))
		}
		for _, s := range item.GetSiblings() {
			it.Siblings = append(it.Siblings, store.Sibling{Dot: s.GetDot(), Stamp: s.GetStamp(), Field: s.GetField(), Value: s.GetValue()})
		}
		out = append(out, it)
	}
	return out
}

// ToResult returns the answer to a write. With an error the caller sets Error.
func ToResult(r store.Result) *WriteResponse {
	return &WriteResponse{
		Revision: r.Revision,
		Replaced: r.Replaced,
		Found:    r.Found,
		Value:    r.Value,
		Context:  r.Context,
		Acked:    uint32(r.Acked),
		Wanted:   uint32(r.Wanted),
		Entry:    r.Entry,
		Deps:     r.Deps,
		Proof:    ToProof(r.Proof),
		Lease:    r.Lease,
		TtlNs:    int64(r.TTL),
		Held:     r.Held,
		Steps:    toStepResults(r.Steps),
	}
}

// FromResult returns the result and the error of a write; on Conflict both say
// something. An answer that cannot be read leaves the outcome Unknown.
func FromResult(r *WriteResponse) (store.Result, error) {
	result := store.Result{
		Revision: r.GetRevision(),
		Replaced: r.GetReplaced(),
		Found:    r.GetFound(),
		Value:    r.GetValue(),
		Context:  r.GetContext(),
		Acked:    int(r.GetAcked()),
		Wanted:   int(r.GetWanted()),
		Entry:    r.GetEntry(),
		Deps:     r.GetDeps(),
		Lease:    r.GetLease(),
		TTL:      time.Duration(r.GetTtlNs()),
		Held:     r.GetHeld(),
		Steps:    fromStepResults(r.GetSteps()),
	}
	var err error
	result.Proof, err = FromProof(r.GetProof())
	switch {
	case r.GetError() != nil:
		return result, FromError(r.GetError())
	case err != nil:
		return result, &store.Error{Code: store.Unknown, Msg: "the answer cannot be read", Cause: err}
	}
	return result, nil
}

// ToProof returns the proof of an answer.
func ToProof(p store.Proof) *Proof {
	return &Proof{
		Node:        p.Node,
		Group:       groupName(p.Group),
		Role:        p.Role,
		Term:        p.Term,
		Vector:      p.Vector,
		Asked:       levelName(p.Asked),
		Served:      levelName(p.Served),
		WaitedNs:    int64(p.Waited),
		WaitedFor:   p.WaitedFor,
		StalenessNs: int64(p.Staleness),
		Fresh:       p.Fresh,
		Degraded:    p.Degraded,
	}
}

// FromProof returns the proof of an answer.
func FromProof(p *Proof) (store.Proof, error) {
	group, err1 := groupOf(p.GetGroup())
	asked, err2 := store.ParseLevel(p.GetAsked())
	served, err3 := store.ParseLevel(p.GetServed())
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return store.Proof{}, err
		}
	}
	return store.Proof{
		Node:      p.GetNode(),
		Group:     group,
		Role:      p.GetRole(),
		Term:      p.GetTerm(),
		Vector:    p.GetVector(),
		Asked:     asked,
		Served:    served,
		Waited:    time.Duration(p.GetWaitedNs()),
		WaitedFor: p.GetWaitedFor(),
		Staleness: time.Duration(p.GetStalenessNs()),
		Fresh:     p.GetFresh(),
		Degraded:  p.GetDegraded(),
	}, nil
}

// levelName is what ParseLevel reads back: the default level has no name.
func levelName(l store.Level) string {
	if l == store.LevelDefault {
		return ""
	}
	return l.String()
}

// groupName leaves out the zero group, which is none.
func groupName(g store.GroupID) string {
	if g == (store.GroupID{}) {
		return ""
	}
	return g.String()
}

func groupOf(name string) (store.GroupID, error) {
	if name == "" {
		return store.GroupID{}, nil
	}
	return store.ParseGroupID(name)
}

// orDefault is the name of a value whose zero has none.
func orDefault[T interface {
	comparable
	fmt.Stringer
}](v T) string {
	var zero T
	if v == zero {
		return ""
	}
	return v.String()
}

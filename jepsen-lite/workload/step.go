package workload

import (
	"cmp"
	"encoding/base64"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// script decides what one client does next, and is told what it saw.
type script interface {
	next() step
	saw(step, sight)
}

// step is one operation to do.
type step struct {
	kind   history.Kind
	space  *shard.Keyspace
	key    string
	field  string // of a map: what to put or remove
	value  string // to write; of a delete, its id
	expect string // of a cas
	level  store.Level
	bound  time.Duration // of level bounded
	w      store.W       // ap: of a write
	after  *sight        // ap: the read of the key that this write follows
	blind  bool          // siblings: stand beside what is there

	delta  int64         // of an incr
	txn    *store.Txn    // of a txn
	page   int           // of a scan, whose prefix is key: items of a page
	ttl    time.Duration // of a put or a lock
	lease  uint64        // of a keepalive or a revoke
	guard  *guard        // of a fenced put
	holder *client.Lock  // of an unlock

	own bool // a strong get of the node's own replica, where the target lets us
	directly
}

// directly is a node asked by itself, without a client that would go to the leader.
type directly struct {
	direct   Direct
	at       string
	patience time.Duration
}

// guard is the fence of a lock.
type guard struct {
	lock  string
	fence client.Fence
}

// sight is what an answer showed of a key. Without told it showed nothing.
type sight struct {
	told    bool
	values  []string // as served; none if the key was absent
	held    []string // ap: all siblings, which is what the context covers
	context []byte   // ap
	name    []byte   // ap, of a write: its own context

	items []history.Item // of a scan, or found by the gets of a txn
	lease uint64         // that a put with a TTL made
	lock  *client.Lock   // that is held now
}

// call is the step as history records it.
func (s step) call() history.Call {
	c := history.Call{
		Kind: s.kind, Keyspace: s.space.Name, Mode: s.space.Mode.String(),
		Key: s.key, Field: s.field, Value: s.value, Expect: s.expect,
	}
	if s.kind == history.Get || s.kind == history.Scan {
		c.Level = s.level.String()
		if s.level == store.Bounded {
			c.Level += ":" + s.bound.String()
		}
	}
	s.describe(&c)
	if s.space.Mode == store.AP {
		c.Conflict = s.space.Policy.String()
		if s.w != store.WDefault {
			c.W = s.w.String()
		}
		switch {
		case s.after != nil:
			c.Covers = append([]string{}, s.after.held...)
		case s.blind:
			c.Covers = []string{}
		}
	}
	return c
}

func (s step) query() store.Query {
	// On lww the hidden siblings are asked for, too: the context covers them.
	return store.Query{Key: s.key, Level: s.level, Bound: s.bound, Siblings: s.space.Mode == store.AP}
}

func (s step) command() store.Command {
	c := store.Command{Op: store.Put, Key: s.key, Field: s.field, Value: []byte(s.value), Blind: s.blind, TTL: s.ttl, W: s.w}
	switch s.kind {
	case history.Incr:
		return store.Command{Op: store.Increment, Key: s.key, Delta: s.delta, W: s.w}
	case history.Add:
		return store.Command{Op: store.Put, Key: s.key, Field: s.value, W: s.w}
	case history.Remove:
		return store.Command{Op: store.Delete, Key: s.key, Field: cmp.Or(s.field, s.value), W: s.w}
	case history.Txn:
		return store.Command{Op: store.Transact, Txn: s.txn}
	case history.KeepAlive:
		return store.Command{Op: store.KeepAlive, Lease: s.lease}
	case history.Revoke:
		return store.Command{Op: store.Revoke, Lease: s.lease}
	case history.Delete:
		c.Op, c.Value = store.Delete, nil
	case history.CAS:
		c.If = store.Condition{Kind: store.IfValue, Value: []byte(s.expect)}
	}
	if s.after != nil {
		c.Context = s.after.context
	}
	return c
}

// read is the answer to a get.
func (s step) read(page store.Page, err error) (history.Answer, sight) {
	a := answer(page.Proof, err)
	if err != nil {
		return a, sight{}
	}
	saw := sight{told: true, context: page.Context}
	revision := page.Revision
	for _, item := range page.Items {
		saw.values, a.Fields, revision = texts(item.Values), item.Fields, item.Revision
		for _, sibling := range item.Siblings {
			saw.held = append(saw.held, string(sibling.Value))
		}
	}
	show(&a, saw.values)
	if s.space.Mode == store.CP {
		a.Revision = &revision
	} else {
		a.Context = base64.RawURLEncoding.EncodeToString(page.Context)
	}
	return a, saw
}

// wrote is the answer to a write. A condition that did not hold has seen the key.
func (s step) wrote(r store.Result, err error) (history.Answer, sight) {
	a := answer(r.Proof, err)
	switch {
	case s.kind == history.CAS && a.Code == store.Conflict:
		saw := sight{told: true}
		if r.Found {
			saw.values = []string{string(r.Value)}
		}
		show(&a, saw.values)
		a.Revision = &r.Revision
		return a, saw
	case err == nil && s.space.Mode == store.CP:
		a.Revision, a.Replaced, a.Lease = &r.Revision, &r.Replaced, r.Lease
		return s.added(a, r)
	case err == nil:
		if s.kind == history.Incr {
			a.Value = string(r.Value)
		}
		a.Found = &r.Found
		return a, sight{name: r.Context}
	}
	return a, sight{}
}

func answer(p store.Proof, err error) history.Answer {
	a := history.Answer{Outcome: store.OutcomeOf(err), ServedBy: p.Node}
	switch {
	case p.Term > 0:
		a.Server = history.Server{Group: p.Group.String(), Role: p.Role, Term: p.Term}
	case p.Vector != "":
		a.Group = p.Group.String()
	}
	if err != nil {
		a.Code = store.AsError(err).Code
	}
	if mutant.M19 && a.Outcome == store.Unclear {
		a.Outcome, a.Code = store.Failed, store.Unavailable
	}
	if p.Served != store.LevelDefault {
		a.Served = p.Served.String()
	}
	return a
}

// show records what was seen of the key. values are all siblings; value is the only
// one.
func show(a *history.Answer, values []string) {
	found := len(values) > 0
	a.Found, a.Values = &found, values
	if len(values) == 1 {
		a.Value = values[0]
	}
}

func texts(values [][]byte) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}

package lab

import (
	"context"
	"encoding/base64"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// opTimeout is how long an operation is tried.
const opTimeout = 2 * time.Second

// op is one operation on data: what history calls it, and how it is done.
type op struct {
	call  history.Call
	query *store.Query // a read, else
	write store.Command
	opts  []client.Option
}

func put(ctx context.Context, c *call) (any, error) {
	o, err := c.op(history.Put)
	if err != nil {
		return nil, err
	}
	o.call.Value, o.call.Field = c.text("value"), c.text("field")
	o.write.Op, o.write.Value, o.write.Field, o.write.TTL = store.Put, []byte(o.call.Value), o.call.Field, c.time("ttl", 0)
	o.call.TTL = o.write.TTL.Milliseconds()
	if c.yes("create") {
		o.opts = append(o.opts, client.Create())
	}
	if name := c.text("fence"); name != "" {
		l := c.heldLock(name)
		if l == nil {
			return nil, &store.Error{Code: store.Invalid, Op: "put", Msg: fmt.Sprintf("the session has no lock %q", name)}
		}
		o.opts = append(o.opts, client.Fenced(l.Fence()))
	}
	return c.operate(ctx, o)
}

func get(ctx context.Context, c *call) (any, error) {
	o, err := c.op(history.Get)
	if err != nil {
		return nil, err
	}
	level, bound, err := store.ParseLevelBound(c.text("level"))
	if err != nil {
		return nil, err
	}
	_, key, _ := strings.Cut(c.text("key"), "/")
	o.query = &store.Query{Key: key, Level: level, Bound: bound, Siblings: o.call.Mode == store.AP.String()}
	o.call.Level = c.level(level, bound, o.call.Mode)
	for end := time.Now().Add(c.time("until-found", 0)); ; wait(ctx, readPause) {
		told, err := c.operate(ctx, o)
		if err != nil || told["found"] == true || !time.Now().Before(end) || ctx.Err() != nil {
			return told, err
		}
	}
}

// readPause is the time between two reads that wait for a key.
const readPause = time.Millisecond

// level is what history calls one: the keyspace's own where none was asked for.
func (c *call) level(level store.Level, bound time.Duration, mode string) string {
	switch {
	case level == store.Bounded:
		return level.String() + ":" + bound.String()
	case level != store.LevelDefault:
		return level.String()
	case mode == store.CP.String():
		return store.Strong.String()
	}
	return store.Causal.String()
}

func remove(ctx context.Context, c *call) (any, error) {
	o, err := c.op(history.Delete)
	if err != nil {
		return nil, err
	}
	o.write.Op, o.write.Field = store.Delete, c.text("field")
	if o.write.Field != "" {
		o.call.Kind, o.call.Value = history.Remove, o.write.Field
		if o.call.Conflict == store.Map.String() {
			o.call.Field, o.call.Value = o.write.Field, ""
		}
	}
	return c.operate(ctx, o)
}

func add(ctx context.Context, c *call) (any, error) {
	o, err := c.op(history.Add)
	if err != nil {
		return nil, err
	}
	o.call.Value = c.text("value")
	o.write.Op, o.write.Field = store.Put, o.call.Value
	return c.operate(ctx, o)
}

func swap(ctx context.Context, c *call) (any, error) {
	o, err := c.op(history.CAS)
	if err != nil {
		return nil, err
	}
	o.call.Value, o.call.Expect = c.text("value"), c.text("expect")
	o.write.Op, o.write.Value = store.Put, []byte(o.call.Value)
	o.write.If = store.Condition{Kind: store.IfValue, Value: []byte(o.call.Expect)}
	return c.operate(ctx, o)
}

func increment(ctx context.Context, c *call) (any, error) {
	o, err := c.op(history.Incr)
	if err != nil {
		return nil, err
	}
	o.call.Delta = int64(c.number("by", 1))
	o.write.Op, o.write.Delta = store.Increment, o.call.Delta
	return c.operate(ctx, o)
}

// op begins an operation on the call's key.
func (c *call) op(kind history.Kind) (*op, error) {
	name, key, _ := strings.Cut(c.text("key"), "/")
	k, err := c.keyspace(name)
	if err != nil {
		return nil, err
	}
	o := &op{call: history.Call{Kind: kind, Keyspace: name, Mode: k.Mode.String(), Key: key}, write: store.Command{Key: key}}
	if k.Mode != store.AP {
		return o, nil
	}
	o.call.Conflict = k.Policy.String()
	if w := c.text("w"); w != "" {
		if o.write.W, err = store.ParseW(w); err != nil {
			return nil, err
		}
		o.call.W = w
	}
	if o.write.Blind = c.yes("blind"); o.write.Blind {
		o.call.Covers = []string{}
	}
	return o, nil
}

func (c *call) keyspace(name string) (shard.Keyspace, error) {
	k, ok := c.world.keyspaces[name]
	if !ok {
		return k, &store.Error{Code: store.Invalid, Op: "lab", Msg: fmt.Sprintf("the experiment has no keyspace %q", name)}
	}
	return k, nil
}

// operate does an operation in its session and records it. That it failed is an answer.
func (c *call) operate(ctx context.Context, o *op) (map[string]any, error) {
	v, err := c.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer v.leave()
	s, full := v.session, o.call.Keyspace+"/"+o.call.Key
	if c.yes("after-read") && s.contexts[full] != nil {
		o.write.Context, o.call.Covers = s.contexts[full], append([]string{}, s.covers[full]...)
	}
	o.call.Process, o.call.Session, o.call.Node = s.process, s.name, v.at
	opts := append([]client.Option{client.In(v.live), client.WithTimeout(c.time("timeout", opTimeout))}, o.opts...)
	began := time.Now()
	id := c.world.rec.Invoke(o.call)
	a, told := o.ask(ctx, v.client.Keyspace(o.call.Keyspace), s, opts)
	c.world.rec.Complete(id, a)
	told["took_ms"] = milliseconds(time.Since(began))
	return told, nil
}

// visit is a session at a node, for one call.
type visit struct {
	at      string
	client  *client.Client
	session *session
	live    *client.Session
}

// enter opens the call's session at the node where it enters. A session makes one call at
// a time, and is held until leave.
func (c *call) enter(ctx context.Context) (*visit, error) {
	at, err := c.door(ctx)
	if err != nil {
		return nil, err
	}
	v := &visit{at: at, session: c.world.session(c.text("session"))}
	if v.client, err = c.world.client(ctx, at); err != nil {
		return nil, err
	}
	v.session.mu.Lock()
	if v.live, err = v.client.ResumeSession(v.session.token); err != nil {
		v.session.mu.Unlock()
		return nil, err
	}
	return v, nil
}

// leave keeps what the session has seen.
func (v *visit) leave() {
	v.session.token = v.live.Token()
	v.session.mu.Unlock()
}

// door is the node where the call enters.
func (c *call) door(ctx context.Context) (string, error) {
	at := c.text("at")
	if at == "" {
		return "", nil
	}
	nodes, err := c.world.nodes(ctx, []string{at})
	if err != nil {
		return "", err
	}
	return nodes[0], nil
}

// ask sends the operation and returns what came of it, for the history and for the
// experiment.
func (o *op) ask(ctx context.Context, k *client.Keyspace, s *session, opts []client.Option) (history.Answer, map[string]any) {
	full := o.call.Keyspace + "/" + o.call.Key
	if o.query == nil {
		r, err := k.Write(ctx, o.write, opts...)
		return o.wrote(r, err)
	}
	page, err := k.Read(ctx, *o.query, opts...)
	a, told := proved(page.Proof, err)
	if err != nil {
		return a, told
	}
	values, covers, revision := []string{}, []string{}, page.Revision
	for _, item := range page.Items {
		revision, a.Fields = item.Revision, item.Fields
		for _, v := range item.Values {
			values = append(values, string(v))
		}
		for _, sibling := range item.Siblings {
			covers = append(covers, string(sibling.Value))
		}
	}
	found := len(values) > 0
	a.Found, a.Values = &found, values
	told["found"], told["values"] = found, values
	if len(values) == 1 && len(a.Fields) == 0 {
		a.Value, told["value"] = values[0], values[0]
	}
	if len(a.Fields) > 0 {
		told["fields"] = a.Fields
	}
	if o.call.Mode == store.CP.String() {
		a.Revision, told["revision"] = &revision, revision
	} else {
		a.Context = base64.RawURLEncoding.EncodeToString(page.Context)
		s.contexts[full], s.covers[full] = page.Context, covers
	}
	return a, told
}

func (o *op) wrote(r store.Result, err error) (history.Answer, map[string]any) {
	a, told := proved(r.Proof, err)
	if r.Wanted > 0 {
		told["acked"], told["wanted"] = r.Acked, r.Wanted
	}
	cp := o.call.Mode == store.CP.String()
	switch {
	case o.call.Kind == history.CAS && a.Code == store.Conflict:
		a.Found, a.Revision = &r.Found, &r.Revision
		told["found"] = r.Found
		if r.Found {
			a.Value, told["value"] = string(r.Value), string(r.Value)
		}
	case err != nil:
	case cp:
		a.Revision, a.Replaced, a.Lease = &r.Revision, &r.Replaced, r.Lease
		told["revision"], told["replaced"] = r.Revision, r.Replaced
	default:
		a.Found = &r.Found
	}
	if o.call.Kind == history.Incr && err == nil {
		a.Value, told["value"] = string(r.Value), string(r.Value)
	}
	return a, told
}

// proved is what every answer says.
func proved(p store.Proof, err error) (history.Answer, map[string]any) {
	a := history.Answer{Outcome: store.OutcomeOf(err), ServedBy: p.Node}
	told := map[string]any{"outcome": string(a.Outcome)}
	if err != nil {
		e := store.AsError(err)
		a.Code = e.Code
		told["code"], told["message"] = string(e.Code), err.Error()
	}
	switch {
	case p.Term > 0:
		a.Server = history.Server{Group: p.Group.String(), Role: p.Role, Term: p.Term}
		told["term"] = p.Term
	case p.Vector != "":
		a.Group = p.Group.String()
	}
	if p.Node != "" {
		told["node"], told["role"], told["waited_ms"] = p.Node, p.Role, milliseconds(p.Waited)
	}
	if p.Served != store.LevelDefault {
		a.Served = p.Served.String()
		told["level_served"] = a.Served
	}
	if p.Fresh {
		told["staleness_ms"] = milliseconds(p.Staleness)
	}
	return a, told
}

// milliseconds of a duration, to the microsecond.
func milliseconds(d time.Duration) float64 {
	return math.Round(float64(d)/float64(time.Microsecond)) / 1000
}

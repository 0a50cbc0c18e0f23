package kvpb

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/dialkv/dialkv/store"
)

// Everything that has a word in the API crosses the wire and comes back as it was.

// draw makes values. Where the wire knows no difference between empty and absent, it
// makes nil.
type draw struct{ *rapid.T }

func (d draw) text(what string) string   { return rapid.StringN(0, 20, 40).Draw(d.T, what) }
func (d draw) number(what string) uint64 { return rapid.Uint64().Draw(d.T, what) }
func (d draw) yes(what string) bool      { return rapid.Bool().Draw(d.T, what) }
func (d draw) span(what string) time.Duration {
	return time.Duration(rapid.Int64().Draw(d.T, what))
}

func (d draw) bytes(what string) []byte {
	if b := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(d.T, what); len(b) > 0 {
		return b
	}
	return nil
}

func one[T any](d draw, what string, of []T) T { return rapid.SampledFrom(of).Draw(d.T, what) }

// some makes up to three, and nil for none.
func some[T any](d draw, what string, f func() T) (out []T) {
	for range rapid.IntRange(0, 3).Draw(d.T, what) {
		out = append(out, f())
	}
	return out
}

func keysOf[K comparable, V any](m map[K]V) []K { return slices.Collect(maps.Keys(m)) }

func (d draw) step() store.Step {
	return store.Step{
		Op: one(d, "step", keysOf(ops)), Key: d.text("key"), Value: d.bytes("value"),
		Delta: int64(d.number("delta")), Lease: d.number("lease"),
	}
}

func (d draw) compare() store.Compare {
	c := store.Compare{
		Key: d.text("key"), Target: one(d, "target", keysOf(targets)), Relation: one(d, "relation", keysOf(relations)),
		Number: d.number("number"),
	}
	if c.Target == store.TargetValue { // an empty value is one to compare with
		c.Value = rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(d.T, "value")
	}
	return c
}

func (d draw) command() store.Command {
	c := store.Command{
		Op: one(d, "op", keysOf(ops)), Key: d.text("key"), Field: d.text("field"), Value: d.bytes("value"), Context: d.bytes("context"), Blind: d.yes("blind"),
		W:     one(d, "w", []store.W{store.WDefault, store.WLocal, store.WMajority, store.WAll}),
		Delta: int64(d.number("delta")), TTL: d.span("ttl"), Lease: d.number("lease"),
		Request: store.Request{Session: d.number("session"), Number: d.number("number"), Lowest: d.number("lowest"), Retry: d.yes("retry")},
	}
	if c.If.Kind = one(d, "if", keysOf(conditions)); c.If.Kind != store.Always {
		c.If.Value, c.If.Revision = d.bytes("expected"), d.number("revision")
	}
	if d.yes("txn") {
		c.Txn = &store.Txn{If: some(d, "if", d.compare), Then: some(d, "then", d.step), Else: some(d, "else", d.step)}
	}
	return c
}

func (d draw) query() store.Query {
	return store.Query{
		Key: d.text("key"), Level: one(d, "level", append(levels, store.Bounded)), Bound: d.span("bound"),
		Limit: int(rapid.Uint32().Draw(d.T, "limit")), Prefix: d.text("prefix"), To: d.text("to"), Reverse: d.yes("reverse"),
		KeysOnly: d.yes("keys only"), Count: d.yes("count"), Page: d.text("page"), Leases: d.yes("leases"), Siblings: d.yes("siblings"),
	}
}

func (d draw) item() store.Item {
	return store.Item{
		Key: d.text("key"), Revision: d.number("revision"), Created: d.number("created"), Version: d.number("version"), Lease: d.number("lease"),
		Values:    some(d, "values", func() []byte { return append([]byte{}, d.bytes("value")...) }),
		Fields:    some(d, "fields", func() string { return d.text("field") }),
		Remaining: some(d, "remaining", func() time.Duration { return d.span("left") }),
		Siblings: some(d, "siblings", func() store.Sibling {
			return store.Sibling{Dot: d.text("dot"), Stamp: d.number("stamp"), Field: d.text("field"), Value: d.bytes("value")}
		}),
	}
}

func (d draw) page() store.Page {
	return store.Page{
		Items: some(d, "items", d.item), Count: d.number("count"), Next: d.text("next"), Revision: d.number("revision"),
		Context: d.bytes("context"), Entry: d.bytes("entry"), Deps: d.bytes("deps"), Proof: proof(),
		Leases: some(d, "leases", func() store.Lease {
			return store.Lease{ID: d.number("id"), TTL: d.span("ttl"), Remaining: d.span("remaining"), Keys: d.number("keys")}
		}),
	}
}

func (d draw) result() store.Result {
	return store.Result{
		Revision: d.number("revision"), Replaced: d.number("replaced"), Found: d.yes("found"), Value: d.bytes("value"), Context: d.bytes("context"),
		Acked: 2, Wanted: 3, Entry: d.bytes("entry"), Deps: d.bytes("deps"), Proof: proof(), Lease: d.number("lease"), TTL: d.span("ttl"), Held: d.yes("held"),
		Steps: some(d, "steps", func() store.StepResult {
			return store.StepResult{Found: d.yes("found"), Value: d.bytes("value"), Revision: d.number("revision"), Replaced: d.number("replaced")}
		}),
	}
}

func (d draw) change() store.Change {
	return store.Change{
		Revision: d.number("revision"), Entry: d.bytes("entry"), Deps: d.bytes("deps"),
		Events: some(d, "events", d.event),
	}
}

// event has its value among its values, if it has those.
func (d draw) event() store.Event {
	e := store.Event{
		Key: d.text("key"), Deleted: d.yes("deleted"), Expired: d.yes("expired"),
		Replaced: d.number("replaced"), Version: d.number("version"), Lease: d.number("lease"),
		Values: some(d, "values", func() []byte { return rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(d.T, "one of them") }),
		Fields: some(d, "fields", func() string { return d.text("field") }), Dot: d.text("dot"),
	}
	switch len(e.Values) {
	case 0:
		e.Value = d.bytes("value")
	case 1:
		e.Value = e.Values[0]
	}
	return e
}

// again sends a message through its bytes.
func again[M proto.Message](t *rapid.T, m M) M {
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	out := m.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	return out.(M)
}

func unchanged(t *rapid.T, got, want any, err error) {
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %#v (%v)\nwant %#v", got, err, want)
	}
}

func TestEveryFieldCrossesTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw{t}
		command, query, page, result, change := d.command(), d.query(), d.page(), d.result(), d.change()
		gotCommand, err := FromCommand(again(t, ToCommand(command)))
		unchanged(t, gotCommand, command, err)
		gotQuery, err := FromQuery(again(t, ToQuery(query)))
		unchanged(t, gotQuery, query, err)
		gotPage, err := FromPage(again(t, ToPage(page)))
		unchanged(t, gotPage, page, err)
		gotResult, err := FromResult(again(t, ToResult(result)))
		unchanged(t, gotResult, result, err)
		gotChange, err := FromChange(again(t, ToChange(change)))
		unchanged(t, gotChange, change, err)
		watch := store.WatchQuery{Key: d.text("key"), Prefix: d.text("prefix"), All: d.yes("all"), From: d.number("from")}
		unchanged(t, FromWatch(again(t, ToWatch(watch))), watch, nil)
	})
}

// A field that a struct has and the table above does not make would pass unseen.
func TestTheDrawnValuesFillEveryField(t *testing.T) {
	seen := map[string]bool{}
	for range 20 { // a short test draws few values each time
		rapid.Check(t, func(t *rapid.T) {
			d := draw{t}
			for _, v := range []any{d.command(), d.query(), d.page(), d.result(), d.change()} {
				fields(reflect.ValueOf(v), seen)
			}
		})
	}
	for name, filled := range seen {
		// What a session has seen is in the token, and is sealed and opened by the ends.
		if !filled && name != "Command.After" && name != "Command.Deps" && name != "Query.After" {
			t.Errorf("%s is never filled", name)
		}
	}
}

func fields(v reflect.Value, seen map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			fields(v.Elem(), seen)
		}
	case reflect.Slice:
		for i := range v.Len() {
			fields(v.Index(i), seen)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Name() + "." + v.Type().Field(i).Name
			seen[name] = seen[name] || !v.Field(i).IsZero()
			fields(v.Field(i), seen)
		}
	}
}

func TestUnknownWordsOfATransactionAreInvalid(t *testing.T) {
	txn := func(change func(*Txn)) error {
		good := &Txn{
			If:   []*Compare{{Key: "k", Target: Compare_TARGET_VERSION, Relation: Compare_RELATION_EQUAL}},
			Then: []*Step{{Op: Op_OP_PUT, Key: "k"}}, Else: []*Step{{Op: Op_OP_GET, Key: "k"}},
		}
		change(good)
		_, err := FromCommand(&WriteRequest{Op: Op_OP_TRANSACT, Txn: good})
		return err
	}
	if err := txn(func(*Txn) {}); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*Txn){
		"a target":             func(x *Txn) { x.If[0].Target = 99 },
		"no target":            func(x *Txn) { x.If[0].Target = 0 },
		"a relation":           func(x *Txn) { x.If[0].Relation = 99 },
		"no relation":          func(x *Txn) { x.If[0].Relation = 0 },
		"a step of then":       func(x *Txn) { x.Then[0].Op = 99 },
		"no step of then":      func(x *Txn) { x.Then[0].Op = 0 },
		"a step of else":       func(x *Txn) { x.Else[0].Op = 99 },
		"what is no condition": func(x *Txn) { x.If[0] = nil },
		"what is no step":      func(x *Txn) { x.Then[0] = nil },
	} {
		if err := txn(change); !errors.Is(err, store.Invalid) {
			t.Errorf("%s: error is %v, want Invalid", what, err)
		}
	}
}

// What this end does not know itself must not arrive as something else.
func TestWordsThatAreNotKnownHereAreRefusedThere(t *testing.T) {
	for what, c := range map[string]store.Command{
		"operation": {Op: 99},
		"target":    {Op: store.Transact, Txn: &store.Txn{If: []store.Compare{{Target: 99, Relation: store.Equal}}}},
		"relation":  {Op: store.Transact, Txn: &store.Txn{If: []store.Compare{{Target: store.TargetValue, Relation: 99}}}},
		"step":      {Op: store.Transact, Txn: &store.Txn{Then: []store.Step{{Op: 99}}}},
		"condition": {Op: store.Put, If: store.Condition{Kind: 99}},
		"w":         {Op: store.Put, W: 99},
	} {
		if _, err := FromCommand(wire(t, ToCommand(c))); !errors.Is(err, store.Invalid) {
			t.Errorf("%s: error is %v, want Invalid", what, err)
		}
	}
	if _, err := FromQuery(wire(t, ToQuery(store.Query{Level: 99}))); !errors.Is(err, store.Invalid) {
		t.Errorf("level: error is %v, want Invalid", err)
	}
}

func TestChangesEndWithTheirError(t *testing.T) {
	r := ToChange(store.Change{})
	r.Error = ToError(&store.Error{Code: store.Compacted, Msg: "the oldest is 12"})
	if _, err := FromChange(wire(t, r)); !errors.Is(err, store.Compacted) {
		t.Errorf("error is %v, want Compacted", err)
	}
}

// Whatever arrives is either refused, or says the same when it is sent on.
func FuzzCommandFromTheWire(f *testing.F) {
	for _, c := range []store.Command{
		{Op: store.Put, Key: "k", Value: []byte("v")},
		{Op: store.Transact, Txn: &store.Txn{
			If:   []store.Compare{{Key: "k", Target: store.TargetLease, Relation: store.Less, Number: 7}},
			Then: []store.Step{{Op: store.Increment, Key: "k", Delta: -1}},
		}},
	} {
		b, err := proto.Marshal(ToCommand(c))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r WriteRequest
		if proto.Unmarshal(b, &r) != nil {
			return
		}
		c, err := FromCommand(&r)
		if err != nil {
			if !errors.Is(err, store.Invalid) {
				t.Fatalf("error is %v, want Invalid", err)
			}
			return
		}
		_ = c.Check() // must not panic
		got, err := FromCommand(wire(t, ToCommand(c)))
		if err != nil || !proto.Equal(ToCommand(got), ToCommand(c)) {
			t.Fatalf("%+v became %+v (%v)", c, got, err)
		}
	})
}

func FuzzWatchFromTheWire(f *testing.F) {
	for _, q := range []store.WatchQuery{{Key: "k"}, {Prefix: "p", From: 9}, {All: true}} {
		b, err := proto.Marshal(ToWatch(q))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r WatchRequest
		if proto.Unmarshal(b, &r) != nil {
			return
		}
		q := FromWatch(&r)
		_ = q.Check() // must not panic
		if got := FromWatch(wire(t, ToWatch(q))); !reflect.DeepEqual(got, q) {
			t.Fatalf("%+v became %+v", q, got)
		}
	})
}

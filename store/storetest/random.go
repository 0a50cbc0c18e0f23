package storetest

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dialkv/dialkv/store"
)

var randomLaws = []law{
	{name: "any sequence of calls is answered as the model answers it", check: func(g *group) {
		model := &group{T: g.T, cfg: g.cfg, replicas: []store.Replica{NewModel(g.cfg.Mode, g.cfg.Policy)}}
		cases := 0
		rapid.Check(inBubble{g.T}, func(t *rapid.T) {
			cases++ // one group serves all cases, each with keys of its own
			d := &duel{
				T: t, group: g, model: model, prefix: fmt.Sprintf("case%d/", cases),
				revisions: map[uint64]uint64{0: 0}, contexts: map[string][]pair{},
			}
			d.run()
		})
	}},
}

// inBubble hides from rapid that it is given a *testing.T, of which it would ask the
// deadline, which a bubble does not have.
type inBubble struct{ testing.TB }

// duel sends the same calls to the group and to the model. What either of them chose
// freely (a revision, a context, the id of a session or a lease) is paired and never
// compared itself.
type duel struct {
	*rapid.T
	group, model *group
	prefix       string

	revisions map[uint64]uint64 // the model's to the group's; of leases, too
	last      uint64            // the group's last revision
	contexts  map[string][]pair // by key: what the two answered
	sessions  numbers
	leases    []numbers // granted, or made for a put; some have ended
	number    uint64
	sent      []commands // with a request number
}

type pair struct{ group, model store.Entry }

type numbers struct{ group, model uint64 }

type commands struct{ group, model store.Command }

func (d *duel) run() {
	actions := map[string]func(*rapid.T){
		"get":  func(*rapid.T) { d.get(d.key()) },
		"scan": func(*rapid.T) { d.scan() },
	}
	if d.group.cfg.Mode == store.AP {
		actions["write"] = func(*rapid.T) { d.writeAP() }
		d.Repeat(actions)
		return
	}
	d.openSession()
	theirs := d.group.watch(d.group.home, store.WatchQuery{Prefix: d.prefix, From: d.sessions.group})
	ours := d.model.watch(0, store.WatchQuery{Prefix: d.prefix, From: d.sessions.model})
	defer theirs.Close()
	for name, send := range map[string]func() commands{
		"write": d.plain, "increment": d.increment, "txn": d.txn, "grant": d.grant, "put with lease": d.leased, "end or keep lease": d.renewal,
	} {
		actions[name] = func(*rapid.T) { d.write(d.named(send()), true) }
	}
	actions["repeat"] = func(*rapid.T) { d.repeat() }
	actions["list leases"] = func(*rapid.T) { d.list() }
	if d.group.cfg.In != nil { // where time costs nothing
		actions["wait"] = func(*rapid.T) { d.wait() }
	}
	d.Repeat(actions)
	d.sameChanges(theirs, ours)
	d.clean()
}

func (d *duel) key() string {
	return d.prefix + rapid.SampledFrom([]string{"a", "b", "bb", "c"}).Draw(d.T, "key")
}

// value is often a number, which an increment can add to.
func (d *duel) value() []byte {
	return []byte(rapid.SampledFrom([]string{"1", "2", "-3", "9223372036854775807", "", "x"}).Draw(d.T, "value"))
}

func (d *duel) command() store.Command {
	c := store.Command{Op: store.Put, Key: d.key()}
	if rapid.IntRange(0, 3).Draw(d.T, "delete if 0") == 0 {
		c.Op = store.Delete
	} else {
		c.Value = d.value()
	}
	return c
}

func (d *duel) openSession() {
	got, err1 := d.group.write(store.Command{Op: store.OpenSession})
	want, err2 := d.model.write(store.Command{Op: store.OpenSession})
	if err1 != nil || err2 != nil {
		d.Fatalf("open session: %v; model: %v", err1, err2)
	}
	d.sessions = numbers{group: got.Revision, model: want.Revision}
}

// named gives some commands a request number, under which they may be repeated.
func (d *duel) named(both commands) commands {
	if rapid.Bool().Draw(d.T, "named") {
		d.number++
		both.model.Request = store.Request{Session: d.sessions.model, Number: d.number, Lowest: 1}
		both.group.Request = store.Request{Session: d.sessions.group, Number: d.number, Lowest: 1}
		d.sent = append(d.sent, both)
	}
	return both
}

func (d *duel) repeat() {
	if len(d.sent) == 0 {
		d.Skip("nothing was sent")
	}
	both := rapid.SampledFrom(d.sent).Draw(d.T, "repeated")
	d.write(commands{again(both.group), again(both.model)}, false)
}

func (d *duel) writeAP() {
	c := d.command()
	both := commands{c, c}
	known := d.contexts[c.Key]
	which := rapid.IntRange(-2, len(known)-1).Draw(d.T, "context")
	switch {
	case which >= 0:
		both.group.Context, both.model.Context = known[which].group, known[which].model
	case d.group.cfg.Policy == store.LWW:
		// without a context, the policy replaces what is here
	case c.Op == store.Delete:
		d.Skip("a delete on a siblings keyspace says what it deletes")
	case which == -1:
		both.group.Blind, both.model.Blind = true, true
	}
	d.write(both, true)
}

func (d *duel) get(key string) {
	got, want := d.read(store.Query{Key: key, Level: d.group.freshest(), Siblings: d.group.cfg.Mode == store.AP})
	d.sameItems(got.Items, want.Items)
	if d.group.cfg.Mode == store.AP {
		d.contexts[key] = append(d.contexts[key], pair{got.Context, want.Context})
	}
}

// scan draws a scan of any shape that the mode has. On cp its pages are one view, so
// that writes may come between them.
func (d *duel) scan() {
	q := store.Query{
		Key: d.key(), Prefix: d.prefix + rapid.SampledFrom([]string{"", "b"}).Draw(d.T, "prefix"),
		Limit: rapid.IntRange(1, 5).Draw(d.T, "limit"), Level: d.group.freshest(),
		KeysOnly: rapid.Bool().Draw(d.T, "keys only"),
	}
	if rapid.Bool().Draw(d.T, "to an end") {
		q.To = d.key()
	}
	if d.group.cfg.Mode == store.CP {
		q.Reverse = rapid.Bool().Draw(d.T, "reverse")
		q.Count = rapid.IntRange(0, 4).Draw(d.T, "count if 0") == 0
		q.Level = rapid.SampledFrom([]store.Level{store.Strong, store.Quorum}).Draw(d.T, "level")
	}
	for page, other, pages := "", "", 0; ; pages++ {
		if pages > 100 {
			d.Fatalf("scan %+v: no end after %d pages", q, pages)
		}
		got, want := d.readBoth(q, page, other)
		d.sameItems(got.Items, want.Items)
		if (got.Next == "") != (want.Next == "") || got.Count != want.Count {
			d.Fatalf("scan %+v: counts %d and goes on %v, the model %d and %v", q, got.Count, got.Next != "", want.Count, want.Next != "")
		}
		if page, other = got.Next, want.Next; page == "" {
			return
		}
		if d.group.cfg.Mode == store.CP && rapid.Bool().Draw(d.T, "write between the pages") {
			d.write(d.plain(), true)
		}
	}
}

func (d *duel) read(q store.Query) (got, want store.Page) { return d.readBoth(q, "", "") }

// readBoth reads the page that each has named.
func (d *duel) readBoth(q store.Query, page, other string) (got, want store.Page) {
	q.Page = page
	got, err1 := d.group.readAt(d.group.home, q)
	q.Page = other
	want, err2 := d.model.readAt(0, q)
	if err1 != nil || err2 != nil {
		d.Fatalf("read %+v: %v; model: %v", q, err1, err2)
	}
	if d.group.cfg.Mode == store.CP && page == "" && got.Revision < d.last {
		d.Fatalf("read %+v: the group is at %d, it was at %d", q, got.Revision, d.last)
	}
	return got, want
}

// wait lets the leases end that do not live for long, and no others.
func (d *duel) wait() { d.group.sleep(5 * shortLease / 2) }

// The leases of a duel end in a moment, in which no call of the duel is made, or
// never as long as it goes.
const (
	shortLease = 2 * time.Second
	longLease  = 365 * 24 * time.Hour
)

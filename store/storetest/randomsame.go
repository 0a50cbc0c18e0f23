package storetest

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/dialkv/dialkv/store"
)

// write sends c to both. The first time, the group chooses a revision.
func (d *duel) write(c commands, first bool) {
	got, err1 := d.group.write(c.group)
	want, err2 := d.model.write(c.model)
	if code(err1) != code(err2) {
		d.Fatalf("%+v: %v; model: %v", c.group, err1, err2)
	}
	if err1 != nil && code(err1) != store.Conflict {
		return // nothing was done, and the answer is the error
	}
	if c.group.Key != "" && got.Found != want.Found || !bytes.Equal(got.Value, want.Value) {
		d.Fatalf("%+v: %+v; model: %+v", c.group, got, want)
	}
	if d.group.cfg.Mode == store.AP {
		if err1 == nil {
			d.contexts[c.group.Key] = append(d.contexts[c.group.Key], pair{got.Context, want.Context})
		}
		return
	}
	if err1 != nil && !want.Found || c.group.Op == store.KeepAlive {
		return // the revision is that of the group, of which the duel may not know
	}
	if err1 == nil && first {
		d.chose(c, got, want)
	}
	d.sameResult(c, got, want)
}

// chose remembers the revision that a write took, which may name a lease.
func (d *duel) chose(c commands, got, want store.Result) {
	if got.Revision <= d.last {
		d.Fatalf("%+v has revision %d, an earlier write had %d", c.group, got.Revision, d.last)
	}
	d.last = got.Revision
	d.revisions[want.Revision] = got.Revision
	if c.group.Op == store.Grant || c.group.TTL != 0 { // others may join the lease of a put
		d.leases = append(d.leases, numbers{group: got.Lease, model: want.Lease})
	}
}

func (d *duel) sameResult(c commands, got, want store.Result) {
	d.sameRevision(got.Revision, want.Revision)
	d.sameRevision(got.Replaced, want.Replaced)
	if c.group.Op == store.Grant || c.group.TTL != 0 {
		d.sameRevision(got.Lease, want.Lease)
	}
	if got.TTL != want.TTL || got.Held != want.Held || len(got.Steps) != len(want.Steps) {
		d.Fatalf("%+v: %+v; model: %+v", c.group, got, want)
	}
	for n, s := range got.Steps {
		if s.Found != want.Steps[n].Found || !bytes.Equal(s.Value, want.Steps[n].Value) {
			d.Fatalf("%+v: step %d: %+v; model: %+v", c.group.Txn, n, s, want.Steps[n])
		}
		d.sameRevision(s.Revision, want.Steps[n].Revision)
		d.sameRevision(s.Replaced, want.Steps[n].Replaced)
	}
}

func (d *duel) sameRevision(got, want uint64) {
	if known, ok := d.revisions[want]; d.group.cfg.Mode == store.CP && (!ok || got != known) {
		d.Fatalf("revision %d where the model has %d, which is %d here", got, want, known)
	}
}

func (d *duel) sameItems(got, want []store.Item) {
	if len(got) != len(want) {
		d.Fatalf("%d items: %+v; model: %+v", len(got), got, want)
	}
	for n, item := range got {
		same := item.Key == want[n].Key && slices.EqualFunc(item.Values, want[n].Values, bytes.Equal) && item.Version == want[n].Version &&
			slices.EqualFunc(item.Siblings, want[n].Siblings, func(a, b store.Sibling) bool { return bytes.Equal(a.Value, b.Value) })
		if !same {
			d.Fatalf("item %+v; model: %+v", item, want[n])
		}
		d.sameRevision(item.Revision, want[n].Revision)
		d.sameRevision(item.Created, want[n].Created)
		d.sameRevision(item.Lease, want[n].Lease)
	}
}

// sameChanges compares what the two watches of the duel's keys have seen, up to a
// last write. The model orders the revisions of leases that ended at the same time,
// so what ended is compared as one.
func (d *duel) sameChanges(theirs, ours *watcher) {
	mark := store.Command{Op: store.Put, Key: d.prefix + "mark"}
	d.write(commands{mark, mark}, true)
	got, ended := d.seen(theirs)
	want, shouldEnd := d.seen(ours)
	if !slices.EqualFunc(ended, shouldEnd, func(a, b store.Event) bool { return a.Key == b.Key && a.Replaced == d.revisions[b.Replaced] }) {
		d.Fatalf("expired: %+v; model: %+v", ended, shouldEnd)
	}
	for revision, events := range want {
		if !slices.EqualFunc(got[d.revisions[revision]], events, func(a, b store.Event) bool {
			b.Replaced, b.Lease = d.revisions[b.Replaced], d.revisions[b.Lease]
			return sameEvent(a, b)
		}) {
			d.Fatalf("at %d: %+v; model: %+v", d.revisions[revision], got[d.revisions[revision]], events)
		}
	}
	if len(got) != len(want) {
		d.Fatalf("the watch saw %d changes: %+v; model: %d: %+v", len(got), got, len(want), want)
	}
}

// seen is what a watch saw up to the mark, by revision, and which keys expired, in
// the order of their keys and of what they had replaced.
func (d *duel) seen(w *watcher) (byRevision map[uint64][]store.Event, expired []store.Event) {
	var changes []store.Change
	for marked := false; !marked; {
		c := w.next()
		marked = slices.ContainsFunc(c.Events, func(e store.Event) bool { return e.Key == d.prefix+"mark" })
		changes = append(changes, c)
	}
	byRevision = folded(changes)
	for revision, events := range byRevision {
		if events[0].Expired {
			expired = append(expired, events...)
			delete(byRevision, revision)
		}
	}
	slices.SortFunc(expired, func(a, b store.Event) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Replaced, b.Replaced))
	})
	return byRevision, expired
}

func code(err error) store.Code {
	if e := store.AsError(err); e != nil {
		return e.Code
	}
	return ""
}

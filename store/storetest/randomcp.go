package storetest

import (
	"slices"

	"pgregory.net/rapid"

	"github.com/dialkv/dialkv/store"
)

// plain is a put or a delete, with or without a condition.
func (d *duel) plain() commands { return d.conditional(d.command()) }

func (d *duel) conditional(c store.Command) commands {
	c.If.Kind = rapid.SampledFrom([]store.ConditionKind{store.Always, store.IfValue, store.IfRevision, store.IfAbsent}).Draw(d.T, "condition")
	if c.If.Kind == store.IfValue {
		c.If.Value = d.value()
	}
	both := commands{c, c}
	if c.If.Kind == store.IfRevision {
		revision := d.revision()
		both.group.If.Revision, both.model.If.Revision = revision.group, revision.model
	}
	return both
}

// revision is one that both have answered with.
func (d *duel) revision() numbers {
	known := make([]uint64, 0, len(d.revisions))
	for revision := range d.revisions {
		known = append(known, revision)
	}
	slices.Sort(known)
	model := rapid.SampledFrom(known).Draw(d.T, "revision")
	return numbers{group: d.revisions[model], model: model}
}

func (d *duel) delta() int64 {
	return rapid.SampledFrom([]int64{1, -1, 0, 9223372036854775807, -9223372036854775808}).Draw(d.T, "delta")
}

func (d *duel) increment() commands {
	c := store.Command{Op: store.Increment, Key: d.key(), Delta: d.delta()}
	if rapid.Bool().Draw(d.T, "conditional") {
		return d.conditional(c)
	}
	return commands{c, c}
}

// lease is one that was granted and may have ended, or none.
func (d *duel) lease() numbers {
	return rapid.SampledFrom(append([]numbers{{}}, d.leases...)).Draw(d.T, "lease")
}

func (d *duel) grant() commands {
	c := store.Command{Op: store.Grant, TTL: longLease}
	if rapid.Bool().Draw(d.T, "short") && d.group.cfg.In != nil {
		c.TTL = shortLease
	}
	return commands{c, c}
}

// leased is a put with a lease, or with a TTL of its own.
func (d *duel) leased() commands {
	c := store.Command{Op: store.Put, Key: d.key(), Value: d.value()}
	lease := d.lease()
	if lease.group == 0 {
		c.TTL = d.grant().group.TTL
	}
	both := commands{c, c}
	both.group.Lease, both.model.Lease = lease.group, lease.model
	return both
}

func (d *duel) renewal() commands {
	if len(d.leases) == 0 {
		return d.grant()
	}
	lease := rapid.SampledFrom(d.leases).Draw(d.T, "lease")
	op := rapid.SampledFrom([]store.Op{store.KeepAlive, store.Revoke}).Draw(d.T, "keep or end")
	return commands{store.Command{Op: op, Lease: lease.group}, store.Command{Op: op, Lease: lease.model}}
}

// txn draws up to three comparisons, and branches of up to four steps.
func (d *duel) txn() commands {
	var theirs, ours store.Txn
	for range rapid.IntRange(0, 3).Draw(d.T, "comparisons") {
		x, y := d.compare()
		theirs.If, ours.If = append(theirs.If, x), append(ours.If, y)
	}
	for range rapid.IntRange(1, 4).Draw(d.T, "then") {
		x, y := d.step()
		theirs.Then, ours.Then = append(theirs.Then, x), append(ours.Then, y)
	}
	for range rapid.IntRange(0, 2).Draw(d.T, "else") {
		x, y := d.step()
		theirs.Else, ours.Else = append(theirs.Else, x), append(ours.Else, y)
	}
	return commands{store.Command{Op: store.Transact, Txn: &theirs}, store.Command{Op: store.Transact, Txn: &ours}}
}

func (d *duel) compare() (theirs, ours store.Compare) {
	c := store.Compare{
		Key:      d.key(),
		Target:   store.Target(rapid.IntRange(int(store.TargetValue), int(store.TargetLease)).Draw(d.T, "target")),
		Relation: rapid.SampledFrom(relations).Draw(d.T, "relation"),
	}
	theirs, ours = c, c
	switch c.Target {
	case store.TargetValue:
		theirs.Value = d.value()
		ours.Value = theirs.Value
	case store.TargetVersion:
		theirs.Number = uint64(rapid.IntRange(0, 3).Draw(d.T, "version"))
		ours.Number = theirs.Number
	default: // both count revisions upwards, so what is less here is less there
		n := d.revision()
		theirs.Number, ours.Number = n.group, n.model
	}
	return theirs, ours
}

func (d *duel) step() (theirs, ours store.Step) {
	s := store.Step{Op: rapid.SampledFrom([]store.Op{store.Put, store.Get, store.Delete, store.Increment}).Draw(d.T, "step"), Key: d.key()}
	theirs, ours = s, s
	switch s.Op {
	case store.Put:
		theirs.Value = d.value()
		ours.Value = theirs.Value
		lease := d.lease()
		theirs.Lease, ours.Lease = lease.group, lease.model
	case store.Increment:
		theirs.Delta = d.delta()
		ours.Delta = theirs.Delta
	}
	return theirs, ours
}

// list compares the leases that this duel has made.
func (d *duel) list() {
	got, want := d.read(store.Query{Leases: true, Limit: store.MaxPage, Level: store.Strong})
	before := func(began uint64) func(store.Lease) bool {
		return func(l store.Lease) bool { return l.ID < began }
	}
	theirs, ours := slices.DeleteFunc(got.Leases, before(d.sessions.group)), slices.DeleteFunc(want.Leases, before(d.sessions.model))
	if !slices.EqualFunc(theirs, ours, func(a, b store.Lease) bool {
		return a.ID == d.revisions[b.ID] && a.TTL == b.TTL && a.Keys == b.Keys
	}) {
		d.Fatalf("leases %+v; model: %+v", theirs, ours)
	}
}

// clean ends the leases of the duel, so that those of all duels fit in a list.
func (d *duel) clean() {
	for _, key := range []string{"a", "b", "bb", "c"} {
		c := store.Command{Op: store.Delete, Key: d.prefix + key}
		d.write(commands{c, c}, true)
	}
	for _, lease := range d.leases {
		d.write(commands{store.Command{Op: store.Revoke, Lease: lease.group}, store.Command{Op: store.Revoke, Lease: lease.model}}, true)
	}
}

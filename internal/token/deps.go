package token

import (
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/dialkv/dialkv/store"
)

// MaxEpoch is above every epoch of a cp group, which are the ids of its components, and
// below the ids in entries of ap groups, which are 64 random bits.
const MaxEpoch = 1 << 32

// Bounds of the encoded form. Coordinators of an ap group that are cut off from each
// other may together note more than one of them would.
const (
	maxDepsGroups = 16 * MaxGroups
	maxDepsBytes  = 16 * MaxBytes
)

// Deps is what the writes of one group depend on in other groups: for each of those, the
// join of the entries that the writers had seen. Who reads of the group, or writes to it,
// takes them into the session, so that a cause is seen with its effect whoever passes it
// on (Bailis et al., "Bolt-on Causal Consistency", SIGMOD 2013, which keeps them with
// each value; here it is one for a group, because a delete leaves no value).
//
// The zero Deps is none. A Deps never changes: its methods return new ones.
type Deps struct {
	groups map[store.GroupID]map[uint64]uint64
}

// DepsOf is what one has seen of a group.
func DepsOf(group store.GroupID, entry store.Entry) (Deps, error) {
	components, err := DecodeEntry(entry)
	if err != nil {
		return Deps{}, err
	}
	seen := make(map[uint64]uint64, len(components))
	for _, c := range components {
		seen[c.ID] = c.N
	}
	var d Deps
	d.set(group, newest(seen))
	return d, nil
}

// Others is what the session has seen of all groups but one.
func (t *Token) Others(group store.GroupID) Deps {
	var d Deps
	for other, components := range t.groups {
		if other == group {
			continue
		}
		seen := make(map[uint64]uint64, len(components))
		for id, m := range components {
			seen[id] = max(m.read, m.write)
		}
		d.set(other, newest(seen))
	}
	return d
}

// Learn remembers that what was read of a group depends on these. A token that has no room
// for them, and for the group, is TooLarge, and as it was.
func (t *Token) Learn(group store.GroupID, d Deps) error {
	if d = d.Without(group).Beyond(t.Others(group)); d.Empty() {
		return nil
	}
	more := Token{Cluster: t.Cluster, Epoch: t.Epoch, groups: make(map[store.GroupID]map[uint64]marks)}
	for known, components := range t.groups {
		more.groups[known] = maps.Clone(components)
	}
	for other, components := range d.groups {
		for id, n := range components {
			m := more.marks(other)[id]
			m.read = max(m.read, n)
			more.marks(other)[id] = m
		}
	}
	if err := more.Room(group); err != nil {
		return err
	}
	if _, err := more.Encode(); err != nil {
		return err
	}
	t.groups = more.groups
	return nil
}

// newest leaves of a cp group's components that of its newest epoch: what was seen
// before a restore is nowhere any more, and can be waited for by nobody.
func newest(components map[uint64]uint64) map[uint64]uint64 {
	var last uint64
	for id := range components {
		if id < MaxEpoch {
			last = max(last, id)
		}
	}
	maps.DeleteFunc(components, func(id, _ uint64) bool { return id < last })
	return components
}

// set belongs to those who make a Deps.
func (d *Deps) set(group store.GroupID, components map[uint64]uint64) {
	if len(components) == 0 {
		return
	}
	if d.groups == nil {
		d.groups = make(map[store.GroupID]map[uint64]uint64)
	}
	d.groups[group] = components
}

// Empty reports whether there are none.
func (d Deps) Empty() bool { return len(d.groups) == 0 }

// Of is what is said of a group.
func (d Deps) Of(group store.GroupID) store.Entry { return EncodeEntry(d.components(group)) }

// All gives each group and what was seen of it, in the order of groups.
func (d Deps) All() iter.Seq2[store.GroupID, store.Entry] {
	return func(yield func(store.GroupID, store.Entry) bool) {
		for _, group := range slices.SortedFunc(maps.Keys(d.groups), compareGroups) {
			if !yield(group, d.Of(group)) {
				return
			}
		}
	}
}

func (d Deps) components(group store.GroupID) (list []Component) {
	for id, n := range d.groups[group] {
		list = append(list, Component{id, n})
	}
	return list
}

// Join is what either says.
func (d Deps) Join(e Deps) Deps {
	switch {
	case d.Empty():
		return e
	case e.Empty():
		return d
	}
	joined := Deps{maps.Clone(d.groups)}
	for group, components := range e.groups {
		both := maps.Clone(joined.groups[group])
		if both == nil {
			both = make(map[uint64]uint64, len(components))
		}
		for id, n := range components {
			both[id] = max(both[id], n)
		}
		joined.groups[group] = newest(both)
	}
	return joined
}

// Beyond is what d says and e does not.
func (d Deps) Beyond(e Deps) Deps {
	if e.Empty() {
		return d
	}
	var rest Deps
	for group, components := range d.groups {
		rest.set(group, beyond(components, e.groups[group]))
	}
	return rest
}

func beyond(components, known map[uint64]uint64) map[uint64]uint64 {
	rest := make(map[uint64]uint64)
	for id, n := range components {
		if n > known[id] && !outlived(id, known) {
			rest[id] = n
		}
	}
	return rest
}

// outlived reports whether a component is of an epoch of a cp group before a known one.
func outlived(id uint64, known map[uint64]uint64) bool {
	for other := range known {
		if id < other && other < MaxEpoch {
			return true
		}
	}
	return false
}

// Without leaves out a group.
func (d Deps) Without(group store.GroupID) Deps {
	if _, ok := d.groups[group]; !ok {
		return d
	}
	rest := Deps{maps.Clone(d.groups)}
	delete(rest.groups, group)
	return rest
}

// Check refuses more than a token may hold beside an entry of the group itself: nothing
// is ever thinned.
func (d Deps) Check() error {
	if len(d.groups) >= MaxGroups {
		return crowded("groups", len(d.groups), MaxGroups-1)
	}
	if n := len(d.Encode()); n > MaxBytes/2 {
		return crowded("bytes", n, MaxBytes/2)
	}
	return nil
}

// Crowded reports whether about half of what Check allows is used up.
func (d Deps) Crowded() bool {
	components := 0
	for _, of := range d.groups {
		components += len(of)
	}
	const bytes = 11 // of a component, about
	return len(d.groups) > MaxGroups/2 || components*bytes > MaxBytes/4
}

// Encode returns the form that goes to disks and to other nodes: nil for none. Equal
// Deps are equal bytes.
func (d Deps) Encode() store.Deps {
	if d.Empty() {
		return nil
	}
	b := binary.AppendUvarint(nil, uint64(len(d.groups)))
	for group, entry := range d.All() {
		b = appendGroup(b, group)
		b = binary.AppendUvarint(b, uint64(len(entry)))
		b = append(b, entry...)
	}
	return b
}

// DecodeDeps reads what Encode wrote. Anything else is Invalid.
func DecodeDeps(b store.Deps) (Deps, error) {
	var d Deps
	if len(b) == 0 {
		return d, nil
	}
	r := reader{b: b}
	r.check(len(b) <= maxDepsBytes, "it is too long")
	var last store.GroupID
	n := r.count(maxDepsGroups, "groups")
	r.check(n > 0, "it names no group")
	for i := range n {
		group := r.group()
		r.check(i == 0 || compareGroups(last, group) < 0, "the groups are not in order")
		entry := r.take(r.count(len(r.b), "bytes"))
		one, err := DepsOf(group, entry)
		r.check(err == nil && len(EncodeEntry(one.components(group))) == len(entry) && !one.Empty(), "the entry of a group is not what is written")
		d.set(group, one.groups[group])
		last = group
	}
	if r.check(len(r.b) == 0, "bytes are left over"); r.err != nil {
		return Deps{}, r.invalid("list of dependencies")
	}
	return d, nil
}

func crowded(of string, n, limit int) error {
	return &store.Error{
		Code: store.TooLarge,
		Msg:  fmt.Sprintf("the writes of this group would depend on %d %s of other groups, the limit is %d", n, of, limit),
		Try:  "again once all members of those groups are reached, or sessions that touch fewer groups",
	}
}

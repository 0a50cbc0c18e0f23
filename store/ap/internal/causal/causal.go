// Package causal is the algebra of an ap group: names of writes, what has been
// seen of them, in which order they are shown. It is pure: no disk, no network,
// no clock of its own, so that its laws can be tested by themselves.
//
// A write is named by its [Dot]: the actor that took it and that actor's count.
// An actor numbers its writes without gaps, so all that a replica has applied is
// a [Vector], one number for each actor. A write names the siblings of its key
// that it supersedes, dot by dot; applying it removes those and adds its own
// value, unless it deletes. Nothing else ever removes a sibling.
//
// Because replicas deliver writes in causal order, a superseded sibling is always
// there, or gone already, when the write that supersedes it comes. The siblings
// of a key are therefore a function of the set of writes applied, not of their
// order: those added less those superseded. That is why replicas converge, why a
// delete needs no tombstone, and why a last-writer-wins register must be a view
// ([Winner]) and never prune.
//
// The names of the field: version vector with dots (Preguiça et al., "Dotted
// Version Vectors", 2010; Gonçalves et al., "DottedDB", SRDS 2017), an
// operation-based observed-remove register (Shapiro et al., "Conflict-Free
// Replicated Data Types", SSS 2011), hybrid logical clock (Kulkarni et al.,
// OPODIS 2014).
package causal

import (
	"cmp"
	"fmt"
)

// Actor is one life of one replica: a random number drawn at every start. The
// zero Actor is nobody.
type Actor uint64

func (a Actor) String() string { return fmt.Sprintf("%016x", uint64(a)) }

// Dot names a write: the N-th that Actor took. N counts from 1 without gaps.
type Dot struct {
	Actor Actor
	N     uint64
}

func (d Dot) String() string { return fmt.Sprintf("%016x:%d", uint64(d.Actor), d.N) }

// Compare is the dot order, in which siblings are shown. It has no meaning in
// time; it is only the same everywhere.
func (d Dot) Compare(other Dot) int {
	return cmp.Or(cmp.Compare(d.Actor, other.Actor), cmp.Compare(d.N, other.N))
}

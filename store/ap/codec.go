package ap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// The rows of the space. Numbers in keys are big-endian, so that they sort.
const (
	rowBeside    = 'a' // position → Siblings of its key after that write, if more than it says itself
	rowBase      = 'b' // → Vector: where the log is cut off
	rowCut       = 'c' // position → Vector: where it may be
	rowDeadline  = 'd' // when due, actor, number → key of a value that ends
	rowClosure   = 'e' // number → Closure
	rowHeld      = 'h' // → Held: on disk, of a replica in memory
	rowGone      = 'g' // key → nothing: that key keeps something of a delete
	rowInstall   = 'i' // → Vector: of a snapshot that is being merged; the rows are staged
	rowKey       = 'k' // key → Siblings; no row for a key without any
	rowLog       = 'l' // position → Write
	rowSelf      = 'm' // → Vector: what the replica is
	rowLife      = 'o' // actor → nothing: as whom this replica has run, and was not closed
	rowMilestone = 'p' // actor, number → position of that write in the log
	rowPlacement = 'n' // → Placement
	rowRequest   = 'r' // session, number → Executed
	rowStaged    = 's' // key → Siblings of a snapshot
)

func numbered(row byte, numbers ...uint64) []byte {
	key := append(make([]byte, 0, 1+8*len(numbers)), row)
	for _, n := range numbers {
		key = binary.BigEndian.AppendUint64(key, n)
	}
	return key
}

func keyRow(key string) []byte { return append([]byte{rowKey}, key...) }

func goneRow(key string) []byte { return append([]byte{rowGone}, key...) }

// entry is a write as it lies in a log, wherever it came from.
type entry struct {
	causal.Write
	key     string
	request store.Request // session and number, if its coordinator was given them
	expired bool          // a delete because a deadline had passed
	deps    token.Deps    // what its writer had seen of other groups, and those before had not
	raw     []byte        // its encoding: the bytes that arrive are logged and sent on
}

func (e *entry) encode() error {
	w := &logpb.Write{
		Actor: uint64(e.Dot.Actor), Number: e.Dot.N, Stamp: uint64(e.Stamp),
		Key: e.key, Delete: e.Delete, Field: e.Field, Value: e.Value,
		Session: e.request.Session, Request: e.request.Number,
		DeadlineMs: e.Deadline, Expired: e.expired, Deps: e.deps.Encode(),
	}
	for _, d := range e.Supersedes {
		w.Supersedes = append(w.Supersedes, protoDot(d))
	}
	if e.Count != nil {
		w.Count, w.Delta, w.Totals = true, e.Count.Delta, e.Count.Totals
	}
	raw, err := proto.Marshal(w)
	e.raw = raw
	return err
}

// maxSuperseded bounds what one write may supersede. A coordinator refuses to add
// to store.MaxFields of a key, but replicas that were cut off from each other may each
// have come to that many.
const maxSuperseded = 16 * store.MaxFields

// decodeEntry reads what encode wrote, and accepts nothing that a replica could
// not have written. It keeps raw.
func decodeEntry(raw []byte) (entry, error) {
	var w logpb.Write
	if err := proto.Unmarshal(raw, &w); err != nil {
		return entry{}, err
	}
	e := entry{key: w.Key, raw: raw, expired: w.Expired, request: store.Request{Session: w.Session, Number: w.Request}}
	e.Dot, e.Stamp = causal.Dot{Actor: causal.Actor(w.Actor), N: w.Number}, causal.Stamp(w.Stamp)
	e.Delete, e.Field, e.Value, e.Deadline = w.Delete, w.Field, w.Value, w.DeadlineMs
	deps, err := token.DecodeDeps(w.Deps)
	if err != nil {
		return entry{}, fmt.Errorf("the write %s: %w", e.Dot, err)
	}
	e.deps = deps
	if w.Count {
		e.Count = &causal.Count{Delta: w.Delta, Totals: w.Totals}
	}
	for _, d := range w.Supersedes {
		e.Supersedes = append(e.Supersedes, causal.Dot{Actor: causal.Actor(d.Actor), N: d.Number})
	}
	if d, err := dotOf(raw); err != nil || d != e.Dot {
		return entry{}, fmt.Errorf("the write is named %s and %s: %w", d, e.Dot, err)
	}
	switch {
	case e.Delete && len(e.Value) > 0:
		return entry{}, fmt.Errorf("the delete %s has a value", e.Dot)
	case e.Delete && e.Deadline > 0 || e.expired && !e.Delete:
		return entry{}, fmt.Errorf("the write %s adds a value that has expired, or a deadline without a value", e.Dot)
	case len(e.Supersedes) > maxSuperseded:
		return entry{}, fmt.Errorf("the write %s supersedes %d siblings, the limit is %d", e.Dot, len(e.Supersedes), maxSuperseded)
	}
	if err := checkCount(&e, &w); err != nil {
		return entry{}, err
	}
	if e.Field != "" {
		if err := store.CheckField(e.Field); err != nil {
			return entry{}, err
		}
	}
	if err := errors.Join(store.CheckKey(e.key), checkDeadline(e.Dot, e.Deadline)); err != nil {
		return entry{}, err
	}
	return e, store.CheckValue(e.Value)
}

// checkCount refuses what is no write to a counter and pretends to be.
func checkCount(e *entry, w *logpb.Write) error {
	wrong := func(what string) error { return fmt.Errorf("the write %s %s", e.Dot, what) }
	switch {
	case e.Count == nil && (w.Delta != 0 || len(w.Totals) > 0):
		return wrong("counts and does not say so")
	case e.Count == nil:
		return nil
	case len(e.Count.Totals) != len(e.Supersedes):
		return wrong("does not tell the total of each sibling it supersedes")
	case e.Field != "" || len(e.Value) > 0 || e.Delete && e.Count.Delta != 0:
		return wrong("counts and is something else, too")
	case !e.Delete && len(e.Supersedes) > 1:
		return wrong("adds to more than one sum")
	case !e.Delete && len(e.Supersedes) == 1 && (e.Supersedes[0].Actor != e.Dot.Actor || e.Supersedes[0].N >= e.Dot.N):
		return wrong("adds to a sum that is not its actor's")
	}
	return nil
}

// nameOf reads only the name of an encoded entry; of a mark, what was merged there.
func nameOf(raw []byte) (causal.Dot, causal.Vector, error) {
	d, err := dotOf(raw)
	if err == nil {
		return d, nil, nil
	}
	var w logpb.Write
	if proto.Unmarshal(raw, &w) != nil || w.Merged == nil {
		return d, nil, err
	}
	merged, err := vectorOf(w.Merged)
	return causal.Dot{}, merged, err
}

// dotOf reads only the name of an encoded entry.
func dotOf(raw []byte) (causal.Dot, error) {
	var d causal.Dot
	for len(raw) > 0 && (d.Actor == 0 || d.N == 0) {
		field, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return d, protowire.ParseError(n)
		}
		raw = raw[n:]
		switch {
		case field == 1 && kind == protowire.Fixed64Type:
			var actor uint64
			actor, n = protowire.ConsumeFixed64(raw)
			d.Actor = causal.Actor(actor)
		case field == 2 && kind == protowire.VarintType:
			d.N, n = protowire.ConsumeVarint(raw)
		default:
			n = protowire.ConsumeFieldValue(field, kind, raw)
		}
		if n < 0 {
			return d, protowire.ParseError(n)
		}
		raw = raw[n:]
	}
	if d.Actor == 0 || d.N == 0 {
		return d, errors.New("the entry has no name")
	}
	return d, nil
}

func protoDot(d causal.Dot) *logpb.Dot {
	return &logpb.Dot{Actor: uint64(d.Actor), Number: d.N}
}

func encodeSiblings(siblings []causal.Sibling) ([]byte, error) {
	return proto.Marshal(&logpb.Siblings{Siblings: protoSiblings(siblings)})
}

func protoSiblings(siblings []causal.Sibling) []*logpb.Sibling {
	pb := make([]*logpb.Sibling, len(siblings))
	for i, s := range siblings {
		pb[i] = &logpb.Sibling{Actor: uint64(s.Dot.Actor), Number: s.Dot.N, Stamp: uint64(s.Stamp), Field: s.Field, Value: s.Value, DeadlineMs: s.Deadline}
		if s.Sum != nil {
			pb[i].Sum = &logpb.Sum{Total: s.Sum.Total, Base: s.Sum.Base, Off: s.Sum.Off, By: protoDot(s.Sum.By)}
		}
	}
	return pb
}

func decodeSiblings(b []byte) ([]causal.Sibling, error) {
	var row logpb.Siblings
	if err := proto.Unmarshal(b, &row); err != nil {
		return nil, corrupt("the siblings of a key", err)
	}
	siblings, err := siblingsOf(row.Siblings)
	if err != nil {
		return nil, corrupt("the siblings of a key", err)
	}
	return siblings, nil
}

func siblingsOf(pb []*logpb.Sibling) ([]causal.Sibling, error) {
	siblings := make([]causal.Sibling, len(pb))
	for i, s := range pb {
		siblings[i] = causal.Sibling{
			Dot:   causal.Dot{Actor: causal.Actor(s.Actor), N: s.Number},
			Stamp: causal.Stamp(s.Stamp),
			Field: s.Field,
			Value: append([]byte{}, s.Value...), Deadline: s.DeadlineMs,
		}
		if err := checkDeadline(siblings[i].Dot, s.DeadlineMs); err != nil {
			return nil, err
		}
		if sum := s.Sum; sum != nil {
			by := causal.Dot{Actor: causal.Actor(sum.By.GetActor()), N: sum.By.GetNumber()}
			siblings[i].Sum = &causal.Sum{Total: sum.Total, Base: sum.Base, Off: sum.Off, By: by}
		}
	}
	return siblings, nil
}

func corrupt(what string, cause error) error {
	return &store.Error{Code: store.Corrupt, Msg: what + " does not read as it was written", Cause: cause}
}

func protoVector(v causal.Vector) *logpb.Vector {
	pb := &logpb.Vector{}
	for _, d := range v.Dots() {
		pb.Actors = append(pb.Actors, uint64(d.Actor))
		pb.Numbers = append(pb.Numbers, d.N)
	}
	return pb
}

// maxActors bounds a vector from the wire. Every start of a process that wrote
// leaves one actor behind.
const maxActors = 1 << 16

func vectorOf(pb *logpb.Vector) (causal.Vector, error) {
	actors, numbers := pb.GetActors(), pb.GetNumbers()
	if len(actors) != len(numbers) || len(actors) > maxActors {
		return nil, fmt.Errorf("a vector has %d actors and %d numbers, the limit is %d", len(actors), len(numbers), maxActors)
	}
	v := make(causal.Vector, len(actors))
	for i, a := range actors {
		if a == 0 || numbers[i] == 0 || numbers[i] == math.MaxUint64 || i > 0 && actors[i-1] >= a {
			return nil, fmt.Errorf("a vector is out of order at actor %s", causal.Actor(a))
		}
		v[causal.Actor(a)] = numbers[i]
	}
	return v, nil
}

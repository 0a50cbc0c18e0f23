package ap

import (
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// What a key holds after a write, at the write's place in the log, is as a rule the
// write's own value, or nothing after a delete. Where other values stand beside it, or an
// increment is added to others, they are kept in a row beside the entry, for as long as that: who watches is shown the key
// as it was then, and the state has gone on.

// beside is that row, nil where the entry says it all.
func beside(e *entry, after []causal.Sibling) ([]byte, error) {
	if causal.Same(after, causal.Apply(nil, e.Write)) {
		return nil, nil
	}
	row, err := encodeSiblings(after)
	if err != nil {
		return nil, fmt.Errorf("encode what stands beside a write: %w", err)
	}
	return row, nil
}

// siblingsAfter is what the key of the entry at a position held after it.
func siblingsAfter(v *view, position uint64, e *entry) ([]causal.Sibling, error) {
	row, err := v.beside(position)
	switch {
	case err != nil:
		return nil, err
	case row != nil:
		return decodeSiblings(row)
	}
	return causal.Apply(nil, e.Write), nil
}

// recently is what the last commit added from a position on, if it added that.
func (v *view) recently(position uint64) ([]logged, bool) {
	if len(v.recent) == 0 || position < v.recent[0].position {
		return nil, false
	}
	return v.recent[min(position-v.recent[0].position, uint64(len(v.recent))):], true
}

// entries yields the log from a position on; the bytes are valid until the next step. An
// error ends it and is left in *failed.
func (v *view) entries(from uint64, failed *error) iter.Seq2[uint64, []byte] {
	return func(yield func(uint64, []byte) bool) {
		if recent, all := v.recently(from); all {
			for _, l := range recent {
				if !yield(l.position, l.raw) {
					return
				}
			}
			return
		}
		for key, raw := range v.snap.Scan(numbered(rowLog, from), []byte{rowLog + 1}, failed) {
			if !yield(binary.BigEndian.Uint64(key[1:]), raw) {
				return
			}
		}
	}
}

// beside is the row beside the entry at a position, nil if there is none.
func (v *view) beside(position uint64) ([]byte, error) {
	if recent, all := v.recently(position); all && len(recent) > 0 {
		return recent[0].beside, nil
	}
	row, _, err := v.snap.Get(numbered(rowBeside, position))
	return row, err
}

// maxBridge bounds the writes that a bridge remembers.
const maxBridge = 1 << 16

// bridge leads a watch from the order of the replica where it was before into that of
// this one. What it has seen may lie here behind writes that it has not seen. Until the
// log has come to where it covers all that was seen, the state at a place in the log is
// therefore not yet what the watch shows: that is the state after what was seen and
// those writes together. A key's siblings are a function of the writes applied, so it is
// enough to apply what was seen of the key and comes later here.
type bridge struct {
	until uint64              // the position where it ends
	seen  map[string][]uint64 // positions of those writes, by key
}

// over adds to the siblings of a key, as they were at a position, what was seen before.
func (b *bridge) over(v *view, position uint64, key string, siblings []causal.Sibling) ([]causal.Sibling, error) {
	if position > b.until {
		b.seen = nil
	}
	for _, p := range b.seen[key] {
		if p < position {
			continue
		}
		row, found, err := v.snap.Get(numbered(rowLog, p))
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, compacted(v)
		}
		e, err := decodeEntry(row)
		if err != nil {
			return nil, corrupt(fmt.Sprintf("entry %d of the log", p), err)
		}
		siblings = causal.Apply(siblings, e.Write)
	}
	return siblings, nil
}

// resume puts the cursor where the log has all that comes behind since, which the view
// covers.
func (w *changes) resume(v *view, since causal.Vector) error {
	place, err := placeOf(v, since)
	if err != nil {
		return err
	}
	w.seen, w.count, w.cursor = since.Clone(), since.Sum(), place.position
	have, at, n := place.vector.Clone(), place.position, 0
	unseen := false // the log had a write that was not seen
	var failed error
	for position, raw := range v.entries(at+1, &failed) {
		if have.Covers(since) {
			break
		}
		d, merged, err := nameOf(raw)
		if err != nil {
			return corrupt(fmt.Sprintf("entry %d of the log", position), err)
		}
		at = position
		switch {
		case merged != nil && (unseen || !since.Covers(merged)) || n > maxBridge:
			return compacted(v) // what a snapshot brought is in no log
		case merged != nil:
			have.Join(merged)
		default:
			have[d.Actor] = d.N
		}
		switch {
		case merged == nil && !since.Has(d):
			unseen = true
		case merged == nil && unseen:
			n++
			if err := w.remember(at, raw); err != nil {
				return err
			}
		}
		if !unseen || mutant.M42 {
			w.cursor = at
		}
	}
	w.bridge.until = at
	return failed
}

// placeOf is the last place of the log that is noted and lies before all that since
// does not include.
func placeOf(v *view, since causal.Vector) (cut, error) {
	if lacks(v, since) {
		return cut{}, compacted(v)
	}
	place := v.base
	var failed error
	for key, row := range v.snap.Scan([]byte{rowCut}, []byte{rowCut + 1}, &failed) {
		c, err := decodeCut(row)
		if err != nil {
			return cut{}, corrupt(fmt.Sprintf("the place %x of the log", key), err)
		}
		if !since.Covers(c.vector) {
			break
		}
		place = c
	}
	return place, failed
}

// remember notes a write that was seen, and that lies behind some that were not.
func (w *changes) remember(position uint64, raw []byte) error {
	e, err := decodeEntry(slices.Clone(raw))
	if err != nil {
		return corrupt(fmt.Sprintf("entry %d of the log", position), err)
	}
	if !w.q.Matches(e.key) {
		return nil
	}
	if w.bridge.seen == nil {
		w.bridge.seen = map[string][]uint64{}
	}
	w.bridge.seen[e.key] = append(w.bridge.seen[e.key], position)
	return nil
}

var _ store.Changes = (*changes)(nil)

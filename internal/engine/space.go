package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/dialkv/dialkv/store"
)

// Space is the part of an engine whose keys begin with one prefix, which its
// users never see. Spaces of one engine share its commits.
type Space struct {
	e      *Engine
	prefix []byte
}

// Space is a group's own part of the engine: eight bytes of keyspace, four of
// shard, and a kind, so that one group may hold several spaces (log, state).
func (e *Engine) Space(group store.GroupID, kind byte) *Space {
	prefix := binary.BigEndian.AppendUint64(nil, group.Keyspace)
	prefix = binary.BigEndian.AppendUint32(prefix, group.Shard)
	return &Space{e: e, prefix: append(prefix, kind)}
}

// Drop deletes everything that a group keeps in the engine, in all its spaces.
func (e *Engine) Drop(group store.GroupID) error {
	all := e.Space(group, 0)
	all.prefix = all.prefix[:len(all.prefix)-1]
	b := all.Batch()
	b.DeleteRange(nil, nil)
	return b.Commit(true)
}

// Engine is the engine the space belongs to.
func (s *Space) Engine() *Engine { return s.e }

func (s *Space) key(k []byte) []byte {
	return append(append(make([]byte, 0, len(s.prefix)+len(k)), s.prefix...), k...)
}

// bound is the first key behind the space when k is nil, else k within it.
func (s *Space) bound(k []byte) []byte {
	if k != nil {
		return s.key(k)
	}
	end := s.key(nil)
	for i := len(end) - 1; i >= 0; i-- {
		end[i]++
		if end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// Batch collects writes to one space; Commit applies them all or none.
type Batch struct {
	s *Space
	b *pebble.Batch
}

// Batch begins an empty batch. It must be committed or closed.
func (s *Space) Batch() *Batch { return &Batch{s: s, b: s.e.db.NewBatch()} }

// Set stores value under key. Both are copied.
func (b *Batch) Set(key, value []byte) { must(b.b.Set(b.s.key(key), value, nil)) }

// Delete removes key.
func (b *Batch) Delete(key []byte) { must(b.b.Delete(b.s.key(key), nil)) }

// DeleteRange removes the keys from lo up to, not including, hi; a nil hi is the
// end of the space.
func (b *Batch) DeleteRange(lo, hi []byte) {
	must(b.b.DeleteRange(b.s.key(lo), b.s.bound(hi), nil))
}

// Len is the size of the batch in bytes.
func (b *Batch) Len() int { return b.b.Len() }

// Commit applies the batch and closes it. With sync it returns when the batch is
// on disk; without, a crash may lose it together with all that came after it.
func (b *Batch) Commit(sync bool) error {
	defer b.Close()
	return b.s.e.commit(b.b, sync)
}

// Begin applies the batch as Commit(true) does, but returns while it is on its way to
// the disk: everybody sees it, and a crash may lose it. The function it returns must be
// called: it waits for the disk and closes the batch. If that fails, so has the engine.
func (b *Batch) Begin() (settle func() error, err error) {
	if err := b.s.e.apply(b.b, true); err != nil {
		b.Close()
		return nil, err
	}
	return sync.OnceValue(func() error {
		defer b.Close()
		return b.s.e.settle(b.b)
	}), nil
}

// Close drops a batch that was not committed. It may be called again.
func (b *Batch) Close() {
	if b.b != nil {
		_ = b.b.Close() // of a batch: frees memory, does no I/O
		b.b = nil
	}
}

// must marks errors that only a misuse of the batch can bring.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Get returns a copy of what is stored under key now, and whether there is anything.
func (s *Space) Get(key []byte) ([]byte, bool, error) {
	v, closer, err := s.e.db.Get(s.key(key))
	return owned(v, closer, err)
}

// View is a consistent, unchanging look at a space. It may be shared: it ends when
// the one who made it and everyone who retained it have closed it.
type View struct {
	s    *Space
	snap *pebble.Snapshot
	refs atomic.Int64
}

// View looks at the space as it is now.
func (s *Space) View() *View {
	v := &View{s: s, snap: s.e.db.NewSnapshot()}
	v.refs.Store(1)
	return v
}

// Retain adds a holder, who must Close the view too. It reports false if the view
// has ended already.
func (v *View) Retain() bool {
	for {
		n := v.refs.Load()
		if n == 0 {
			return false
		}
		if v.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Get returns a copy of what is stored under key, and whether there is anything.
func (v *View) Get(key []byte) ([]byte, bool, error) {
	b, closer, err := v.snap.Get(v.s.key(key))
	return owned(b, closer, err)
}

// Scan yields the pairs from lo up to, not including, hi, in key order; a nil hi is
// the end of the space. The slices are valid until the next step. An error ends
// the sequence and is left in *failed.
func (v *View) Scan(lo, hi []byte, failed *error) iter.Seq2[[]byte, []byte] {
	return v.scan(lo, hi, failed, (*pebble.Iterator).First, (*pebble.Iterator).Next)
}

// ScanBack yields the pairs that Scan yields, from the last to the first.
func (v *View) ScanBack(lo, hi []byte, failed *error) iter.Seq2[[]byte, []byte] {
	return v.scan(lo, hi, failed, (*pebble.Iterator).Last, (*pebble.Iterator).Prev)
}

func (v *View) scan(lo, hi []byte, failed *error, first, next func(*pebble.Iterator) bool) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		it, err := v.snap.NewIter(&pebble.IterOptions{LowerBound: v.s.key(lo), UpperBound: v.s.bound(hi)})
		if err != nil {
			*failed = fmt.Errorf("engine: scan: %w", err)
			return
		}
		for ok := first(it); ok; ok = next(it) {
			if !yield(it.Key()[len(v.s.prefix):], it.Value()) {
				break
			}
		}
		if err := errors.Join(it.Error(), it.Close()); err != nil {
			*failed = fmt.Errorf("engine: scan: %w", err)
		}
	}
}

// Last returns a copy of the greatest key below hi and its value; a nil hi is the
// end of the space.
func (v *View) Last(hi []byte) (key, value []byte, ok bool, err error) {
	it, err := v.snap.NewIter(&pebble.IterOptions{LowerBound: v.s.key(nil), UpperBound: v.s.bound(hi)})
	if err != nil {
		return nil, nil, false, fmt.Errorf("engine: last: %w", err)
	}
	if ok = it.Last(); ok {
		key = append([]byte(nil), it.Key()[len(v.s.prefix):]...)
		value = append([]byte(nil), it.Value()...)
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return nil, nil, false, fmt.Errorf("engine: last: %w", err)
	}
	return key, value, ok, nil
}

// Close gives the view up.
func (v *View) Close() {
	if v.refs.Add(-1) == 0 {
		must(v.snap.Close())
	}
}

func owned(b []byte, closer interface{ Close() error }, err error) ([]byte, bool, error) {
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("engine: get: %w", err)
	}
	own := append([]byte{}, b...)
	return own, true, closer.Close()
}

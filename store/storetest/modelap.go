package storetest

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/dialkv/dialkv/store"
)

// writeAP makes s, which is the state with the next dot, what it is after c.
func (s *state) writeAP(c store.Command, policy store.Policy) (store.Result, error) {
	here := s.keys[c.Key]
	read, err := readContext(c.Context)
	if err != nil {
		return store.Result{}, err
	}
	if c.Context == nil && !c.Blind {
		if policy == store.Siblings && len(here) > 0 {
			return store.Result{Found: true}, refusal(store.Conflict, "the key has a value that the writer has not read", "read it and pass its context, or write blind")
		}
		read = dots(here)
	}
	left := slices.DeleteFunc(slices.Clone(here), func(x cell) bool { return slices.Contains(read, x.number) })
	if c.Op == store.Put {
		put := cell{number: s.number, value: bytes.Clone(c.Value)}
		if c.TTL != 0 {
			put.ends = time.Now().Add(c.TTL)
		}
		left = append(left, put)
	}
	if s.keys[c.Key] = left; len(left) == 0 {
		delete(s.keys, c.Key)
	}
	return store.Result{Found: len(here) > 0, Context: writeContext(append(read, s.number)), Acked: 1, Wanted: c.W.Of(1)}, nil
}

// ending is the value that ends first.
func (s *state) ending() (key string, first cell) {
	for _, k := range slices.Sorted(maps.Keys(s.keys)) {
		for _, c := range s.keys[k] {
			if !c.ends.IsZero() && (first.ends.IsZero() || c.ends.Before(first.ends)) {
				key, first = k, c
			}
		}
	}
	return key, first
}

// expireAP deletes the values whose time has come, each by a write of its own.
func (m *model) expireAP() {
	for {
		key, c := m.state.ending()
		if c.ends.IsZero() || time.Now().Before(c.ends) {
			return
		}
		s := m.state.next()
		left := slices.DeleteFunc(slices.Clone(s.keys[key]), func(x cell) bool { return x.number == c.number })
		if s.keys[key] = left; len(left) == 0 {
			delete(s.keys, key)
		}
		m.becomes(s, true)
	}
}

func dots(cells []cell) []uint64 {
	numbers := make([]uint64, 0, len(cells)+1)
	for _, c := range cells {
		numbers = append(numbers, c.number)
	}
	return numbers
}

// writeContext is never nil: to have read that there is nothing is to have read.
func writeContext(dots []uint64) store.Entry {
	e := binary.AppendUvarint(nil, uint64(len(dots)))
	for _, dot := range dots {
		e = binary.AppendUvarint(e, dot)
	}
	return e
}

func readContext(e store.Entry) ([]uint64, error) {
	bad := refusal(store.Invalid, "the context does not read as one", "")
	if len(e) == 0 {
		return nil, nil
	}
	count, size := binary.Uvarint(e)
	if size <= 0 || count > uint64(len(e)) {
		return nil, bad
	}
	read := make([]uint64, 0, count+1)
	for e = e[size:]; len(e) > 0; e = e[size:] {
		var dot uint64
		if dot, size = binary.Uvarint(e); size <= 0 {
			return nil, bad
		}
		read = append(read, dot)
	}
	if uint64(len(read)) != count {
		return nil, bad
	}
	return read, nil
}

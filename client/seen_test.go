package client

import (
	"fmt"
	"testing"
	"time"
)

func TestAnswersSeenAreBounded(t *testing.T) {
	s, at := &seen{}, time.Now()
	item := func(n int) Item { return Item{Value: make([]byte, n), Values: [][]byte{make([]byte, n)}} }
	for i := range 3 * maxSeen {
		s.keep("ks", fmt.Sprint(i), item(10), at)
	}
	if len(s.items) != maxSeen || s.recent.Len() != maxSeen {
		t.Errorf("it keeps %d", len(s.items))
	}
	for i := range 40 {
		s.keep("ks", fmt.Sprint(i), item(1<<20), at)
	}
	if s.bytes > maxSeenBytes || len(s.items) != 15 {
		t.Errorf("it keeps %d, of %d bytes", len(s.items), s.bytes)
	}
	s.keep("ks", "huge", item(maxSeenBytes+1), at)
	s.keep("ks", "39", item(1), at.Add(-time.Second)) // an older answer that came late
	if e := s.items[seenKey{"ks", "39"}]; e == nil || len(s.items) != 15 || len(e.Value.(*sight).item.Value) != 1<<20 {
		t.Errorf("it keeps %d", len(s.items))
	}
}

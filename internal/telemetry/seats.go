package telemetry

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dialkv/dialkv/store"
)

// Seats measures how long the replicas here know no leader. The zero Seats is ready.
type Seats struct {
	mu     sync.Mutex
	empty  map[store.GroupID]time.Time // since when; zero: it is not
	losses uint64
	took   time.Duration // of those that have ended
}

// Leader is in the shape of cp's event. That a group of which no leader was ever heard
// has none is no loss.
func (s *Seats) Leader(group store.GroupID, leader string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.empty == nil {
		s.empty = make(map[store.GroupID]time.Time)
	}
	since, known := s.empty[group]
	switch {
	case leader == "" && known && since.IsZero():
		s.empty[group] = time.Now()
		s.losses++
	case leader != "":
		s.empty[group] = time.Time{}
		if !since.IsZero() {
			s.took += time.Since(since)
		}
	}
}

// keep ends the counting for groups that are not here any more.
func (s *Seats) keep(groups []Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.empty, func(id store.GroupID, since time.Time) bool {
		gone := !slices.ContainsFunc(groups, func(g Group) bool { return g.Status.Group == id })
		if gone && !since.IsZero() {
			s.took += time.Since(since)
		}
		return gone
	})
}

// sum is how often there was no leader, and for how long so far.
func (s *Seats) sum(now time.Time) (losses uint64, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	took = s.took
	for _, since := range s.empty {
		if !since.IsZero() {
			took += now.Sub(since)
		}
	}
	return s.losses, took
}

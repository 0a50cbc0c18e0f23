package telemetry

import (
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
)

func TestTimeWithoutALeaderIsMeasured(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		a, b := store.GroupID{Keyspace: 7}, store.GroupID{Keyspace: 8}
		var s Seats
		expect := func(losses uint64, took time.Duration) {
			t.Helper()
			if l, d := s.sum(time.Now()); l != losses || d != took {
				t.Errorf("%d losses of %v, want %d of %v", l, d, losses, took)
			}
		}
		s.Leader(a, "") // it has just been opened
		time.Sleep(time.Second)
		expect(0, 0)
		s.Leader(a, "n1")
		s.Leader(b, "n1")
		s.Leader(a, "n2") // at once: nothing was without a leader
		expect(0, 0)
		s.Leader(a, "")
		s.Leader(a, "") // told twice, for another reason
		s.Leader(b, "")
		time.Sleep(time.Second)
		expect(2, 2*time.Second)
		s.Leader(a, "n3")
		time.Sleep(time.Second)
		expect(2, 3*time.Second)
		s.keep([]Group{{Status: store.Status{Group: a}}}) // b is here no more
		time.Sleep(time.Second)
		expect(2, 3*time.Second)
	})
}

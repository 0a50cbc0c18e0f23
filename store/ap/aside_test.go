package ap

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

// sentBy is how many bytes a member has sent to all others.
func (w *world) sentBy(from string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for pair, bytes := range w.sent {
		if pair[0] == from {
			n += bytes
		}
	}
	return n
}

func TestWriteReachesEachMemberFromItsAuthorOnly(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		const writes, size = 200, 1024
		value := []byte(strings.Repeat("v", size))
		others := w.sentBy("n2") + w.sentBy("n3")
		for i := range writes {
			w.write("n1", store.Command{Op: store.Put, Key: fmt.Sprintf("key-%d", i%10), Value: value})
			time.Sleep(3 * time.Millisecond)
		}
		w.converged()
		if got := w.sentBy("n2") + w.sentBy("n3") - others; got > writes*size/10 {
			t.Errorf("n1 wrote %d bytes, and the others sent %d, of which their acknowledgements are little", writes*size, got)
		}
	})
}

func TestWriteComesByAnotherMemberWhereItsAuthorIsCutOff(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		w.cut([]string{"n1"}, []string{"n3"})
		for i := range 20 {
			r := w.write("n1", store.Command{Op: store.Put, Key: fmt.Sprintf("key-%d", i), Value: []byte("v")})
			began := time.Now()
			w.read("n3", store.Query{Key: fmt.Sprintf("key-%d", i), Level: store.Causal, After: r.Entry})
			if took := time.Since(began); took > 2*asideFor {
				t.Errorf("write %d took %v by way of n2", i, took)
			}
		}
		// Own writes wait for nothing, and take with them what they may depend on.
		before := w.write("n1", store.Command{Op: store.Put, Key: "cause", Value: []byte("v")})
		w.read("n2", store.Query{Key: "cause", Level: store.Causal, After: before.Entry})
		after := w.write("n2", store.Command{Op: store.Put, Key: "effect", Value: []byte("v")})
		began := time.Now()
		if page := w.read("n3", store.Query{Key: "cause", Level: store.Causal, After: after.Entry}); len(page.Items) == 0 {
			t.Errorf("the effect came without its cause: %v", page)
		}
		if took := time.Since(began); took >= asideFor {
			t.Errorf("an own write waited %v", took)
		}
	})
}

func TestBacklogOfOthersWritesWaitsOnce(t *testing.T) {
	var a aside
	now := time.Now()
	if wait := a.wait(1, now); wait != asideFor {
		t.Errorf("the first frame waits %v", wait)
	}
	now = now.Add(asideFor)
	for position := uint64(1); position < 5*frameEntries; position += frameEntries {
		if wait := a.wait(position, now); wait > 0 {
			t.Errorf("the frame from %d on waits %v more", position, wait)
		}
	}
	a.none()
	if wait := a.wait(5*frameEntries, now); wait != asideFor {
		t.Errorf("what comes later waits %v", wait)
	}
}

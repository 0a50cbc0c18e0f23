package client

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
)

// A group keeps the answers of all numbers from the lowest open one on, and refuses
// more than a window of them. One slow write must not let the others run into that.
func TestNumbersDoNotRunAheadOfTheLowestOpenByMoreThanTheWindow(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		n := newNumbers()
		open := func(context.Context) (uint64, error) { return 7, nil }
		_, endSlow, err := n.begin(t.Context(), open)
		if err != nil {
			t.Fatal(err)
		}
		for i := range window - 1 {
			r, end, err := n.begin(t.Context(), open)
			if err != nil || r.Number-r.Lowest >= window {
				t.Fatalf("write %d: %+v, %v", i, r, err)
			}
			end(nil)
		}
		got := make(chan store.Request)
		go func() {
			r, end, err := n.begin(t.Context(), open)
			if err != nil {
				t.Error(err)
			} else {
				end(nil)
			}
			got <- r
		}()
		synctest.Wait()
		select {
		case r := <-got:
			t.Fatalf("%+v while number 1 is open", r)
		default:
		}
		endSlow(nil)
		if r := <-got; r.Number != window+1 || r.Lowest != window+1 {
			t.Errorf("%+v after the slow write ended", r)
		}
	})
}

func TestTheNearNodeComesAfterTheLeaderAndBeforeTheOthers(t *testing.T) {
	r := newRouter("n4")
	nodes := []string{"n1", "n2", "n3", "n4", "n5"}
	if got := r.order(nodes, "n2"); got[0] != "n2" || got[1] != "n4" {
		t.Errorf("with a leader: %v", got)
	}
	if got := r.order(nodes, ""); got[0] != "n4" {
		t.Errorf("without: %v", got)
	}
	r.heard("n4", false)
	if got := r.order(nodes, ""); got[4] != "n4" {
		t.Errorf("after it was silent: %v", got)
	}
}

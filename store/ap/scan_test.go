package ap

import (
	"fmt"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/store"
)

func TestPagesAreOfOneVectorWhateverArrivesMeanwhile(t *testing.T) {
	run(t, 2, Config{}, func(w *world) {
		for i := range 10 {
			w.put("n1", fmt.Sprint("k", i), "old")
		}
		time.Sleep(time.Second)
		q := store.Query{Limit: 3}
		first := w.read("n1", q)
		seen := len(first.Items)
		for page := first; page.Next != ""; seen += len(page.Items) {
			for i := range 10 {
				w.put("n2", fmt.Sprint("k", i), "new")
				w.put("n1", fmt.Sprint("x", seen, i), "new")
			}
			time.Sleep(15 * time.Second) // the replica has taken newer views by then
			q.Page = page.Next
			page = w.read("n1", q)
			if string(page.Entry) != string(first.Entry) || string(page.Context) != string(first.Context) || page.Proof.Vector != first.Proof.Vector {
				t.Errorf("a page is of %s, the first was of %s", page.Proof.Vector, first.Proof.Vector)
			}
			if p := page.Proof; !p.Fresh || p.Staleness < 15*time.Second {
				t.Errorf("a view of long ago is said to be %v old, fresh %v", p.Staleness, p.Fresh)
			}
			for _, item := range page.Items {
				if string(item.Values[0]) != "old" {
					t.Errorf("%s is %q", item.Key, item.Values)
				}
			}
		}
		if seen != 10 {
			t.Errorf("the pages have %d keys", seen)
		}
		_, err := w.readErr("n2", q)
		w.fails(err, store.Compacted)
	})
}

func TestViewsOfScansAreBoundedInNumberAndTime(t *testing.T) {
	run(t, 1, Config{}, func(w *world) {
		for i := range 4 {
			w.put("n1", fmt.Sprint("k", i), "v")
		}
		q := store.Query{Limit: 3}
		q.Page = w.read("n1", q).Next
		for range engine.MaxPins {
			w.read("n1", store.Query{Limit: 3})
		}
		if n := w.at("n1").pins.Len(); n != engine.MaxPins {
			t.Errorf("%d views are kept", n)
		}
		_, err := w.readErr("n1", q)
		w.fails(err, store.Compacted)
		q.Page = w.read("n1", store.Query{Limit: 3}).Next
		time.Sleep(engine.PinIdle + time.Second)
		_, err = w.readErr("n1", q)
		w.fails(err, store.Compacted)
		if n := w.at("n1").pins.Len(); n != 0 {
			t.Errorf("%d views are kept for nobody", n)
		}
		w.read("n1", store.Query{Limit: 3}) // and the replica stops with one that is kept
	})
}

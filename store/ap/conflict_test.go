package ap

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

// rows counts what the engine keeps under a letter.
func (w *world) rows(node string, row byte) int {
	view := w.at(node).space.View()
	defer view.Close()
	var failed error
	n := 0
	for range view.Scan([]byte{row}, []byte{row + 1}, &failed) {
		n++
	}
	if failed != nil {
		w.t.Error(failed)
	}
	return n
}

func (w *world) context(node, key string) store.Entry {
	w.t.Helper()
	return w.read(node, store.Query{Key: key}).Context
}

func with(c store.Command, context store.Entry) store.Command {
	c.Context = context
	return c
}

func blind(c store.Command) store.Command {
	c.Blind = true
	return c
}

func TestSiblingsAreShownUntilAWriterWhoReadThemMerges(t *testing.T) {
	run(t, 3, Config{Policy: store.Siblings}, func(w *world) {
		w.cut([]string{"n1"}, []string{"n2", "n3"})
		w.put("n1", "k", "one")
		w.put("n2", "k", "two")
		w.heal([]string{"n1"}, []string{"n2", "n3"})
		time.Sleep(5 * time.Second)
		w.converged()
		if got := w.get("n3", "k"); len(got) != 2 {
			t.Fatalf("there are %q", got)
		}
		_, err := w.writeErr("n3", put("k", "unread"))
		w.fails(err, store.Conflict)
		result := w.write("n3", with(put("k", "merged"), w.context("n3", "k")))
		time.Sleep(time.Second)
		w.expect("n1", "k", "merged")
		w.write("n3", with(put("k", "again"), result.Context))
		w.expect("n3", "k", "again")
	})
}

func TestConflictSaysWhatItSawAndDoesNothing(t *testing.T) {
	run(t, 1, Config{Policy: store.Siblings}, func(w *world) {
		w.put("n1", "k", "v")
		for _, op := range []store.Op{store.Put, store.Delete} {
			result, err := w.writeErr("n1", store.Command{Op: op, Key: "k"})
			w.fails(err, store.Conflict)
			if !result.Found {
				t.Error("the result does not say that the key is there")
			}
		}
		if s := w.at("n1").Status(); s.Revision != 1 {
			t.Errorf("%d writes were applied", s.Revision)
		}
	})
}

// Two writers through one node have read the same. The second does not learn of
// the first, so what it says next must not remove the first one's value.
func TestContextOfAWriteDoesNotCoverWhatItsWriterDidNotRead(t *testing.T) {
	run(t, 2, Config{Policy: store.Siblings}, func(w *world) {
		read := w.put("n1", "k", "start").Context
		w.write("n1", with(put("k", "first"), read))
		second := w.write("n1", with(put("k", "second"), read)).Context
		w.write("n1", with(put("k", "third"), second))
		w.expect("n1", "k", "first", "third")
		time.Sleep(time.Second)
		w.converged()
	})
}

func TestContextOfAnEmptyReadIsNotNoContext(t *testing.T) {
	run(t, 1, Config{Policy: store.Siblings}, func(w *world) {
		nothing := w.context("n1", "k")
		w.put("n1", "k", "one")
		w.write("n1", with(put("k", "two"), nothing))
		w.expect("n1", "k", "one", "two")
	})
}

func TestBlindWritesStandBesideEachOtherUpToALimit(t *testing.T) {
	run(t, 2, Config{Policy: store.Siblings}, func(w *world) {
		for i := range maxSiblings {
			w.write("n1", blind(put("k", fmt.Sprint(i))))
		}
		_, err := w.writeErr("n1", blind(put("k", "one more")))
		w.fails(err, store.TooManySiblings)
		time.Sleep(time.Second)
		_, err = w.writeErr("n2", blind(put("k", "one more")))
		w.fails(err, store.TooManySiblings)
		if got := w.get("n2", "k"); len(got) != maxSiblings {
			t.Errorf("there are %d values", len(got))
		}
		w.write("n2", with(put("k", "merged"), w.context("n2", "k")))
		w.expect("n2", "k", "merged")
	})
}

// The limit binds coordinators only: to refuse at apply would be to diverge.
func TestSidesOfACutMayTogetherExceedTheLimit(t *testing.T) {
	run(t, 2, Config{Policy: store.Siblings}, func(w *world) {
		w.cut([]string{"n1"}, []string{"n2"})
		for i := range maxSiblings {
			w.write("n1", blind(put("k", fmt.Sprint(i))))
			w.write("n2", blind(put("k", fmt.Sprint(i))))
		}
		w.heal([]string{"n1"}, []string{"n2"})
		time.Sleep(5 * time.Second)
		w.converged()
		if got := w.get("n1", "k"); len(got) != 2*maxSiblings {
			t.Errorf("there are %d values", len(got))
		}
	})
}

func TestQueryForSiblingsShowsTheHiddenOnesOfLWW(t *testing.T) {
	run(t, 2, Config{}, func(w *world) {
		w.cut([]string{"n1"}, []string{"n2"})
		w.put("n1", "k", "loser")
		time.Sleep(time.Second)
		w.put("n2", "k", "winner")
		w.heal([]string{"n1"}, []string{"n2"})
		time.Sleep(5 * time.Second)
		page := w.read("n1", store.Query{Key: "k", Siblings: true})
		item := page.Items[0]
		if len(item.Values) != 1 || string(item.Values[0]) != "winner" || len(item.Siblings) != 2 {
			t.Fatalf("the item is %+v", item)
		}
		// Neither a put nor a delete brings the loser up.
		w.write("n1", with(put("k", "next"), page.Context))
		if page := w.read("n1", store.Query{Key: "k", Siblings: true}); len(page.Items[0].Siblings) != 1 {
			t.Errorf("after a put there are %+v", page.Items[0].Siblings)
		}
		w.write("n2", store.Command{Op: store.Delete, Key: "k"})
		time.Sleep(time.Second)
		w.converged()
	})
}

func TestDeleteLeavesNoRow(t *testing.T) {
	for _, policy := range []store.Policy{store.LWW, store.Siblings} {
		run(t, 3, Config{Policy: policy}, func(w *world) {
			for i := range 20 {
				w.put("n1", fmt.Sprint("k", i), "v")
			}
			time.Sleep(time.Second)
			w.cut([]string{"n3"}, []string{"n1", "n2"})
			for i := range 20 {
				key := fmt.Sprint("k", i)
				c := store.Command{Op: store.Delete, Key: key}
				if policy == store.Siblings {
					c.Context = w.context("n2", key)
				}
				if result := w.write("n2", c); !result.Found {
					t.Errorf("%s was not found", key)
				}
			}
			time.Sleep(10 * time.Minute)
			w.heal([]string{"n3"}, []string{"n1", "n2"})
			time.Sleep(5 * time.Second)
			w.converged()
			for _, node := range w.names {
				if n := w.rows(node, rowKey); n != 0 {
					t.Errorf("%s keeps %d rows of deleted keys", node, n)
				}
			}
		})
	}
}

func TestPutThatIsConcurrentWithADeleteStays(t *testing.T) {
	run(t, 2, Config{}, func(w *world) {
		w.put("n1", "k", "old")
		time.Sleep(time.Second)
		w.cut([]string{"n1"}, []string{"n2"})
		w.put("n1", "k", "new")
		time.Sleep(time.Second)
		w.write("n2", store.Command{Op: store.Delete, Key: "k"}) // later, by any clock
		w.expect("n2", "k")
		w.heal([]string{"n1"}, []string{"n2"})
		time.Sleep(5 * time.Second)
		w.converged()
		w.expect("n2", "k", "new")
	})
}

func TestDeleteOfNothingIsAWrite(t *testing.T) {
	run(t, 2, Config{}, func(w *world) {
		result := w.write("n1", store.Command{Op: store.Delete, Key: "k"})
		if result.Found || len(result.Entry) == 0 {
			t.Errorf("the result is %+v", result)
		}
		time.Sleep(time.Second)
		if s := w.at("n2").Status(); s.Revision != 1 {
			t.Errorf("n2 has applied %d writes", s.Revision)
		}
	})
}

// However wrong the clocks are, who has read a value and overwrites it wins.
func TestSequentialWritesObeyCausalityNotClocks(t *testing.T) {
	skew := time.Hour
	cfg := Config{Clock: func() time.Time {
		skew = -skew // every stamp is an hour before or after the truth
		return time.Now().Add(skew)
	}}
	run(t, 1, cfg, func(w *world) {
		for i := range 20 {
			w.put("n1", "k", fmt.Sprint(i))
			w.expect("n1", "k", fmt.Sprint(i))
		}
	})
}

func TestRetryIsAnsweredAndNotRepeated(t *testing.T) {
	run(t, 2, Config{Policy: store.Siblings}, func(w *world) {
		c := blind(put("k", "v"))
		c.Request = store.Request{Session: 9, Number: 1, Lowest: 1}
		first := w.write("n1", c)
		c.Request.Retry, c.W = true, store.WAll
		again := w.write("n1", c)
		if string(again.Entry) != string(first.Entry) || again.Acked != 2 || again.Found != first.Found {
			t.Errorf("first %+v, again %+v", first, again)
		}
		_, err := w.writeErr("n2", c) // it cannot know, so it must not write
		w.fails(err, store.Unknown)

		w.stop("n1")
		w.start("n1")
		if again := w.write("n1", c); string(again.Entry) != string(first.Entry) {
			t.Error("after a restart the answer is another")
		}
		w.expect("n1", "k", "v")
	})
}

func TestRequestsBelowTheLowestOpenOneAreForgotten(t *testing.T) {
	run(t, 1, Config{}, func(w *world) {
		for n := range uint64(10) {
			c := put("k", "v")
			c.Request = store.Request{Session: 9, Number: n + 1, Lowest: n + 1}
			w.write("n1", c)
		}
		if n := w.rows("n1", rowRequest); n != 1 {
			t.Errorf("%d requests are remembered", n)
		}
		c := put("k", "straggler")
		c.Request = store.Request{Session: 9, Number: 4, Lowest: 1}
		_, err := w.writeErr("n1", c)
		w.fails(err, store.SessionExpired)
		w.expect("n1", "k", "v")
	})
}

func TestSessionsThatWereIdleLongestAreForgottenFirst(t *testing.T) {
	q := newRequests()
	forgotten := map[uint64]int{}
	forget := func(session, _ uint64) { forgotten[session]++ }
	for i := range uint64(maxAnswers) {
		q.record(store.Request{Session: 1 + i%4, Number: 1 + i}, executed{}, forget)
	}
	q.record(store.Request{Session: 1, Number: maxAnswers + 1}, executed{}, forget)
	if len(forgotten) != 1 || forgotten[2] != maxAnswers/4 || q.count != maxAnswers*3/4+1 {
		t.Errorf("%v were forgotten, %d are left", forgotten, q.count)
	}
	if _, _, err := q.find(store.Request{Session: 2, Number: 2, Retry: true}); store.AsError(err).Code != store.Unknown {
		t.Errorf("the retry of a forgotten request: %v", err)
	}
	for i := range uint64(2 * maxAnswers) { // one session that never says what it is done with
		q.record(store.Request{Session: 5, Number: 1 + i}, executed{}, forget)
	}
	if q.count != maxAnswers || len(q.sessions) != 1 || q.idle.Len() != 1 {
		t.Errorf("%d answers of %d sessions are left", q.count, len(q.sessions))
	}
}

// However long sessions read, merge and write the key, each adds one value at most to what
// the others have not read.
func TestSiblingsAreNoMoreThanTheSessionsThatWrite(t *testing.T) {
	run(t, 4, Config{Policy: store.Siblings}, func(w *world) {
		const sessions = 6
		left, right := w.names[:2], w.names[2:]
		var writers sync.WaitGroup
		for n := range sessions {
			writers.Go(func() {
				node := w.names[n%len(w.names)]
				var seen store.Entry
				for i := range 60 {
					page := w.read(node, store.Query{Key: "k", Level: store.Causal, After: seen})
					if len(page.Items) == 1 && len(page.Items[0].Values) > sessions {
						t.Errorf("session %d reads %d values", n, len(page.Items[0].Values))
					}
					c := put("k", fmt.Sprint(n, ".", i))
					c.After, c.Context = page.Entry, page.Context
					if len(page.Items) == 0 {
						c.Context, c.Blind = nil, true
					}
					seen = w.write(node, c).Entry
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		for range 3 {
			time.Sleep(500 * time.Millisecond)
			w.cut(left, right)
			time.Sleep(1500 * time.Millisecond)
			w.heal(left, right)
		}
		writers.Wait()
		time.Sleep(10 * time.Second)
		page := w.read("n1", store.Query{Key: "k"})
		if n := len(page.Items[0].Values); n > sessions {
			t.Errorf("%d values are left of %d sessions", n, sessions)
		}
		c := put("k", "merged")
		c.Context = page.Context
		w.write("n1", c)
		time.Sleep(5 * time.Second)
		for _, name := range w.names {
			w.expect(name, "k", "merged")
		}
	})
}

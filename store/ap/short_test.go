package ap

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// sizeOf is the length of a token of a session that has read just this.
func sizeOf(t *testing.T, entry store.Entry) int {
	tok := token.Token{Cluster: strings.Repeat("ab", 16), Epoch: 1}
	err := tok.Read(store.GroupID{Keyspace: 7, Shard: 1}, entry)
	b, encodeErr := tok.Encode()
	if err = errors.Join(err, encodeErr); err != nil {
		t.Fatal(err)
	}
	return len(b)
}

func TestTokensStayShortThroughManyRestarts(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		c := &closed{world: w}
		var first store.Page
		for i := range 50 {
			for _, name := range w.names {
				w.put(name, "k", fmt.Sprint(name, i))
				w.anew(name)
			}
			if i == 0 {
				first = w.read("n1", causally("k", nil))
			}
		}
		long := w.read("n1", causally("k", nil))
		if n := sizeOf(t, long.Entry); n < 1000 {
			t.Fatalf("after 150 restarts a token has %d bytes: nothing is shown", n)
		}
		before := w.bytesOfTen()
		if n := c.close(); n != 150 {
			t.Fatalf("%d actors were closed", n)
		}
		c.learn("n1", "n2")
		page := w.read("n1", causally("k", nil))
		if n := sizeOf(t, page.Entry); n > 128 {
			t.Errorf("a token has %d bytes", n)
		}
		t.Logf("a token had %d bytes, and has %d", sizeOf(t, long.Entry), sizeOf(t, page.Entry))
		if n := len(page.Proof.Vector); n > 128 {
			t.Errorf("the vector is shown as %d bytes: %s", n, page.Proof.Vector)
		}
		// What names the actors still goes on working, and so does what does not.
		for _, after := range []store.Entry{first.Entry, long.Entry, page.Entry} {
			w.read("n2", causally("k", after))
			w.read("n3", causally("k", page.Entry[:0:0]))
		}
		if a, b := sum(t, long.Entry), sum(t, page.Entry); a != b {
			t.Errorf("the long form counts %d writes, the short one %d", a, b)
		}
		// A member that has not heard waits, and never guesses.
		_, err := w.readErr("n3", causally("k", page.Entry))
		w.fails(err, store.SessionUnreachable)
		_, err = w.writeErr("n3", store.Command{Op: store.Put, Key: "k", Value: []byte("x"), Context: page.Context})
		w.fails(err, store.SessionUnreachable)
		done := make(chan error)
		go func() {
			_, err := w.readErr("n3", causally("k", page.Entry))
			done <- err
		}()
		time.Sleep(time.Second)
		c.learn("n3")
		if err := <-done; err != nil {
			t.Errorf("it did not go on when it had heard: %v", err)
		}
		// A context in the short form covers what the long one did.
		r := w.write("n3", store.Command{Op: store.Put, Key: "k", Value: []byte("last"), Context: page.Context, After: long.Entry})
		w.expect("n3", "k", "last")
		if n := sizeOf(t, r.Entry); n > 128 {
			t.Errorf("after a write a token has %d bytes", n)
		}
		time.Sleep(time.Second)
		w.converged()
		after := w.bytesOfTen()
		t.Logf("in ten idle seconds %d bytes were sent, and %d are", before, after)
		if after > before/5 {
			t.Errorf("in ten idle seconds %d bytes were sent before actors were closed, and %d after", before, after)
		}
		if row, _, err := w.at("n2").space.Get([]byte{rowSelf}); err != nil || len(row) > 256 {
			t.Errorf("what n2 keeps of itself are %d bytes, %v", len(row), err)
		}
		w.anew("n1") // what was learned is on its disk
		if page := w.read("n1", causally("k", page.Entry)); sizeOf(t, page.Entry) > 128 {
			t.Errorf("after another start a token has %d bytes", sizeOf(t, page.Entry))
		}
	})
}

// A replica that comes serves when it knows what is closed: its first answer names no actor
// that another member's answers do not name any more.
func TestJoinerLearnsWhatIsClosedBeforeItServes(t *testing.T) {
	run(t, 3, Config{LogBytes: 8 << 10}, func(w *world) {
		c := &closed{world: w}
		for i := range 20 {
			for _, name := range w.names {
				w.put(name, "k", fmt.Sprint(name, i))
				w.anew(name)
			}
		}
		if n := c.close(); n != 60 {
			t.Fatalf("%d actors were closed", n)
		}
		c.learn("n1", "n2", "n3")
		time.Sleep(time.Second)
		w.newcomer("n4")
		w.tell("n1", "n2", "n3", "n4")
		w.fails(w.catchUp("n4"), store.Unavailable) // it holds everything, and has not heard
		go func() {
			time.Sleep(time.Second)
			c.learn("n4")
		}()
		if err := w.catchUp("n4"); err != nil {
			t.Fatal(err)
		}
		w.next(entered("n4"))
		w.tell("n1", "n2", "n3", "n4")
		time.Sleep(2 * time.Second)
		if n := sizeOf(t, w.read("n4", causally("k", nil)).Entry); n > 128 {
			t.Errorf("a token has %d bytes", n)
		}
	})
}

// A closure comes without an entry of the log: a watch that is silent hears of it as well.
func TestSilentWatchNamesWhatIsClosedByItsNumber(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		c := &closed{world: w}
		for i := range 20 {
			for _, name := range w.names {
				w.put(name, "k", fmt.Sprint(name, i))
				w.anew(name)
			}
		}
		changes := w.watch("n1", store.WatchQuery{All: true})
		if n := sizeOf(t, w.step(changes).Entry); n < 500 {
			t.Fatalf("after 60 restarts a token has %d bytes: nothing is shown", n)
		}
		if n := c.close(); n != 60 {
			t.Fatalf("%d actors were closed", n)
		}
		c.learn("n1")
		if n := sizeOf(t, w.step(changes).Entry); n > 128 {
			t.Errorf("a token has %d bytes", n)
		}
	})
}

// bytesOfTen is how many bytes members send in ten seconds in which nothing happens.
func (w *world) bytesOfTen() int {
	all := func() (n int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, sent := range w.sent {
			n += sent
		}
		return n
	}
	time.Sleep(time.Second)
	before := all()
	time.Sleep(10 * time.Second)
	return all() - before
}

func sum(t *testing.T, e store.Entry) uint64 {
	n, err := token.Sum(e)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A watch counts, and goes on, whether its token names what it has passed or has a number for
// it; and one that has both has lost nothing.
func TestWatchGoesOnBehindANumber(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		c := &closed{world: w}
		for i := range 4 {
			w.put("n1", fmt.Sprint("k", i), "v")
		}
		w.anew("n1")
		first := w.watch("n2", store.WatchQuery{From: 1, Prefix: "k"})
		named := w.changesOf(first, 3)
		if n := c.close(); n != 1 {
			t.Fatalf("%d actors were closed", n)
		}
		c.learn(w.names...)
		w.put("n1", "k4", "v")
		last := w.changesOf(first, 2)[1]
		if last.Revision != 5 || sum(t, last.Entry) != 5 || !token.HasClosed(last.Entry) {
			t.Errorf("the fifth change is the %dth, behind %x, which counts %d", last.Revision, last.Entry, sum(t, last.Entry))
		}
		both, err := token.Join(named[1].Entry, last.Entry)
		if err != nil {
			t.Fatal(err)
		}
		w.put("n2", "k5", "v")
		time.Sleep(time.Second)
		for _, since := range []store.Entry{named[1].Entry, last.Entry, both} {
			again := w.watch("n3", store.WatchQuery{Prefix: "k", Since: since})
			want := []string{"k5=[v]"}
			if !token.HasClosed(since) {
				want = []string{"k2=[v]", "k3=[v]", "k4=[v]", "k5=[v]"}
			}
			if passed := again.(*changes).Passed(); passed != 6-uint64(len(want)) {
				t.Errorf("it goes on behind %d writes", passed)
			}
			list := w.changesOf(again, len(want))
			w.shows(list, want...)
			if end := list[len(list)-1]; end.Revision != 6 {
				t.Errorf("the last one is the %dth", end.Revision)
			}
		}
	})
}

// A context that counts siblings by a number still names each: a write with it supersedes
// what was read, and not what came after.
func TestShortContextSupersedesWhatWasRead(t *testing.T) {
	run(t, 2, Config{Policy: store.Siblings}, func(w *world) {
		c := &closed{world: w}
		w.cut([]string{"n1"}, []string{"n2"})
		w.write("n1", store.Command{Op: store.Put, Key: "k", Value: []byte("a"), Blind: true})
		w.write("n2", store.Command{Op: store.Put, Key: "k", Value: []byte("b"), Blind: true})
		w.heal([]string{"n1"}, []string{"n2"})
		w.anew("n1")
		w.anew("n2")
		if n := c.close(); n != 2 {
			t.Fatalf("%d actors were closed", n)
		}
		c.learn("n1", "n2")
		page := w.read("n1", store.Query{Key: "k", Level: store.Causal})
		w.write("n2", store.Command{Op: store.Put, Key: "k", Value: []byte("c"), Blind: true})
		w.write("n2", store.Command{Op: store.Put, Key: "k", Value: []byte("d"), Context: page.Context})
		item := w.read("n2", store.Query{Key: "k", Level: store.Causal}).Items[0]
		if got := fmt.Sprintf("%s", item.Values); got != "[c d]" && got != "[d c]" {
			t.Errorf("there are %s", got)
		}
	})
}

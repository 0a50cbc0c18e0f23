package ap

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// seenOf is what one has seen who saw revision n of another group.
func seenOf(t *testing.T, keyspace, n uint64) token.Deps {
	t.Helper()
	d, err := token.DepsOf(store.GroupID{Keyspace: keyspace}, token.EncodeEntry([]token.Component{{N: n}}))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func same(a, b token.Deps) bool { return bytes.Equal(a.Encode(), b.Encode()) }

func (w *world) depend(node, key string, on token.Deps) store.Result {
	w.t.Helper()
	return w.write(node, store.Command{Op: store.Put, Key: key, Value: []byte("v"), Deps: on.Encode()})
}

// tells wants an eventual read at a node to tell what the group depends on.
func (w *world) tells(node string, want token.Deps) {
	w.t.Helper()
	page := w.read(node, store.Query{Key: "k", Level: store.Eventual})
	if !bytes.Equal(page.Deps, want.Encode()) {
		w.t.Errorf("%s tells of other groups %x, want %x", node, page.Deps, want.Encode())
	}
}

// A write says only what its coordinator had not noted; who has the write has the rest.
func TestDependenciesArePassedOnByWhomeverTheWriteComes(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		w.cut([]string{"n1"}, []string{"n3"})
		first := seenOf(t, 100, 4)
		w.depend("n1", "k", first)
		w.depend("n1", "l", first.Join(seenOf(t, 101, 7)))
		time.Sleep(time.Second)
		for _, name := range w.names {
			w.tells(name, first.Join(seenOf(t, 101, 7)))
		}
		for _, name := range w.names {
			w.crash(name)
			w.start(name)
			w.tells(name, first.Join(seenOf(t, 101, 7)))
		}
	})
}

func TestDependenciesComeWithASnapshot(t *testing.T) {
	cfg, merged := shortLog(Config{})
	run(t, 3, cfg, func(w *world) {
		w.stop("n3")
		w.depend("n1", "k", seenOf(t, 100, 4))
		w.fill("n1", "x", 1000)
		time.Sleep(time.Second)
		w.start("n3")
		time.Sleep(10 * time.Second)
		if merged.installed.Load() == 0 {
			t.Error("the member was sent no snapshot")
		}
		w.tells("n3", seenOf(t, 100, 4))
	})
}

// What a quorum read shows of others' writes comes with what those depend on.
func TestQuorumReadTellsWhatItsMembersDependOn(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		for _, to := range []string{"n2", "n3"} {
			w.set([]string{"n1"}, []string{to}, func(l *link) { l.pace = time.Hour }) // streams stand still
		}
		w.depend("n1", "k", seenOf(t, 100, 4))
		w.expect("n2", "k")
		w.cut([]string{"n2"}, []string{"n3"})
		page, err := w.readErr("n2", store.Query{Key: "k", Level: store.Quorum})
		if err != nil || len(page.Items) != 1 || !bytes.Equal(page.Deps, seenOf(t, 100, 4).Encode()) {
			t.Errorf("%+v, %v", page, err)
		}
	})
}

func (w *world) settled(node string) store.Entry {
	w.t.Helper()
	e, err := w.at(node).Settled(context.Background(), nil, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func TestSettledIsWhatEveryMemberSaidThatItHolds(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		first := w.put("n1", "k", "1")
		time.Sleep(time.Second)
		for _, name := range w.names {
			if got := w.settled(name); !bytes.Equal(got, first.Entry) {
				t.Errorf("at %s %x is settled, want %x", name, got, first.Entry)
			}
		}
		w.cut([]string{"n1", "n2"}, []string{"n3"})
		second := w.put("n1", "k", "2")
		time.Sleep(10 * time.Second)
		for _, name := range w.names {
			if got := w.settled(name); !bytes.Equal(got, first.Entry) {
				t.Errorf("at %s %x is settled while n3 lacks it", name, got)
			}
		}
		w.heal([]string{"n1", "n2"}, []string{"n3"})
		time.Sleep(10 * time.Second)
		if got := w.settled("n2"); !bytes.Equal(got, second.Entry) {
			t.Errorf("%x is settled after the heal, want %x", got, second.Entry)
		}
	})
}

// A member that comes must not show less than what was called settled before it served.
func TestNothingSettlesByWordsOfAnotherPlacement(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		w.put("n1", "k", "1")
		time.Sleep(time.Second)
		w.newcomer("n4")
		w.tell("n2", "n3", "n4")
		time.Sleep(5 * time.Second)
		w.put("n1", "k", "2")
		time.Sleep(5 * time.Second)
		if got := w.settled("n1"); got != nil {
			t.Errorf("by the old placement %x is settled at n1", got)
		}
		if got := w.settled("n2"); got != nil {
			t.Errorf("without a word of n1 under the new placement %x is settled at n2", got)
		}
	})
}

func TestNothingSettlesWithoutFsync(t *testing.T) {
	run(t, 3, Config{Durability: store.OS}, func(w *world) {
		w.put("n1", "k", "1")
		time.Sleep(time.Second)
		if got := w.settled("n1"); got != nil {
			t.Errorf("%x is settled", got)
		}
	})
}

// Nobody is to wait for what no member has, once the view is proved younger than its note.
func TestWhatNoMemberHasIsLostOnlyToAViewThatIsFresh(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		w.put("n1", "k", "1")
		time.Sleep(time.Second)
		gone := token.EncodeEntry([]token.Component{{ID: 1 << 50, N: 3}})
		lost := func(ago time.Duration) bool {
			e, err := w.at("n1").Settled(context.Background(), gone, ago)
			if err != nil {
				t.Fatal(err)
			}
			components, err := token.DecodeEntry(e)
			if err != nil {
				t.Fatal(err)
			}
			return slices.Contains(components, token.Component{ID: 1 << 50, N: 3})
		}
		if lost(0) {
			t.Error("what was noted just now is called lost")
		}
		if !lost(5 * time.Second) {
			t.Error("what no member has is waited for")
		}
		w.cut([]string{"n1", "n2"}, []string{"n3"})
		time.Sleep(time.Minute)
		if lost(5 * time.Second) {
			t.Error("what n3 may have is called lost")
		}
	})
}

func TestConflictTellsWhatToRemember(t *testing.T) {
	run(t, 3, Config{Policy: store.Siblings}, func(w *world) {
		first := w.depend("n1", "k", seenOf(t, 100, 4))
		r, err := w.writeErr("n1", put("k", "unread"))
		w.fails(err, store.Conflict)
		if !bytes.Equal(r.Entry, first.Entry) || !bytes.Equal(r.Deps, seenOf(t, 100, 4).Encode()) {
			t.Errorf("it tells to remember %x and %x", r.Entry, r.Deps)
		}
	})
}

func TestWhatIsSettledElsewhereIsForgotten(t *testing.T) {
	run(t, 1, Config{}, func(w *world) {
		w.depend("n1", "k", seenOf(t, 100, 4).Join(seenOf(t, 101, 7)))
		if err := w.at("n1").Settle(context.Background(), seenOf(t, 100, 4).Join(seenOf(t, 101, 6))); err != nil {
			t.Fatal(err)
		}
		w.tells("n1", seenOf(t, 101, 7))
		w.stop("n1")
		w.start("n1")
		w.tells("n1", seenOf(t, 101, 7))
	})
}

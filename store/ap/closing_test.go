package ap

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// closed is the part of the catalog that the tests play: the closures, by number.
type closed struct {
	*world
	list    [][]byte
	numbers []uint64
}

// close has the member whose turn it is ask, and records what comes of it. It returns how
// many actors were closed.
func (c *closed) close() int {
	for _, name := range c.newest().Members {
		r := c.at(name)
		if r == nil {
			continue
		}
		question, ok := r.Closing()
		if !ok || question.Epoch != c.newest().Epoch {
			continue
		}
		ctx, cancel := within(10 * time.Second)
		after, closure, err := r.Ended(ctx, question)
		cancel()
		if err != nil || closure == nil || after != c.last() {
			continue
		}
		ends, _, err := decodeClosure(closure)
		if err != nil {
			c.t.Fatal(err)
		}
		c.list, c.numbers = append(c.list, closure), append(c.numbers, after+1+uint64(len(c.list)%2)*7) // as after a change of the catalog's epoch
		return len(ends)
	}
	return 0
}

func (c *closed) learnErr(node string) error {
	for i, number := range c.numbers {
		if err := c.at(node).Learn(number, c.list[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *closed) last() uint64 {
	if len(c.numbers) == 0 {
		return 0
	}
	return c.numbers[len(c.numbers)-1]
}

// learn has nodes hear of all that was closed.
func (c *closed) learn(nodes ...string) {
	c.t.Helper()
	for _, node := range nodes {
		if err := c.learnErr(node); err != nil {
			c.t.Fatalf("%s: %v", node, err)
		}
	}
}

// anew starts a node anew and lets it meet the others.
func (w *world) anew(name string) {
	w.stop(name)
	w.start(name)
	time.Sleep(3 * time.Second)
}

func causally(key string, after store.Entry) store.Query {
	return store.Query{Key: key, Level: store.Causal, After: after}
}

// lose puts at a node what a power cut takes away, and returns the session's entry.
func (w *world) lose(name, key string) store.Entry {
	others := without(w.names, []string{name})
	w.cut([]string{name}, others)
	entry := w.put(name, key, "lost").Entry
	w.crash(name)
	w.heal([]string{name}, others)
	w.start(name)
	time.Sleep(3 * time.Second)
	return entry
}

func TestSessionIsToldThatItsWritesAreLost(t *testing.T) {
	run(t, 3, Config{Durability: store.OS}, func(w *world) {
		c := &closed{world: w}
		kept := w.put("n1", "k", "kept").Entry
		time.Sleep(3 * time.Second)
		lost := w.lose("n1", "k")
		nothing := w.lose("n1", "k") // of this actor nobody has anything
		other := w.put("n1", "other", "v").Entry
		for _, entry := range []store.Entry{lost, nothing} {
			_, err := w.readErr("n2", causally("k", entry))
			w.fails(err, store.SessionUnreachable) // nobody knows that it will not come
		}
		c.close()
		_, err := w.readErr("n2", causally("k", lost))
		w.fails(err, store.SessionUnreachable) // n2 has not heard
		c.learn("n1", "n2", "n3")
		for _, entry := range []store.Entry{lost, nothing} {
			for _, node := range w.names {
				began := time.Now()
				for _, level := range []store.Level{store.Causal, store.Monotonic, store.ReadYourWrites, store.Quorum} {
					q := causally("k", entry)
					q.Level = level
					_, err := w.readErr(node, q)
					w.fails(err, store.WritesLost)
				}
				command := put("k", "after")
				command.After = entry
				_, err = w.writeErr(node, command)
				w.fails(err, store.WritesLost)
				command = put("k", "after")
				command.Context = entry
				_, err = w.writeErr(node, command)
				w.fails(err, store.WritesLost)
				_, err = w.at(node).Watch(context.Background(), store.WatchQuery{Key: "k", Since: entry})
				w.fails(err, store.WritesLost)
				if took := time.Since(began); took > 0 {
					t.Errorf("%s waited %v for what never comes", node, took)
				}
				w.read(node, store.Query{Key: "k", Level: store.Eventual, After: entry})
			}
		}
		w.read("n2", causally("k", kept))
		w.read("n3", causally("other", other))
		made := encodeDots([]causal.Dot{{Actor: 42, N: 1}})
		_, err = w.readErr("n2", causally("k", made))
		w.fails(err, store.SessionUnreachable) // such an actor may be about to be heard of
		w.expect("n2", "k", "kept")
	})
}

func TestWritesOfAMemberThatIsAwayAreNotLost(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		c := &closed{world: w}
		time.Sleep(time.Second)
		w.cut([]string{"n3"}, []string{"n1", "n2"})
		alone := w.put("n3", "k", "alone").Entry
		time.Sleep(5 * time.Second)
		w.anew("n2")
		if n := c.close(); n != 0 {
			t.Errorf("%d actors were closed while a member was away", n)
		}
		_, err := w.readErr("n1", causally("k", alone))
		w.fails(err, store.SessionUnreachable)
		w.stop("n3")
		w.start("n3")
		w.heal([]string{"n3"}, []string{"n1", "n2"})
		time.Sleep(5 * time.Second)
		if n := c.close(); n != 2 {
			t.Errorf("%d actors were closed when it was back", n)
		}
		c.learn(w.names...)
		w.read("n1", causally("k", alone))
		w.expect("n1", "k", "alone")
	})
}

// A member whose disk is an older one gets from others what it had; what nobody else had
// is lost, and that is told once all have been heard.
func TestOldDiskIsCaughtUpAndWhatItAloneHadIsLost(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		c := &closed{world: w}
		old := w.member["n1"].fs.CrashClone(vfs.CrashCloneCfg{})
		shared := w.put("n1", "shared", "v").Entry
		time.Sleep(time.Second)
		w.cut([]string{"n1"}, []string{"n2", "n3"})
		alone := w.put("n1", "alone", "v").Entry
		newer := w.member["n1"].fs.CrashClone(vfs.CrashCloneCfg{})
		w.crash("n1")
		w.member["n1"].fs = old
		w.start("n1")
		w.heal([]string{"n1"}, []string{"n2", "n3"})
		time.Sleep(5 * time.Second)
		if n := c.close(); n == 0 {
			t.Fatal("nothing was closed")
		}
		c.learn("n1", "n2")
		for _, node := range []string{"n1", "n2"} {
			w.read(node, causally("shared", shared))
			_, err := w.readErr(node, causally("alone", alone))
			w.fails(err, store.WritesLost)
		}
		// The newer disk comes to light after all. Nobody who has heard takes from it, and it
		// ends when it hears itself.
		w.crash("n1")
		w.member["n1"].fs = newer
		w.cut([]string{"n1"}, []string{"n3"})
		w.start("n1")
		time.Sleep(5 * time.Second)
		w.expect("n1", "alone", "v")
		w.expect("n2", "alone")
		q := store.Query{Key: "alone", Level: store.Quorum}
		page, err := w.readErr("n2", q)
		if err == nil && len(page.Items) > 0 {
			t.Errorf("a quorum read shows what was told to be lost: %s", page.Items[0].Values)
		}
		w.fails(c.learnErr("n1"), store.Corrupt)
		if err := <-w.member["n1"].ended; !errors.Is(err, store.Corrupt) {
			t.Errorf("it ended with %v", err)
		}
		w.member["n1"].ended <- nil // for stop
		w.stop("n1")
		m := w.member["n1"]
		if m.engine = nil; w.openErr("n1") == nil {
			t.Error("it opens again")
		}
	})
}

// openErr opens a member's replica on its disk, and closes it.
func (w *world) openErr(name string) error {
	m := w.member[name]
	e, err := openEngine(m.fs)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	cfg := w.cfg
	cfg.Node, cfg.Placement, cfg.Engine, cfg.Peers = name, w.placed, e, peersOf{w, name}
	cfg.Group = store.GroupID{Keyspace: 7, Shard: 1}
	_, err = Open(cfg)
	return err
}

func TestWhatADeadMemberAloneHadIsLostAndTold(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		c := &closed{world: w}
		before := w.put("n3", "k", "before").Entry
		time.Sleep(time.Second)
		rest := []string{"n1", "n2"}
		w.cut([]string{"n3"}, rest)
		alone := w.put("n3", "k", "alone").Entry
		w.next(left("n3"))
		w.tell("n1")
		time.Sleep(5 * time.Second)
		if n := c.close(); n != 0 {
			t.Errorf("%d actors were closed before all who stay had heard who is out", n)
		}
		w.tell("n2")
		if n := c.close(); n != 1 {
			t.Fatalf("%d actors were closed", n)
		}
		c.learn("n1")
		for _, node := range rest {
			w.read(node, causally("k", before))
		}
		_, err := w.readErr("n1", causally("k", alone))
		w.fails(err, store.WritesLost)
		_, err = w.readErr("n2", causally("k", alone))
		w.fails(err, store.SessionUnreachable)
		// It lives, and does not know.
		w.put("n3", "k", "more")
		w.heal([]string{"n3"}, rest)
		time.Sleep(10 * time.Second)
		c.learn("n2")
		for _, node := range rest {
			w.expect(node, "k", "before")
			_, err := w.readErr(node, causally("k", alone))
			w.fails(err, store.WritesLost)
		}
		w.names = rest
		w.converged()
		w.names = append(rest, "n3")
	})
}

// Who was a member, and comes back in the same process, is another actor: the one it was may
// have been closed meanwhile.
func TestWhoComesBackIsAnotherActor(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		c := &closed{world: w}
		w.put("n3", "k", "v1")
		time.Sleep(time.Second)
		was := w.at("n3").life()
		w.next(leaves("n3"))
		w.tell(w.names...)
		if err := w.leave("n3"); err != nil {
			t.Fatal(err)
		}
		w.next(left("n3"))
		w.tell("n1", "n2")
		if n := c.close(); n != 1 {
			t.Fatalf("%d actors were closed", n)
		}
		c.learn("n1", "n2")
		w.next(joins("n3")) // n3 has not heard that it was out
		w.tell(w.names...)
		c.learn("n3")
		if err := w.catchUp("n3"); err != nil {
			t.Fatal(err)
		}
		w.next(entered("n3"))
		w.tell(w.names...)
		time.Sleep(3 * time.Second)
		w.put("n3", "k", "v2")
		if is := w.at("n3").life(); is == was {
			t.Errorf("it is %s still", is)
		}
		time.Sleep(3 * time.Second)
		w.expect("n1", "k", "v2")
		w.converged()
		// All hear it as what it is now.
		w.anew("n1")
		if n := c.close(); n != 1 {
			t.Errorf("%d actors were closed, want that of n1", n)
		}
	})
}

// What one member holds of an actor, and another does not yet, is not closed (M45).
func TestActorIsNotClosedWhileAMemberLacksSomethingOfIt(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		c := &closed{world: w}
		time.Sleep(time.Second)
		w.set([]string{"n1"}, []string{"n2"}, func(l *link) { l.delay = time.Second })
		time.Sleep(10 * time.Second)
		w.cut([]string{"n1"}, []string{"n3"})
		var entry store.Entry
		for i := range 100 { // so many that n3 leaves them to n2, from which they are on their way to n1
			entry = w.put("n3", fmt.Sprint("k", i), "v").Entry
		}
		time.Sleep(10 * time.Millisecond)
		w.stop("n3")
		w.start("n3")
		w.heal([]string{"n1"}, []string{"n3"})
		for ok := false; !ok; _, ok = w.at("n1").Closing() {
			time.Sleep(5 * time.Millisecond)
		}
		w.expect("n1", "k99")
		w.expect("n2", "k99", "v")
		if n := c.close(); n != 0 {
			t.Errorf("%d actors were closed", n)
		}
		time.Sleep(10 * time.Second)
		c.learn(w.names...)
		w.expect("n1", "k99", "v")
		w.read("n1", causally("k99", entry))
		if n := c.close(); n != 1 {
			t.Errorf("%d actors were closed in the end", n)
		}
	})
}

// TestNothingOfAClosedActorComesUp kills members, with the disk as it was synced, an older
// one, or that of another, cuts links, and closes whenever it may. What is closed at some
// number stays so: no member ever holds more, and all learn it.
func TestNothingOfAClosedActorComesUp(t *testing.T) {
	seeds := uint64(6)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			run(t, 3, Config{Durability: store.OS, LogBytes: 8 << 10}, func(w *world) { closings(&closed{world: w}, seed) })
		})
	}
}

func closings(c *closed, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 4))
	backups := map[string]*vfs.MemFS{}
	type written struct {
		node  string
		disks int // that the node had had
		entry store.Entry
	}
	var entries []written
	disks := map[string]int{}
	actors, lost := 0, 0
	for i := range 300 {
		name := c.names[rng.IntN(3)]
		for range rng.IntN(6) {
			r, err := c.writeErr(name, put(fmt.Sprint("k", rng.IntN(20)), fmt.Sprintf("%d%0200d", i, rng.Uint32())))
			if err != nil {
				c.t.Fatal(err)
			}
			entries = append(entries, written{name, disks[name], r.Entry})
		}
		switch rng.IntN(20) {
		case 0:
			backups[name] = c.member[name].fs.CrashClone(vfs.CrashCloneCfg{})
		case 1:
			if c.crash(name); backups[name] != nil {
				c.member[name].fs = backups[name].CrashClone(vfs.CrashCloneCfg{})
				disks[name]++
			}
			c.start(name)
		case 2, 3, 4, 5, 6:
			c.crash(name)
			c.start(name)
		case 7:
			c.cut([]string{name}, without(c.names, []string{name}))
		case 8, 9:
			c.heal(c.names, c.names)
		case 10, 11, 12:
			time.Sleep(time.Duration(rng.IntN(5000)) * time.Millisecond)
			actors += c.close()
		case 13, 14:
			c.learn(name)
		}
	}
	c.heal(c.names, c.names)
	time.Sleep(20 * time.Second)
	c.learn(c.names...)
	actors += c.close()
	c.learn(c.names...)
	c.converged()
	unknown := 0
	for _, e := range entries {
		_, err := c.readErr("n1", causally("k0", e.entry))
		switch {
		case errors.Is(err, store.WritesLost):
			lost++
		case errors.Is(err, store.SessionUnreachable) && e.disks < disks[e.node]:
			unknown++ // that there was this actor may have gone with the disk
		case err != nil:
			c.t.Errorf("all members are there, and the session of %x is neither served nor told that it is lost: %v", e.entry, err)
		}
	}
	c.t.Logf("%d actors closed by %d closures, %d of %d writes lost, %d unknown", actors, len(c.list), lost, len(entries), unknown)
	if actors < 20 || lost == 0 || lost == len(entries) {
		c.t.Error("nothing is shown")
	}
}

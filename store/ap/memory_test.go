package ap

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

var inMemory = Config{Durability: store.Memory, Policy: store.Siblings}

// again ends a member's process and starts it anew, with what its disk has.
func (w *world) again(name string) {
	w.crash(name)
	w.start(name)
}

// putAll writes so many keys, held by w members each.
func (w *world) putAll(node, prefix string, n int, held store.W) {
	w.t.Helper()
	for i := range n {
		c := put(fmt.Sprint(prefix, i), "v")
		c.W = held
		w.write(node, c)
	}
}

// isEmpty checks that a replica is as one that has not joined yet, whatever it is asked.
func (w *world) isEmpty(name string) {
	w.t.Helper()
	for _, q := range []store.Query{
		{Key: "a0", Level: store.Eventual}, {Key: "a0", Level: store.Causal}, {Key: "a0", Level: store.Quorum},
		{Key: "a0", Level: store.Bounded, Bound: time.Hour}, {Level: store.Eventual, Limit: 10},
	} {
		_, err := w.readErr(name, q)
		w.fails(err, store.Unavailable)
	}
	_, err := w.writeErr(name, put("b", "v"))
	w.fails(err, store.Unavailable)
	retry := put("b", "v")
	retry.Request = store.Request{Session: 9, Number: 1, Retry: true}
	_, err = w.writeErr(name, retry)
	w.fails(err, store.Unknown)
	if s := w.at(name).Status(); s.Ready || s.Detail != emptiedText || s.Emptied == 0 || s.Lost != 0 {
		w.t.Errorf("%s says %+v", name, s)
	}
	if r := w.at(name); r.Holds(encodeDots(nil)) {
		w.t.Errorf("%s vouches for what others depend on", name)
	}
}

func (w *world) apart(name string) (others []string) {
	return slices.DeleteFunc(slices.Clone(w.names), func(n string) bool { return n == name })
}

func TestRestartEmptiesAReplicaInMemoryAndPeersFillIt(t *testing.T) {
	run(t, 3, inMemory, func(w *world) {
		w.putAll("n1", "a", 300, store.WAll)
		w.crash("n3")
		w.cut([]string{"n3"}, []string{"n1", "n2"})
		w.start("n3")
		time.Sleep(30 * time.Second)
		w.isEmpty("n3")
		w.putAll("n1", "while", 10, store.WLocal)
		w.heal([]string{"n3"}, []string{"n1", "n2"})
		time.Sleep(3 * time.Second)
		w.converged()
		w.expect("n3", "a299", "v")
		if s := w.at("n3").Status(); !s.Ready || s.Emptied != 1 || s.Lost != 0 || s.Revision != 310 {
			t.Errorf("it says %+v", s)
		}
		w.putAll("n3", "after", 10, store.WAll)
	})
}

// What only the replica held is gone, and it says how much that is. What a member has that
// could not be reached is not.
func TestWhatWentWithAReplicaInMemoryIsCounted(t *testing.T) {
	run(t, 3, inMemory, func(w *world) {
		w.putAll("n1", "a", 10, store.WAll)
		w.cut([]string{"n1", "n2"}, []string{"n3"})
		w.putAll("n3", "alone", 7, store.WLocal)
		time.Sleep(2 * notePeriod)
		w.crash("n3")
		w.cut([]string{"n1"}, []string{"n2"})
		w.putAll("n1", "b", 5, store.WLocal)
		w.heal([]string{"n2"}, []string{"n3"})
		w.start("n3")
		time.Sleep(5 * time.Second)
		w.expect("n3", "a0", "v")
		w.expect("n3", "alone0")
		lost := func() uint64 { return w.at("n3").Status().Lost }
		if lost() != 7 {
			t.Errorf("%d writes are lost, 7 were", lost())
		}
		time.Sleep(2 * notePeriod)
		w.cut(w.names, w.names)
		w.again("n3") // what it has read of n2 it can lose no more
		w.heal(w.names, w.names)
		time.Sleep(5 * time.Second)
		w.converged()
		if s := w.at("n3").Status(); s.Lost != 7 || s.Emptied != 2 {
			t.Errorf("%d writes are lost in %d restarts, 7 were in 2", s.Lost, s.Emptied)
		}
		for _, name := range []string{"n1", "n2"} {
			if s := w.at(name).Status(); s.Lost != 0 || s.Emptied != 0 {
				t.Errorf("%s says that it lost %d in %d restarts", name, s.Lost, s.Emptied)
			}
		}
	})
}

// A group of which all members were started again is empty, and says so.
func TestGroupInMemoryWhoseMembersAllRestartedSaysSo(t *testing.T) {
	for n := range 3 {
		run(t, n+1, inMemory, func(w *world) {
			w.putAll("n1", "a", 20, store.WAll)
			time.Sleep(2 * notePeriod)
			for _, name := range w.names {
				w.crash(name)
			}
			for _, name := range w.names {
				w.start(name)
			}
			time.Sleep(5 * time.Second)
			w.converged()
			for _, name := range w.names {
				w.expect(name, "a0")
				if s := w.at(name).Status(); !s.Ready || s.Emptied != 1 || s.Lost != 20 {
					t.Errorf("of %d: %s says %+v", n+1, name, s)
				}
			}
			w.putAll(w.names[n], "new", 5, store.WAll)
			w.read(w.names[0], store.Query{Key: "new0", Level: store.Quorum})
		})
	}
}

// As long as one member is not heard, it may be the one that has everything.
func TestReplicaInMemoryWaitsForAMemberThatIsNotHeard(t *testing.T) {
	run(t, 3, inMemory, func(w *world) {
		w.putAll("n1", "a", 20, store.WAll)
		w.cut([]string{"n1"}, []string{"n2", "n3"})
		w.again("n2")
		w.again("n3")
		time.Sleep(10 * time.Minute)
		w.isEmpty("n2")
		w.isEmpty("n3")
		w.heal([]string{"n1"}, []string{"n2", "n3"})
		time.Sleep(5 * time.Second)
		w.converged()
		w.expect("n2", "a19", "v")
	})
}

// What was heard of members at different times does not show that none of them served at
// any one time.
func TestMembersThatWereEmptyOneAfterTheOtherAreNotAllEmpty(t *testing.T) {
	run(t, 3, inMemory, func(w *world) {
		w.putAll("n1", "a", 20, store.WAll)
		w.cut([]string{"n2"}, []string{"n1", "n3"})
		w.again("n1")
		w.again("n3")
		time.Sleep(5 * time.Second) // n1 and n3 hear that the other is empty
		w.cut([]string{"n1"}, []string{"n3"})
		w.heal([]string{"n2"}, []string{"n3"})
		time.Sleep(5 * time.Second)
		w.expect("n3", "a0", "v")
		w.cut([]string{"n2"}, []string{"n3"})
		w.heal([]string{"n2"}, []string{"n1"})
		w.cut([]string{"n1"}, []string{"n2"})
		w.crash("n2")
		w.heal([]string{"n1"}, []string{"n2"})
		w.start("n2")
		time.Sleep(time.Minute)
		w.isEmpty("n1") // it heard that each of the others was empty, and n3 was full meanwhile
		w.isEmpty("n2")
		w.heal(w.names, w.names)
		time.Sleep(5 * time.Second)
		w.converged()
		w.expect("n1", "a0", "v")
	})
}

// A replica that was filled by one member serves. But it may have forgotten what it
// acknowledged in a majority with another, so it does not make a majority with one who
// never knew.
func TestQuorumReadDoesNotCountAReplicaThatForgot(t *testing.T) {
	run(t, 3, inMemory, func(w *world) {
		w.putAll("n1", "a", 5, store.WAll)
		w.cut([]string{"n3"}, []string{"n1", "n2"})
		c := put("k", "v")
		c.W = store.WMajority
		w.write("n1", c)
		w.crash("n2")
		w.cut([]string{"n1"}, []string{"n2", "n3"})
		w.heal([]string{"n2"}, []string{"n3"})
		w.start("n2")
		time.Sleep(5 * time.Second)
		w.expect("n2", "a0", "v")
		w.put("n2", "new", "v")
		for _, name := range []string{"n2", "n3"} {
			_, err := w.readErr(name, store.Query{Key: "k", Level: store.Quorum})
			w.fails(err, store.Unavailable)
		}
		w.heal(w.names, w.names)
		time.Sleep(3 * time.Second)
		for _, name := range w.names {
			if page := w.read(name, store.Query{Key: "k", Level: store.Quorum}); len(page.Items) != 1 {
				t.Errorf("%s does not see what a majority acknowledged", name)
			}
		}
	})
}

// A session that has seen what is gone is told so, and not left waiting; while a member
// is not heard, that may have it.
func TestSessionIsToldThatWhatItSawIsLost(t *testing.T) {
	run(t, 3, inMemory, func(w *world) {
		w.putAll("n1", "a", 5, store.WAll)
		w.cut([]string{"n1"}, []string{"n2", "n3"})
		seen := w.put("n1", "k", "v").Entry
		_, err := w.readErr("n2", store.Query{Key: "k", After: seen})
		w.fails(err, store.SessionUnreachable)
		w.again("n1")
		w.heal(w.names, w.names)
		time.Sleep(3 * time.Second)
		for _, name := range w.names {
			began := time.Now()
			_, err := w.readErr(name, store.Query{Key: "k", After: seen})
			w.fails(err, store.WritesLost)
			c := put("k", "w")
			c.After = seen
			_, err = w.writeErr(name, c)
			w.fails(err, store.WritesLost)
			if took := time.Since(began); took > 2*(heartbeat+100*time.Millisecond) {
				t.Errorf("%s said so after %v", name, took)
			}
			w.expect(name, "a0", "v")
		}
	})
	run(t, 3, Config{Durability: store.OS, Policy: store.Siblings}, func(w *world) {
		w.cut([]string{"n1"}, []string{"n2", "n3"})
		seen := w.put("n1", "k", "v").Entry
		w.again("n1") // whose disk may be put back
		w.heal(w.names, w.names)
		time.Sleep(3 * time.Second)
		_, err := w.readErr("n2", store.Query{Key: "k", After: seen})
		w.fails(err, store.SessionUnreachable)
	})
}

// A replica that is opened again in the same process, because something failed, goes on
// with what it has.
func TestReplicaInMemoryIsNotEmptiedWhileItsProcessLives(t *testing.T) {
	run(t, 1, inMemory, func(w *world) {
		w.putAll("n1", "a", 20, store.WAll)
		m := w.member["n1"]
		m.kill()
		if err := <-m.ended; err != nil {
			t.Fatal(err)
		}
		cfg := m.replica.cfg
		var err error
		if m.replica, err = Open(cfg); err != nil {
			t.Fatal(err)
		}
		w.run("n1", m.replica)
		time.Sleep(time.Second)
		w.expect("n1", "a19", "v")
		w.read("n1", store.Query{Key: "a19", Level: store.Quorum})
		if s := w.at("n1").Status(); s.Emptied != 0 || s.Lost != 0 {
			t.Errorf("it says %+v", s)
		}
	})
}

// Nothing of a write is on the disk.
func TestReplicaInMemoryKeepsOnlyItsNoteOnDisk(t *testing.T) {
	run(t, 1, inMemory, func(w *world) {
		w.putAll("n1", "a", 100, store.WAll)
		time.Sleep(2 * notePeriod)
		view := w.at("n1").marks.View()
		defer view.Close()
		var err error
		var rows []byte
		for key := range view.Scan(nil, nil, &err) {
			rows = append(rows, key[0])
		}
		if err != nil || string(rows) != "hn" {
			t.Errorf("the disk has the rows %q, %v", rows, err)
		}
	})
}

// Members are ended one after the other, each when the one before it is full again, under
// writes that a majority holds: none of them is lost.
func TestWritesOfAMajoritySurviveRestartsInTurn(t *testing.T) {
	run(t, 3, inMemory, func(w *world) {
		rng := rand.New(rand.NewPCG(1, 2))
		acked := map[string]bool{}
		for round := range 60 {
			victim := w.names[rng.IntN(3)]
			for i := range 1 + rng.IntN(20) {
				c := put(fmt.Sprint(round, ".", i), "v")
				c.W = store.WMajority
				if _, err := w.writeErr(w.names[rng.IntN(3)], c); err == nil {
					acked[c.Key] = true
				}
			}
			if rng.IntN(3) == 0 {
				others := w.apart(victim)
				w.cut([]string{victim}, others)
				w.crash(victim)
				time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
				w.start(victim)
				w.heal([]string{victim}, others)
			} else {
				w.again(victim)
			}
			for !w.at(victim).isWhole() {
				time.Sleep(10 * time.Millisecond)
			}
		}
		time.Sleep(5 * time.Second)
		w.converged()
		for key := range acked {
			w.expect("n1", key, "v")
		}
		if len(acked) < 300 {
			t.Errorf("only %d writes were acknowledged", len(acked))
		}
	})
}

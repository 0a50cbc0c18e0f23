package ap

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// shortLog makes a member that was away for long be sent a snapshot.
func shortLog(cfg Config) (Config, *merges) {
	m := &merges{}
	cfg.LogBytes = 16 << 10
	cfg.Events.Installed = func(_ string, rows, changed int, _ time.Duration) {
		m.installed.Add(1)
		m.rows.Add(int64(rows))
		m.changed.Add(int64(changed))
	}
	return cfg, m
}

type merges struct{ installed, rows, changed atomic.Int64 }

func (w *world) delete(node, key string) {
	w.t.Helper()
	w.write(node, store.Command{Op: store.Delete, Key: key})
}

// fill puts n keys, each of 100 bytes, at a node, at a pace that its peers can follow.
func (w *world) fill(node, prefix string, n int) {
	w.t.Helper()
	for i := range n {
		w.put(node, fmt.Sprintf("%s%04d", prefix, i), fmt.Sprint(prefix, i, strings.Repeat(".", 100)))
		time.Sleep(time.Millisecond)
	}
}

func TestLogIsCutBehindWhatEveryMemberHolds(t *testing.T) {
	cfg, merged := shortLog(Config{})
	run(t, 3, cfg, func(w *world) {
		w.fill("n1", "k", 2000)
		time.Sleep(30 * time.Second)
		for _, name := range w.names {
			if size := w.at(name).state.size(); size > cfg.LogBytes/4 {
				t.Errorf("the log of %s has %d bytes, all of them held by everybody", name, size)
			}
			if n := w.rows(name, rowCut); n > cutsPerLog {
				t.Errorf("%s may cut its log in %d places", name, n)
			}
		}
		if n := merged.installed.Load(); n > 0 {
			t.Errorf("%d snapshots among members that were never away", n)
		}
		w.converged()
	})
}

func TestLogIsBoundedWhileAMemberIsAway(t *testing.T) {
	cfg, _ := shortLog(Config{})
	run(t, 3, cfg, func(w *world) {
		w.stop("n3")
		w.fill("n1", "k", 2000)
		if size := w.at("n1").state.size(); size > cfg.LogBytes+1024 {
			t.Errorf("the log has %d bytes, the limit is %d", size, cfg.LogBytes)
		}
	})
}

// A month without a member, in which everything that it holds was deleted and nobody
// remembers that there was something to delete.
func TestNothingThatWasDeletedComesBackWithAMemberThatWasAway(t *testing.T) {
	cfg, merged := shortLog(Config{})
	run(t, 3, cfg, func(w *world) {
		w.fill("n3", "k", 300)
		time.Sleep(10 * time.Second) // by a snapshot, as its log is short
		w.converged()
		w.stop("n3")
		for i := range 300 {
			w.delete("n1", fmt.Sprintf("k%04d", i))
		}
		w.fill("n1", "x", 300) // the deletes leave the log
		time.Sleep(time.Second)
		for i := range 300 {
			w.delete("n2", fmt.Sprintf("x%04d", i))
		}
		time.Sleep(time.Hour)
		for _, name := range []string{"n1", "n2"} { // a month of heartbeats takes long even here
			w.stop(name)
		}
		time.Sleep(30 * 24 * time.Hour)
		for _, name := range w.names {
			w.start(name)
		}
		time.Sleep(10 * time.Second)
		if merged.installed.Load() == 0 {
			t.Error("the member was sent no snapshot")
		}
		for _, name := range w.names {
			if n := w.rows(name, rowKey); n > 0 {
				t.Errorf("%d of the deleted keys are at %s", n, name)
			}
			if n := w.rows(name, rowStaged); n > 0 {
				t.Errorf("%s still has %d staged rows", name, n)
			}
		}
		w.converged()
	})
}

// Both sides forget what the other lacks.
// A write is stamped above all that its coordinator has applied, also above what came by a
// snapshot and left nothing in it.
func TestStampsGoOnAboveWhatASnapshotDoesNotShow(t *testing.T) {
	cfg, merged := shortLog(Config{})
	run(t, 2, cfg, func(w *world) {
		w.stop("n2")
		w.skew("n1", time.Hour) // alone it stamps with its own clock
		w.fill("n1", "k", 300)
		for i := range 300 {
			w.delete("n1", fmt.Sprintf("k%04d", i))
		}
		last := func(name string) (is causal.Stamp) {
			if err := w.at(name).run(func() error { is = w.at(name).state.clock.Last(); return nil }); err != nil {
				t.Fatal(err)
			}
			return is
		}
		deleted := last("n1")
		w.skew("n1", 0)
		w.start("n2")
		time.Sleep(10 * time.Second)
		if merged.installed.Load() == 0 {
			t.Error("the member was sent no snapshot")
		}
		w.put("n2", "next", "v")
		if is := last("n2"); is <= deleted {
			t.Errorf("the write is stamped %v, a delete before it %v", is.Time(), deleted.Time())
		}
	})
}

func TestSidesThatBothCutTheirLogsMeetByMerging(t *testing.T) {
	cfg, merged := shortLog(Config{Policy: store.Siblings})
	run(t, 4, cfg, func(w *world) {
		w.fill("n1", "k", 50)
		time.Sleep(time.Second)
		left, right := []string{"n1", "n2"}, []string{"n3", "n4"}
		w.cut(left, right)
		time.Sleep(2 * silence) // until the streams that are held have ended
		for i := range 300 {
			w.write("n1", store.Command{Op: store.Put, Key: fmt.Sprintf("a%04d", i), Value: []byte(strings.Repeat("a", 100))})
			w.write("n4", store.Command{Op: store.Put, Key: fmt.Sprintf("b%04d", i), Value: []byte(strings.Repeat("b", 100))})
			time.Sleep(time.Millisecond)
		}
		both := store.Command{Op: store.Put, Key: "both", Blind: true}
		both.Value = []byte("left")
		w.write("n2", both)
		both.Value = []byte("right")
		w.write("n3", both)
		read := w.read("n3", store.Query{Key: "k0001"})
		w.write("n3", store.Command{Op: store.Delete, Key: "k0001", Context: read.Context})
		w.heal(left, right)
		time.Sleep(15 * time.Second)
		if merged.installed.Load() < 2 {
			t.Errorf("%d snapshots were merged", merged.installed.Load())
		}
		w.converged()
		for _, name := range w.names {
			w.expect(name, "k0001")
			if got := w.get(name, "both"); len(got) != 2 {
				t.Errorf("both at %s is %q", name, got)
			}
			if n := w.rows(name, rowKey); n != 650 {
				t.Errorf("%s has %d keys", name, n)
			}
		}
	})
}

// While a snapshot comes in slowly the member reads and writes as before.
func TestMemberTakesWritesWhileItIsSentASnapshot(t *testing.T) {
	cfg, merged := shortLog(Config{})
	run(t, 2, cfg, func(w *world) {
		w.stop("n2")
		w.fill("n1", "k", 1500)
		w.set([]string{"n1"}, []string{"n2"}, func(l *link) { l.delay = 400 * time.Millisecond })
		w.start("n2")
		for i := range 100 {
			began := time.Now()
			w.put("n2", fmt.Sprintf("own%02d", i), "v")
			w.put("n2", "k0007", fmt.Sprint("newer", i)) // replaces what n2 has of it, if anything
			if took := time.Since(began); took > 100*time.Millisecond {
				t.Errorf("write %d took %v", i, took)
			}
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(20 * time.Second)
		if merged.installed.Load() == 0 {
			t.Error("no snapshot was merged")
		}
		w.converged()
		w.expect("n1", "own99", "v")
		if n := w.rows("n2", rowKey); n != 1600 {
			t.Errorf("n2 has %d keys", n)
		}
	})
}

// What a member has not had travels; of the rest, names.
func TestSnapshotOfWhatIsKnownIsSmall(t *testing.T) {
	cfg, merged := shortLog(Config{})
	run(t, 2, cfg, func(w *world) {
		w.fill("n1", "k", 400)
		time.Sleep(time.Second)
		w.stop("n2")
		for range 3 { // three times the log, all on one key
			for range 100 {
				w.put("n1", "hot", strings.Repeat("h", 200))
			}
		}
		w.start("n2")
		time.Sleep(10 * time.Second)
		if got := []int64{merged.installed.Load(), merged.rows.Load(), merged.changed.Load()}; !slices.Equal(got, []int64{1, 401, 1}) {
			t.Errorf("%d snapshots of %d rows, of which %d changed something", got[0], got[1], got[2])
		}
		w.converged()
	})
}

func TestWritesOfEverybodyThroughCutsCrashesAndSnapshots(t *testing.T) {
	cfg, merged := shortLog(Config{Policy: store.Siblings})
	cfg.LogBytes = 4 << 10
	run(t, 3, cfg, func(w *world) {
		acked := map[string]string{}
		for round := range 12 {
			away := w.names[round%3]
			others := slices.DeleteFunc(slices.Clone(w.names), func(n string) bool { return n == away })
			w.cut([]string{away}, others)
			for i := range 60 {
				for side, node := range []string{away, others[round%2]} {
					key := fmt.Sprintf("r%d-%d-%d", round, side, i)
					w.put(node, key, strings.Repeat(key, 10))
					acked[key] = strings.Repeat(key, 10)
				}
			}
			w.crash(others[0])
			w.start(others[0])
			w.heal([]string{away}, others)
			time.Sleep(10 * time.Second)
		}
		if merged.installed.Load() < 6 {
			t.Errorf("%d snapshots in twelve rounds", merged.installed.Load())
		}
		w.converged()
		for key, value := range acked {
			w.expect("n2", key, value)
		}
	})
}

// A crash in the middle of an install, at every point of it.
func TestInstallThatWasInterruptedIsEndedBeforeAnythingIsServed(t *testing.T) {
	const keys = 12
	theirs := causal.Vector{8: keys}
	for done := range keys + 1 {
		fs := vfs.NewMem()
		e, err := engine.Open(engine.Config{Dir: "data", FS: fs, MemTable: 256 << 10, Cache: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		space := e.Space(store.GroupID{Keyspace: 7}, 'a')
		s := staged(t, space, keys, theirs)
		dependent := protoVector(theirs)
		dependent.Deps = seenOf(t, 100, 4).Encode()
		note, _ := proto.Marshal(dependent)
		s.begin()
		s.batch.Set([]byte{rowInstall}, note)
		for i := range done { // of which so many are merged already
			row, _, err := space.Get(append([]byte{rowStaged}, fmt.Sprintf("k%02d", i)...))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.mergeRow(fmt.Sprintf("k%02d", i), row, theirs); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.batch.Commit(true); err != nil {
			t.Fatal(err)
		}
		again, err := load(space, 1<<20, 0)
		if err != nil {
			t.Fatal(err)
		}
		if !again.vector.Covers(theirs) || again.vector[5] != keys {
			t.Errorf("after %d rows and a restart the vector is %s", done, again.vector)
		}
		if !same(again.deps, seenOf(t, 100, 4)) {
			t.Errorf("after %d rows and a restart it depends on %x", done, again.deps.Encode())
		}
		for i := range keys {
			again.begin()
			siblings, err := again.siblings(fmt.Sprintf("k%02d", i))
			again.drop()
			if err != nil || len(siblings) != 1 || siblings[0].Dot.Actor != 8 {
				t.Errorf("after %d rows and a restart k%02d is %v, %v", done, i, siblings, err)
			}
		}
		if _, found, _ := space.Get([]byte{rowInstall}); found {
			t.Error("the note is still there")
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// staged is a state with keys of actor 5, of which a peer has superseded all by keys of
// actor 8, whose rows are staged.
func staged(t *testing.T, space *engine.Space, keys int, theirs causal.Vector) *state {
	s, err := load(space, 1<<20, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.begin()
	for i := range keys {
		key := fmt.Sprintf("k%02d", i)
		e := &entry{key: key, Write: causal.Write{Dot: causal.Dot{Actor: 5, N: uint64(i + 1)}, Stamp: 1, Value: []byte("old")}}
		if err := e.encode(); err != nil {
			t.Fatal(err)
		}
		if err := s.apply(e); err != nil {
			t.Fatal(err)
		}
		row, err := encodeSiblings([]causal.Sibling{{Dot: causal.Dot{Actor: 8, N: uint64(i + 1)}, Stamp: 2, Value: []byte("new")}})
		if err != nil {
			t.Fatal(err)
		}
		s.batch.Set(append([]byte{rowStaged}, key...), row)
	}
	theirs[5] = uint64(keys)
	if err := s.commit(true); err != nil {
		t.Fatal(err)
	}
	return s
}

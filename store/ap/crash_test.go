package ap

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

func TestEveryLifeHasAnActorOfItsOwn(t *testing.T) {
	run(t, 1, Config{Durability: store.OS}, func(w *world) {
		actors := map[causal.Actor]bool{}
		for i := range 10 {
			actors[w.at("n1").life()] = true
			w.put("n1", "k", fmt.Sprint(i))
			w.crash("n1")
			w.start("n1")
		}
		if len(actors) != 10 || actors[0] {
			t.Errorf("ten lives had the actors %v", actors)
		}
	})
}

// What is lost with a power cut is the coordinator's own tail. If a peer had it,
// it comes back; and no dot ever names two writes.
func TestLostTailComesBackFromPeers(t *testing.T) {
	run(t, 2, Config{Durability: store.OS}, func(w *world) {
		w.put("n1", "spread", "v")
		time.Sleep(time.Second)
		w.cut([]string{"n1"}, []string{"n2"})
		session := w.put("n1", "alone", "v").Entry
		w.crash("n1")
		w.start("n1")
		w.put("n1", "new", "v")
		w.expect("n1", "spread")
		w.heal([]string{"n1"}, []string{"n2"})
		time.Sleep(5 * time.Second)
		w.converged()
		w.expect("n1", "spread", "v")
		w.expect("n2", "new", "v")
		w.expect("n2", "alone")
		_, err := w.readErr("n1", store.Query{Key: "alone", After: session})
		w.fails(err, store.SessionUnreachable)
	})
}

// Stamps stay above those of the writes that survived, though the clock went back.
func TestStampsDoNotFallAcrossARestart(t *testing.T) {
	var skew atomic.Int64
	cfg := Config{Clock: func() time.Time { return time.Now().Add(time.Duration(skew.Load())) }}
	run(t, 1, cfg, func(w *world) {
		stamp := func() uint64 {
			return w.read("n1", store.Query{Key: "k", Siblings: true}).Items[0].Siblings[0].Stamp
		}
		w.put("n1", "k", "before")
		before := stamp()
		w.crash("n1")
		skew.Store(int64(-time.Hour))
		w.start("n1")
		w.put("n1", "k", "after")
		if stamp() <= before {
			t.Errorf("the stamp fell from %x to %x", before, stamp())
		}
	})
}

func TestAcknowledgedWritesSurvivePowerCuts(t *testing.T) {
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	run(t, 3, Config{Policy: store.Siblings}, func(w *world) {
		rng := rand.New(rand.NewPCG(1, 2))
		acked := map[string]bool{}
		var mu sync.Mutex
		for round := range rounds {
			var writers sync.WaitGroup
			for i := range 12 {
				node := w.names[i%3]
				writers.Go(func() {
					for n := range 10 {
						key := fmt.Sprintf("%d/%d/%d", round, i, n)
						if _, err := w.writeErr(node, put(key, key)); err == nil {
							mu.Lock()
							acked[key] = true
							mu.Unlock()
						}
					}
				})
			}
			victim := w.names[rng.IntN(3)]
			time.Sleep(time.Duration(rng.IntN(3)) * time.Millisecond)
			w.member[victim].kill()
			writers.Wait()
			w.crash(victim)
			w.start(victim)
		}
		time.Sleep(5 * time.Second)
		w.converged()
		lost := 0
		for key := range acked {
			if !slices.Equal(w.get("n1", key), []string{key}) {
				lost++
			}
		}
		if lost > 0 || len(acked) < 100 {
			t.Errorf("of %d acknowledged writes %d are lost", len(acked), lost)
		}
	})
}

func TestMemberThatWasAwayGetsExactlyWhatItLacks(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		for i := range 200 {
			w.put("n1", fmt.Sprint("before", i), "v")
		}
		time.Sleep(time.Second)
		w.stop("n3")
		for i := range 200 {
			w.put("n2", fmt.Sprint("while", i), "v")
		}
		w.start("n3")
		time.Sleep(3 * time.Second)
		w.converged()
		if got := w.at("n3").Status().Revision; got != 400 {
			t.Errorf("n3 has applied %d writes", got)
		}
	})
}

func TestCursorBeginsNearWhatThePeerLacks(t *testing.T) {
	run(t, 1, Config{}, func(w *world) {
		r := w.at("n1")
		for i := range 3*milestone + 10 {
			w.put("n1", fmt.Sprint(i), "v")
		}
		v, _, err := r.views.acquire()
		if err != nil {
			t.Fatal(err)
		}
		defer r.views.release(v)
		for have, want := range map[uint64]uint64{
			0:                0,
			milestone - 1:    0,
			milestone:        milestone,
			2*milestone + 17: 2 * milestone,
			3*milestone + 10: 3*milestone + 10,
		} {
			got, err := cursorOf(v, causal.Vector{r.life(): have})
			if err != nil || got != want {
				t.Errorf("with %d the cursor begins behind %d, want %d (%v)", have, got, want, err)
			}
		}
	})
}

func TestWritesCutsAndReadsAtOnce(t *testing.T) {
	for _, policy := range []store.Policy{store.LWW, store.Siblings} {
		run(t, 3, Config{Policy: policy}, func(w *world) {
			var clients sync.WaitGroup
			for i := range 9 {
				clients.Go(func() { w.client(uint64(i), w.names[i%3], policy) })
			}
			for i := range 6 {
				lonely := w.names[i%3]
				others := slices.DeleteFunc(slices.Clone(w.names), func(n string) bool { return n == lonely })
				w.cut([]string{lonely}, others)
				time.Sleep(4 * time.Second)
				w.heal([]string{lonely}, others)
				time.Sleep(time.Second)
			}
			clients.Wait()
			time.Sleep(5 * time.Second)
			w.converged()
		})
	}
}

// client writes, deletes and reads a few keys, always within what it has seen.
func (w *world) client(seed uint64, node string, policy store.Policy) {
	rng := rand.New(rand.NewPCG(seed, 3))
	var session store.Entry
	for n := range 150 {
		key := fmt.Sprint("k", rng.IntN(4))
		page, err := w.readErr(node, store.Query{Key: key, After: session})
		if err != nil {
			w.t.Errorf("read at %s: %v", node, err)
			return
		}
		c := put(key, fmt.Sprintf("%d/%d", seed, n))
		if rng.IntN(4) == 0 {
			c.Op, c.Value = store.Delete, nil
		}
		if policy == store.Siblings || rng.IntN(2) == 0 {
			c.Context = page.Context
		}
		c.After = page.Entry
		result, err := w.writeErr(node, c)
		if err != nil {
			w.t.Errorf("write at %s: %v", node, err)
			return
		}
		session = result.Entry
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
	}
}

// A process that is killed takes up with a new actor, whatever its disk has lost and
// wherever the disk is from: so no write has the name of another, which others would take
// for one they have (riak_kv #679).
func TestNoDotIsUsedTwiceThroughAThousandKills(t *testing.T) {
	kills := 1000
	if testing.Short() {
		kills = 50
	}
	run(t, 3, Config{Durability: store.OS}, func(w *world) {
		rng := rand.New(rand.NewPCG(1, 2))
		used := map[string]string{} // dot → key and value
		backups := map[string]*vfs.MemFS{}
		for i := range kills {
			name := w.names[rng.IntN(3)]
			for j := range 1 + rng.IntN(5) {
				key, value := fmt.Sprint("k", rng.IntN(20)), fmt.Sprint(i, ".", j)
				r, err := w.writeErr(name, put(key, value))
				if err != nil {
					t.Fatal(err)
				}
				if other, twice := used[string(r.Entry)]; twice {
					t.Fatalf("%x is %s and %s=%s", r.Entry, other, key, value)
				}
				used[string(r.Entry)] = key + "=" + value
			}
			switch rng.IntN(20) {
			case 0: // a backup is taken
				backups[name] = w.member[name].fs.CrashClone(vfs.CrashCloneCfg{})
			case 1: // an old one is put back
				if w.crash(name); backups[name] != nil {
					w.member[name].fs = backups[name].CrashClone(vfs.CrashCloneCfg{})
				}
				w.start(name)
			case 2: // the disk of another is copied
				other := w.names[rng.IntN(3)]
				w.crash(name)
				w.member[name].fs = w.member[other].fs.CrashClone(vfs.CrashCloneCfg{})
				w.start(name)
			default:
				w.crash(name)
				w.start(name)
			}
			if rng.IntN(5) == 0 {
				time.Sleep(time.Second)
			}
		}
		time.Sleep(20 * time.Second)
		w.converged()
		t.Logf("%d writes through %d kills", len(used), kills)
	})
}

// manyKeys is for runs by hand: a million takes minutes and some gigabytes of memory.
var manyKeys = flag.Int("ap.keys", 10_000, "the most keys among which a member catches up")

// What a member lacks is what it is sent, once, however many keys there are.
func TestCatchUpSendsWhatIsMissingAndLittleElse(t *testing.T) {
	for _, keys := range []int{100, *manyKeys} {
		run(t, 3, Config{}, func(w *world) {
			const round = 10_000 // so that the others can follow
			for first := 0; first < keys; first += round {
				w.load("n1", first, min(first+round, keys))
				time.Sleep(5 * time.Second)
			}
			w.stop("n3")
			before := w.at("n1").state.bytes
			w.load("n1", 0, 100)
			time.Sleep(5 * time.Second)
			missing := w.at("n1").state.bytes - before
			since := w.sentTo("n3")
			w.start("n3")
			time.Sleep(2 * time.Second)
			w.alike()
			got := w.sentTo("n3") - since
			t.Logf("%d keys: %d bytes were missing, %d were sent", keys, missing, got)
			if float64(got) > 1.2*float64(missing)+4096 {
				t.Errorf("%d keys: %d bytes were missing, %d were sent", keys, missing, got)
			}
			since = w.sentTo("n3")
			time.Sleep(10 * time.Second)
			if idle := w.sentTo("n3") - since; idle > 10*1024 {
				t.Errorf("%d keys: in ten idle seconds %d bytes were sent", keys, idle)
			}
		})
	}
}

// load writes the keys from first up to end at a member.
func (w *world) load(node string, first, end int) {
	w.t.Helper()
	const writers = 100
	value := []byte(strings.Repeat("v", 256))
	var all sync.WaitGroup
	for n := range writers {
		all.Go(func() {
			for i := first + n; i < end; i += writers {
				w.write(node, store.Command{Op: store.Put, Key: fmt.Sprintf("key-%016d", i), Value: value})
			}
		})
	}
	all.Wait()
}

// sentTo is how many bytes of streams were sent to a member so far.
func (w *world) sentTo(name string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for way, bytes := range w.sent {
		if way[1] == name {
			n += bytes
		}
	}
	return n
}

// alike is converged for more than fits into a dump.
func (w *world) alike() {
	w.t.Helper()
	first := w.digests(w.names[0])
	for _, name := range w.names[1:] {
		if d := w.digests(name); string(d.Entry) != string(first.Entry) || len(differ(first, d)) > 0 {
			w.t.Errorf("%s at %s and %s at %s differ in the buckets %v", name, d.Vector, w.names[0], first.Vector, differ(first, d))
		}
	}
}

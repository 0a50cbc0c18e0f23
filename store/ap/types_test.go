package ap

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

func incr(key string, delta int64) store.Command {
	return store.Command{Op: store.Increment, Key: key, Delta: delta}
}

func erase(key string) store.Command { return store.Command{Op: store.Delete, Key: key} }

// putField puts a member of a set or a field of a map.
func putField(key, field, value string) store.Command {
	c := store.Command{Op: store.Put, Key: key, Field: field}
	if value != "" {
		c.Value = []byte(value)
	}
	return c
}

func removeField(key, field string) store.Command {
	return store.Command{Op: store.Delete, Key: key, Field: field}
}

func TestCounterAddsUpWhatAllSidesOfACutCounted(t *testing.T) {
	run(t, 3, Config{Policy: store.Counter}, func(w *world) {
		w.write("n1", incr("k", 5))
		time.Sleep(time.Second)
		w.cut([]string{"n1"}, []string{"n2", "n3"})
		for range 10 {
			w.write("n1", incr("k", 2))
			w.write("n2", incr("k", -3))
		}
		w.expect("n1", "k", "25")
		w.expect("n2", "k", "-25")
		w.heal([]string{"n1"}, []string{"n2", "n3"})
		time.Sleep(5 * time.Second)
		for _, name := range w.names {
			w.expect(name, "k", "-5")
			if page := w.read(name, store.Query{Key: "k", Level: store.Quorum}); string(page.Items[0].Values[0]) != "-5" {
				t.Errorf("a quorum shows %q", page.Items[0].Values)
			}
		}
		w.converged()
	})
}

func TestWatchAndScanOfCountersShowTheirSums(t *testing.T) {
	run(t, 2, Config{Policy: store.Counter}, func(w *world) {
		changes := w.watch("n2", everything)
		w.write("n1", incr("k", 5))
		w.write("n1", incr("k", 2))
		time.Sleep(time.Second)
		w.write("n2", incr("k", -3))
		time.Sleep(time.Second)
		w.write("n1", erase("k"))
		time.Sleep(time.Second)
		w.write("n1", incr("k", 1))
		w.write("n1", incr("other", 9))
		w.write("n1", erase("other"))
		w.shows(w.changesOf(changes, 7), "k=[5]", "k=[7]", "k=[4]", "k=[]", "k=[1]", "other=[9]", "other=[]")
		page := w.read("n2", store.Query{Limit: 10})
		if len(page.Items) != 1 || string(page.Items[0].Values[0]) != "1" {
			t.Errorf("a scan shows %+v", page.Items)
		}
		if n := w.read("n2", store.Query{Count: true}).Count; n != 1 {
			t.Errorf("a scan counts %d keys, one is deleted", n)
		}
	})
}

// The increments that were made meanwhile stay, and no other, whichever way each side
// hears of the other: by its log, or by its whole state.
func TestDeleteOfACounterTakesWhatItsReplicaHad(t *testing.T) {
	for name, logBytes := range map[string]uint64{"by the log": 0, "by a snapshot": 2 << 10} {
		t.Run(name, func(t *testing.T) {
			cfg, merged := shortLog(Config{Policy: store.Counter})
			cfg.LogBytes = logBytes
			run(t, 3, cfg, func(w *world) {
				w.write("n1", incr("k", 10))
				w.write("n2", incr("k", 100))
				time.Sleep(time.Second)
				w.cut([]string{"n1"}, []string{"n2", "n3"})
				w.write("n1", incr("k", 1))
				w.write("n3", erase("k"))
				w.expect("n3", "k")
				w.write("n3", erase("k")) // again, of nothing
				w.write("n2", incr("k", 1000))
				for i := range 100 {
					w.write("n1", incr(fmt.Sprint("one", i), 1))
					w.write("n2", incr(fmt.Sprint("two", i), 1))
				}
				time.Sleep(30 * time.Second)
				w.heal([]string{"n1"}, []string{"n2", "n3"})
				time.Sleep(10 * time.Second)
				for _, name := range w.names {
					w.expect(name, "k", "1001")
				}
				w.converged()
				if some := merged.installed.Load() > 0; some != (logBytes > 0) {
					t.Errorf("%d snapshots", merged.installed.Load())
				}
				w.write("n1", incr("k", 1))
				w.write("n2", incr("k", 1))
				time.Sleep(time.Second)
				w.expect("n3", "k", "1003")
			})
		})
	}
}

func TestDeletedCountersLeaveNothingOnceAllMembersKnow(t *testing.T) {
	run(t, 3, Config{Policy: store.Counter}, func(w *world) {
		for i := range 50 {
			for _, name := range w.names {
				w.write(name, incr(fmt.Sprint("k", i), 1))
			}
		}
		time.Sleep(time.Second)
		w.cut([]string{"n3"}, []string{"n1", "n2"})
		for i := range 50 {
			w.write("n1", erase(fmt.Sprint("k", i)))
		}
		time.Sleep(time.Hour)
		if n := w.rows("n1", rowKey); n != 50 {
			t.Errorf("n1 keeps %d of the 50 deletes that n3 has not heard of", n)
		}
		if page := w.read("n1", store.Query{Limit: 10}); len(page.Items) > 0 {
			t.Errorf("a scan shows %v", page.Items)
		}
		w.heal([]string{"n3"}, []string{"n1", "n2"})
		time.Sleep(3 * viewAge)
		for _, name := range w.names {
			if keys, gone := w.rows(name, rowKey), w.rows(name, rowGone); keys+gone > 0 {
				t.Errorf("%s keeps %d rows and %d names of deleted counters", name, keys, gone)
			}
		}
	})
}

func TestCountersThroughCutsCrashesAndSnapshots(t *testing.T) {
	cfg, merged := shortLog(Config{Policy: store.Counter})
	cfg.LogBytes = 4 << 10
	run(t, 3, cfg, func(w *world) {
		sums := map[string]int64{}
		for round := range 12 {
			away := w.names[round%3]
			others := slices.DeleteFunc(slices.Clone(w.names), func(n string) bool { return n == away })
			w.cut([]string{away}, others)
			for i := range 60 {
				for side, node := range []string{away, others[round%2]} {
					key, delta := fmt.Sprint("k", i%7), int64(i*(side*3-1))
					sums[key] += delta
					w.write(node, incr(key, delta))
					w.write(node, incr("erased", 1))
				}
				if i%20 == round {
					w.write(away, erase("erased"))
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
		for key, sum := range sums {
			w.expect("n2", key, strconv.FormatInt(sum, 10))
		}
	})
}

func TestCounterRefusesWhatItCannotHold(t *testing.T) {
	run(t, 2, Config{Policy: store.Counter}, func(w *world) {
		w.write("n1", incr("k", math.MaxInt64))
		for _, c := range []store.Command{incr("k", 1), {Op: store.Increment, Key: "k", Delta: math.MaxInt64}} {
			_, err := w.writeErr("n1", c)
			w.fails(err, store.Invalid)
		}
		_, err := w.writeErr("n1", put("k", "7"))
		w.fails(err, store.Unsupported)
		w.expect("n1", "k", fmt.Sprint(int64(math.MaxInt64)))
		w.cut([]string{"n1"}, []string{"n2"})
		time.Sleep(time.Second)
		w.write("n2", incr("j", math.MaxInt64))
		w.write("n1", incr("j", math.MaxInt64))
		w.heal([]string{"n1"}, []string{"n2"})
		time.Sleep(5 * time.Second)
		w.expect("n1", "j", "18446744073709551614") // both were promised to count
		w.expect("n2", "j", "18446744073709551614")
		w.write("n1", incr("j", -math.MaxInt64))
		w.expect("n1", "j", fmt.Sprint(int64(math.MaxInt64)))
	})
}

func TestIncrementThatIsRepeatedCountsOnceAndSaysTheSame(t *testing.T) {
	run(t, 1, Config{Policy: store.Counter}, func(w *world) {
		c := incr("k", 3)
		c.Request = store.Request{Session: 9, Number: 1, Lowest: 1}
		first := w.write("n1", c)
		w.write("n1", incr("k", 4))
		c.Request.Retry = true
		for again := range 2 {
			if r := w.write("n1", c); string(r.Value) != "3" || string(first.Value) != "3" {
				t.Errorf("the sum was %q, and is %q when repeated", first.Value, r.Value)
			}
			if again == 0 {
				w.crash("n1")
				w.start("n1")
			}
		}
		w.expect("n1", "k", "7")
	})
}

func TestAddOfAMemberWinsOverAConcurrentRemove(t *testing.T) {
	run(t, 3, Config{Policy: store.Set}, func(w *world) {
		for _, member := range []string{"pear", "apple", "fig", "Äpfel"} {
			w.write("n1", putField("k", member, ""))
		}
		time.Sleep(time.Second)
		w.cut([]string{"n1"}, []string{"n2", "n3"})
		w.write("n1", putField("k", "fig", ""))
		if r := w.write("n2", removeField("k", "fig")); !r.Found {
			t.Error("the member that was removed was not found")
		}
		w.write("n3", removeField("k", "apple"))
		if r := w.write("n3", removeField("k", "plum")); r.Found {
			t.Error("a member that is not there was found")
		}
		w.write("n2", putField("k", "plum", ""))
		w.heal([]string{"n1"}, []string{"n2", "n3"})
		time.Sleep(5 * time.Second)
		for _, name := range w.names {
			w.expect(name, "k", "fig", "pear", "plum", "Äpfel")
		}
		w.converged()
		w.write("n2", erase("k"))
		time.Sleep(time.Second)
		for _, name := range w.names {
			w.expect(name, "k")
			if n := w.rows(name, rowKey); n > 0 {
				t.Errorf("%s keeps %d rows", name, n)
			}
		}
	})
}

func TestFieldOfAMapIsARegister(t *testing.T) {
	run(t, 3, Config{Policy: store.Map}, func(w *world) {
		w.write("n1", putField("k", "b", "1"))
		w.write("n1", putField("k", "a", "2"))
		w.write("n1", putField("k", "c", "3"))
		time.Sleep(time.Second)
		w.cut([]string{"n1"}, []string{"n2", "n3"})
		w.write("n1", putField("k", "a", "one"))
		w.write("n1", putField("k", "c", "kept"))
		time.Sleep(time.Second)
		w.write("n2", putField("k", "a", "later"))
		w.write("n2", removeField("k", "c"))
		w.write("n3", removeField("k", "b"))
		w.heal([]string{"n1"}, []string{"n2", "n3"})
		time.Sleep(5 * time.Second)
		for _, name := range w.names {
			page := w.read(name, store.Query{Key: "k", Siblings: true})
			if item := page.Items[0]; !slices.Equal(item.Fields, []string{"a", "c"}) || string(item.Values[0]) != "later" || string(item.Values[1]) != "kept" || len(item.Siblings) != 3 {
				t.Errorf("%s shows %q %q, of %d siblings", name, item.Fields, item.Values, len(item.Siblings))
			}
		}
		w.converged()
		page := w.read("n1", store.Query{Key: "k", Level: store.Quorum})
		if !slices.Equal(page.Items[0].Fields, []string{"a", "c"}) {
			t.Errorf("a quorum shows %q", page.Items[0].Fields)
		}
	})
}

func TestSetsAndMapsHaveLimits(t *testing.T) {
	run(t, 1, Config{Policy: store.Map}, func(w *world) {
		for i := range store.MaxFields {
			w.write("n1", putField("k", fmt.Sprint(i), "v"))
		}
		_, err := w.writeErr("n1", putField("k", "more", "v"))
		w.fails(err, store.TooLarge)
		w.write("n1", putField("k", "7", "again"))
		w.write("n1", removeField("k", "8"))
		w.write("n1", putField("k", "more", "v"))
		w.write("n1", putField("large", "a", strings.Repeat("x", store.MaxValue-10)))
		_, err = w.writeErr("n1", putField("large", "b", strings.Repeat("x", 9)))
		w.fails(err, store.TooLarge)
		w.write("n1", putField("large", "b", "12345678"))
		_, err = w.writeErr("n1", putField("k", strings.Repeat("f", store.MaxField+1), ""))
		w.fails(err, store.TooLarge)
		_, err = w.writeErr("n1", putField("k", "\xff", ""))
		w.fails(err, store.Invalid)
	})
}

func TestEachPolicyRefusesWhatItHasNoMeaningFor(t *testing.T) {
	blindly := putField("k", "f", "")
	blindly.Blind = true
	for policy, refused := range map[store.Policy][]store.Command{
		store.LWW:      {incr("k", 1), putField("k", "f", "v"), removeField("k", "f")},
		store.Siblings: {incr("k", 1), putField("k", "f", "v")},
		store.Counter:  {put("k", "1"), putField("k", "f", ""), removeField("k", "f"), blind(incr("k", 1))},
		store.Set:      {put("k", "v"), put("k", ""), incr("k", 1), blindly},
		store.Map:      {put("k", "v"), incr("k", 1), blindly},
	} {
		t.Run(policy.String(), func(t *testing.T) {
			run(t, 1, Config{Policy: policy}, func(w *world) {
				for _, c := range refused {
					_, err := w.writeErr("n1", c)
					w.fails(err, store.Unsupported)
					if err != nil && store.AsError(err).Try == "" {
						t.Errorf("%v: nothing to try", err)
					}
				}
				w.expect("n1", "k")
			})
		})
	}
}

func TestWriteThatOnlyLooksLikeACountIsRefused(t *testing.T) {
	own, other := causal.Dot{Actor: 1, N: 1}, causal.Dot{Actor: 2, N: 1}
	for what, wrong := range map[string]causal.Write{
		"no total":           {Supersedes: []causal.Dot{own}, Count: &causal.Count{}},
		"a value":            {Value: []byte("7"), Count: &causal.Count{Delta: 1}},
		"a field":            {Field: "f", Count: &causal.Count{Delta: 1}},
		"a delete that adds": {Delete: true, Count: &causal.Count{Delta: 1}},
		"two sums":           {Supersedes: []causal.Dot{own, other}, Count: &causal.Count{Delta: 1, Totals: []int64{1, 2}}},
		"another's sum":      {Supersedes: []causal.Dot{other}, Count: &causal.Count{Delta: 1, Totals: []int64{2}}},
	} {
		e := &entry{Write: wrong, key: "k"}
		e.Dot = causal.Dot{Actor: 1, N: 2}
		if err := e.encode(); err != nil {
			t.Fatal(err)
		}
		if _, err := decodeEntry(e.raw); err == nil {
			t.Errorf("a count with %s was read", what)
		}
	}
	good := &entry{key: "k", Write: causal.Write{
		Dot: causal.Dot{Actor: 3, N: 9}, Stamp: 5, Delete: true, Supersedes: []causal.Dot{own, other}, Count: &causal.Count{Totals: []int64{-4, 8}},
	}}
	if err := good.encode(); err != nil {
		t.Fatal(err)
	}
	if back, err := decodeEntry(good.raw); err != nil || !reflect.DeepEqual(&back, good) {
		t.Errorf("%+v became %+v: %v", good, back, err)
	}
}

// What a peer sends of a counter without its sums, or of a set with sums, is none.
func TestSiblingsOfAnotherPolicyAreRefused(t *testing.T) {
	plain := []causal.Sibling{{Dot: causal.Dot{Actor: 1, N: 1}}}
	sum := []causal.Sibling{{Dot: causal.Dot{Actor: 1, N: 1}, Sum: &causal.Sum{Total: 1}}}
	twice := []causal.Sibling{sum[0], {Dot: causal.Dot{Actor: 1, N: 2}, Sum: &causal.Sum{Total: 1}}}
	ahead := []causal.Sibling{{Dot: causal.Dot{Actor: 1, N: 1}, Sum: &causal.Sum{Base: 2}}}
	counter, set := Config{Policy: store.Counter}, Config{Policy: store.Set}
	for what, ok := range map[string]bool{
		"a sum": counter.fits(sum), "a member": set.fits(plain), "nothing": counter.fits(nil),
		"no sum": !counter.fits(plain), "a sum in a set": !set.fits(sum), "two sums of an actor": !counter.fits(twice), "a base ahead": !counter.fits(ahead),
	} {
		if !ok {
			t.Errorf("%s was judged wrongly", what)
		}
	}
}

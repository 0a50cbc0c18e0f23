package ap

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

func (w *world) digests(name string) Digests {
	w.t.Helper()
	ctx, cancel := within(5 * time.Second)
	defer cancel()
	d, err := w.at(name).Digests(ctx, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// differ lists the buckets in which two replicas differ.
func differ(a, b Digests) (buckets []int) {
	for i := range Buckets {
		if a.Rows[i] != b.Rows[i] || a.Sums[i] != b.Sums[i] {
			buckets = append(buckets, i)
		}
	}
	return buckets
}

func TestEqualReplicasHaveEqualDigests(t *testing.T) {
	for _, policy := range []store.Policy{store.LWW, store.Siblings, store.Counter, store.Set, store.Map} {
		run(t, 3, Config{Policy: policy}, func(w *world) {
			for i := range 300 {
				c := store.Command{Op: store.Put, Key: fmt.Sprint("k", i%100), Value: []byte(fmt.Sprint(i)), Blind: true}
				switch {
				case i%7 == 6:
					c = store.Command{Op: store.Delete, Key: fmt.Sprint("k", i%100)}
				case policy == store.Counter:
					c = store.Command{Op: store.Increment, Key: c.Key, Delta: int64(i)}
				case policy == store.Set:
					c.Field, c.Value = fmt.Sprint(i), nil
				case policy == store.Map:
					c.Field = fmt.Sprint(i)
				}
				if policy != store.Siblings {
					c.Blind = false
				}
				if policy == store.Siblings && c.Op == store.Delete {
					c.Context = w.read(w.names[i%3], store.Query{Key: c.Key}).Context
				}
				w.write(w.names[i%3], c)
			}
			time.Sleep(5 * time.Second)
			first := w.digests("n1")
			for _, name := range w.names[1:] {
				if d := w.digests(name); string(d.Entry) != string(first.Entry) || len(differ(first, d)) > 0 {
					t.Errorf("%s: %s at %s and n1 at %s differ in the buckets %v", policy, name, d.Vector, first.Vector, differ(first, d))
				}
			}
		})
	}
}

// A row that was changed, one that is gone and one that cannot be read are found, and
// named.
func TestDamagedRowsAreFound(t *testing.T) {
	run(t, 2, Config{}, func(w *world) {
		for i := range 500 {
			w.put("n1", fmt.Sprint("k", i), "value")
		}
		time.Sleep(3 * time.Second)
		if differs := differ(w.digests("n1"), w.digests("n2")); len(differs) > 0 {
			t.Fatalf("before the damage the buckets %v differ", differs)
		}
		var want []int
		for _, key := range []string{"k7", "k8", "k9"} {
			want = append(want, bucketOf([]byte(key)))
		}
		slices.Sort(want)
		space := w.at("n2").space
		row, _, err := space.Get(keyRow("k7"))
		if err != nil {
			t.Fatal(err)
		}
		row[len(row)-1] ^= 1 // of the value, or of what follows it
		b := space.Batch()
		b.Set(keyRow("k7"), row)
		b.Delete(keyRow("k8"))
		b.Set(keyRow("k9"), []byte{0xff})
		if err := b.Commit(true); err != nil {
			t.Fatal(err)
		}
		w.put("n1", "other", "v") // for a new view
		time.Sleep(3 * time.Second)
		a, d := w.digests("n1"), w.digests("n2")
		if got := differ(a, d); !slices.Equal(got, slices.Compact(want)) || string(a.Entry) != string(d.Entry) {
			t.Errorf("the buckets %v differ, want %v", got, want)
		}
		ctx, cancel := within(5 * time.Second)
		defer cancel()
		_, keys, err := w.at("n2").BucketKeys(ctx, a.Entry, bucketOf([]byte("k9")))
		at := slices.IndexFunc(keys, func(k KeyDigest) bool { return k.Key == "k9" })
		if err != nil || at < 0 || !keys[at].Unreadable {
			t.Errorf("the bucket of k9 has %+v, %v", keys, err)
		}
		_, _, err = w.at("n2").BucketKeys(ctx, nil, Buckets)
		w.fails(err, store.Invalid)
	})
}

package ap

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/store"
)

func quorumOf(key string) store.Query { return store.Query{Key: key, Level: store.Quorum} }

func valuesOf(page store.Page) []string {
	var values []string
	for _, item := range page.Items {
		for _, v := range item.Values {
			values = append(values, string(v))
		}
	}
	return values
}

// late makes everything but calls late.
func (w *world) late(d time.Duration) {
	w.set(w.names, w.names, func(l *link) { l.pace = d })
}

func TestQuorumReadSeesWhatAMajorityHolds(t *testing.T) {
	for _, policy := range []store.Policy{store.LWW, store.Siblings} {
		t.Run(policy.String(), func(t *testing.T) {
			run(t, 3, Config{Policy: policy}, func(w *world) {
				time.Sleep(time.Second)
				w.cut([]string{"n3"}, []string{"n1", "n2"})
				c := put("k", "v")
				c.W = store.WMajority
				w.write("n1", c)
				w.cut([]string{"n1"}, []string{"n2"})
				w.heal([]string{"n3"}, []string{"n2"})
				// n3 has no stream yet: only the call tells.
				page := w.read("n3", quorumOf("k"))
				p := page.Proof
				if got := valuesOf(page); !slices.Equal(got, []string{"v"}) || p.Asked != store.Quorum || p.Served != store.Quorum || p.WaitedFor != "a majority" || p.Waited == 0 {
					t.Errorf("%q, %+v", got, p)
				}
			})
		})
	}
}

func TestQuorumReadMergesWhatTheReplicasHaveAndDeleted(t *testing.T) {
	run(t, 2, Config{Policy: store.Siblings}, func(w *world) {
		w.put("n1", "deleted", "v")
		w.put("n1", "changed", "v")
		time.Sleep(time.Second)
		w.late(time.Hour)
		del := store.Command{Op: store.Delete, Key: "deleted", Context: w.read("n1", store.Query{Key: "deleted"}).Context}
		w.write("n1", del)
		for node, value := range map[string]string{"n1": "a", "n2": "b"} {
			c := put("changed", value)
			c.Context = w.read(node, store.Query{Key: "changed"}).Context
			w.write(node, c)
		}
		w.expect("n2", "deleted", "v")
		for _, node := range w.names {
			if got := valuesOf(w.read(node, quorumOf("deleted"))); len(got) != 0 {
				t.Errorf("the deleted key holds %q at %s", got, node)
			}
			got := valuesOf(w.read(node, quorumOf("changed")))
			slices.Sort(got)
			if !slices.Equal(got, []string{"a", "b"}) {
				t.Errorf("the changed key holds %q at %s", got, node)
			}
		}
		w.expect("n2", "deleted", "v") // the read has changed nothing there
	})
}

func TestQuorumReadIsFoldedIntoTheSessionAndTheContext(t *testing.T) {
	run(t, 3, Config{Policy: store.Siblings}, func(w *world) {
		time.Sleep(time.Second)
		w.set([]string{"n1"}, []string{"n2", "n3"}, func(l *link) { l.pace = 400 * time.Millisecond })
		w.put("n2", "k", "v")
		time.Sleep(10 * time.Millisecond) // n3 has it
		page := w.read("n1", quorumOf("k"))
		if got := valuesOf(page); !slices.Equal(got, []string{"v"}) {
			t.Fatalf("%q", got)
		}
		if got := valuesOf(w.read("n1", store.Query{Key: "k", After: page.Entry})); !slices.Equal(got, []string{"v"}) {
			t.Errorf("a causal read after it: %q", got)
		}
		c := put("k", "w")
		c.Context = page.Context
		w.write("n1", c)
		w.expect("n1", "k", "w")
	})
}

func TestQuorumReadWithoutAMajorityIsUnavailable(t *testing.T) {
	run(t, 3, Config{}, func(w *world) {
		w.put("n1", "k", "v")
		time.Sleep(time.Second)
		w.cut([]string{"n1"}, []string{"n2", "n3"})
		_, err := w.readErr("n1", quorumOf("k"))
		e := store.AsError(err)
		if e.Code != store.Unavailable || !strings.Contains(e.Msg, "1 of the 2") || !strings.Contains(e.Msg, "n2, n3") || e.Try == "" {
			t.Errorf("%v", err)
		}
		w.read("n2", quorumOf("k"))
		w.heal([]string{"n1"}, []string{"n2", "n3"})
		w.stop("n2")
		w.read("n1", quorumOf("k"))
		w.stop("n3")
		time.AfterFunc(time.Second, func() { w.start("n3") })
		w.read("n1", quorumOf("k")) // it asks again
		w.start("n2")
	})
}

func TestQuorumReadHurriesTheStreams(t *testing.T) {
	run(t, 2, Config{}, func(w *world) {
		time.Sleep(time.Second)
		w.put("n1", "k", "1")
		w.stop("n1")
		time.Sleep(5 * time.Second) // n2 dials once a second by now
		w.start("n1")
		began := time.Now()
		w.read("n1", quorumOf("k"))
		for len(w.get("n2", "k")) == 0 {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(began); took > 300*time.Millisecond {
			t.Errorf("n2 was caught up after %v", took)
		}
	})
}

func TestCallOfAStrangerOrOfGarbageIsRefused(t *testing.T) {
	run(t, 2, Config{}, func(w *world) {
		good, err := proto.Marshal(&logpb.APRequest{Kind: &logpb.APRequest_Get{Get: &logpb.APGetRequest{Key: "k"}}})
		if err != nil {
			t.Fatal(err)
		}
		crooked, err := proto.Marshal(&logpb.APRequest{Kind: &logpb.APRequest_Get{Get: &logpb.APGetRequest{Key: "k", Vector: &logpb.Vector{Actors: []uint64{1}}}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			from    string
			payload []byte
			want    store.Code
		}{
			{"stranger", good, store.Denied},
			{"n1", good, store.Denied},
			{"n2", nil, store.Invalid},
			{"n2", []byte("\xff\xff"), store.Invalid},
			{"n2", crooked, store.Invalid},
		} {
			_, err := w.at("n1").ServeCall(t.Context(), c.from, c.payload)
			w.fails(err, c.want)
		}
		if _, err := w.at("n1").ServeCall(t.Context(), "n2", good); err != nil {
			t.Error(err)
		}
	})
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// These tests play Maelstrom to real processes. The real one was never run here.

// maelstromPatience is how long a client waits, as Maelstrom's for lin-kv do.
const maelstromPatience = time.Second

// maelstromRun is a load on a maelstromNet and its record.
type maelstromRun struct {
	*maelstromNet
	lines bytes.Buffer
	rec   *history.Recorder
	stop  chan struct{}
	load  sync.WaitGroup
	next  atomic.Int64 // values

	mu    sync.Mutex
	ok    map[string]int // operations that succeeded, by node
	tried map[string]int
	moved chan struct{} // closed when a count has changed
}

func newMaelstromRun(m *maelstromNet) *maelstromRun {
	r := &maelstromRun{maelstromNet: m, stop: make(chan struct{}), ok: map[string]int{}, tried: map[string]int{}, moved: make(chan struct{})}
	r.rec = history.NewRecorder(&r.lines)
	return r
}

// clients begin, so many at each node; each does one operation after another.
func (r *maelstromRun) clients(each int, operate func(c *maelstromClient, process int, node string) store.Outcome) {
	for i := range each * len(r.nodes) {
		r.load.Go(func() {
			c, node := r.client(), r.nodes[i%len(r.nodes)]
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
				case <-r.stop:
					return
				}
				r.count(node, operate(c, i, node))
			}
		})
	}
}

func (r *maelstromRun) count(node string, o store.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried[node]++
	if o == store.OK {
		r.ok[node]++
	}
	close(r.moved)
	r.moved = make(chan struct{})
}

// await waits until each of the nodes has so many more operations that were tried, or
// that succeeded.
func (r *maelstromRun) await(what string, more int, succeeded bool, nodes ...string) {
	r.t.Helper()
	counts := r.tried
	if succeeded {
		counts = r.ok
	}
	deadline := time.After(time.Minute)
	r.mu.Lock()
	from := map[string]int{}
	for _, n := range nodes {
		from[n] = counts[n]
	}
	for {
		lacks := slices.IndexFunc(nodes, func(n string) bool { return counts[n] < from[n]+more })
		moved := r.moved
		r.mu.Unlock()
		if lacks < 0 {
			return
		}
		select {
		case <-moved:
		case <-deadline:
			r.t.Fatalf("%s: %s does not get on", what, nodes[lacks])
		}
		r.mu.Lock()
	}
}

func (r *maelstromRun) ended() {
	close(r.stop)
	r.load.Wait()
}

// judge gives the record to our own checkers.
func (r *maelstromRun) judge(claims ...string) check.Report {
	r.t.Helper()
	if err := r.rec.Err(); err != nil {
		r.t.Fatal(err)
	}
	h, err := history.Read(bytes.NewReader(r.lines.Bytes()))
	if err != nil {
		r.t.Fatal(err)
	}
	rep := check.Run(h, check.Options{Claims: claims})
	for _, c := range rep.Checkers {
		r.t.Logf("%s: %s: %s (%+v)", c.Name, c.Verdict, c.Sentence, c.Compared)
	}
	return rep
}

// linKV is one operation of the lin-kv workload: on a key of its time, which a few
// hundred operations share.
func (r *maelstromRun) linKV(c *maelstromClient, process int, node string) store.Outcome {
	v := r.next.Add(1)
	key, value := v/200, strconv.FormatInt(v, 10)
	call := history.Call{Process: process, Session: c.name, Node: node, Keyspace: "lin-kv", Mode: "cp", Key: strconv.FormatInt(key, 10), Level: "strong"}
	body := map[string]any{"key": key}
	switch rand.IntN(4) {
	case 0:
		call.Kind, call.Value, call.Level = history.Put, value, ""
		body["type"], body["value"] = "write", v
	case 1:
		from := max(v-int64(rand.IntN(30)), 1)
		call.Kind, call.Expect, call.Value, call.Level = history.CAS, strconv.FormatInt(from, 10), value, ""
		body["type"], body["from"], body["to"] = "cas", from, v
	default:
		call.Kind = history.Get
		body["type"] = "read"
	}
	id := r.rec.Invoke(call)
	a := linAnswer(call.Kind, c.call(node, body, maelstromPatience))
	r.rec.Complete(id, a)
	return a.Outcome
}

// linAnswer classifies a reply as Maelstrom does: indefinite are 0, 13, what it does not
// know, and silence; a read that failed says nothing.
func linAnswer(kind history.Kind, reply map[string]json.RawMessage) history.Answer {
	yes, no := true, false
	code := codeOf(reply)
	switch {
	case reply != nil && code < 0:
		a := history.Answer{Outcome: store.OK}
		if kind == history.Get {
			a.Found, a.Value = &yes, string(reply["value"])
		}
		return a
	case kind == history.Get && code == 20:
		return history.Answer{Outcome: store.OK, Found: &no}
	case code == 20:
		return history.Answer{Outcome: store.Failed, Code: store.Conflict, Found: &no}
	case code == 22:
		return history.Answer{Outcome: store.Failed, Code: store.Conflict}
	case kind == history.Get || slices.Contains([]int{1, 10, 11, 12, 14, 21, 30}, code):
		return history.Answer{Outcome: store.Failed, Code: store.Unavailable}
	default:
		return history.Answer{Outcome: store.Unclear, Code: store.Unknown}
	}
}

// cutAndHeal loads the cluster, cuts the side off, heals, and ends the load.
func (r *maelstromRun) cutAndHeal(side []string, during func()) {
	others := slices.DeleteFunc(slices.Clone(r.nodes), func(n string) bool { return slices.Contains(side, n) })
	r.await("before the cut", 60, true, r.nodes...)
	r.rec.Fault("partition", history.Begin, fmt.Sprint(side))
	r.partition(side...)
	r.await("the majority in the cut", 100, true, others...)
	during()
	r.heal()
	r.rec.Fault("partition", history.End, "")
	r.await("after the heal", 40, true, r.nodes...)
	r.ended()
	if r.losses() == 0 {
		r.t.Error("the cut lost no message: the nodes talk past Maelstrom")
	}
}

func TestMaelstromLinKVIsLinearizableThroughPartitions(t *testing.T) {
	r := newMaelstromRun(startMaelstrom(t, 5, "-w", "lin-kv"))
	r.clients(2, r.linKV)
	side := []string{"n0", "n1"} // n0 founded the cluster, and probably leads
	r.cutAndHeal(side, func() {
		r.mu.Lock()
		before := r.ok["n0"] + r.ok["n1"]
		r.mu.Unlock()
		r.await("the minority in the cut", 4, false, side...)
		r.mu.Lock()
		defer r.mu.Unlock()
		if after := r.ok["n0"] + r.ok["n1"]; after != before {
			t.Errorf("%d operations succeeded without a majority", after-before)
		}
	})
	if rep := r.judge("linearizable"); rep.Verdict != check.Pass {
		t.Errorf("the verdict is %s", rep.Verdict)
	}
}

// The same with reads that promise nothing: some are stale, and the driver sees it. Else
// the test above could not fail.
func TestMaelstromDriverSeesStaleReads(t *testing.T) {
	r := newMaelstromRun(startMaelstrom(t, 3, "-w", "lin-kv", "--level", "eventual"))
	r.clients(3, r.linKV)
	side := []string{"n0"}
	r.cutAndHeal(side, func() { r.await("the minority in the cut", 20, false, side...) })
	if rep := r.judge("linearizable"); rep.Verdict != check.Fail {
		t.Errorf("the verdict is %s", rep.Verdict)
	}
}

// added is one operation of g-set or pn-counter. Here every operation has to succeed:
// Maelstrom calls that --availability total.
func (r *maelstromRun) added(call history.Call) func(*maelstromClient, int, string) store.Outcome {
	return func(c *maelstromClient, process int, node string) store.Outcome {
		call, body := call, map[string]any{"type": "read"}
		call.Process, call.Session, call.Node, call.Key, call.Mode = process, c.name, node, "all", "ap"
		if rand.IntN(3) > 0 {
			v := r.next.Add(1)
			body = map[string]any{"type": "add"}
			if call.Conflict == "set" {
				call.Value, body["element"] = strconv.FormatInt(v, 10), v
			} else {
				call.Delta = v%10 - 5
				body["delta"] = call.Delta
			}
		} else {
			call.Kind, call.Level = history.Get, "causal"
		}
		id := r.rec.Invoke(call)
		reply := c.call(node, body, maelstromPatience)
		a := history.Answer{Outcome: store.OK}
		if reply == nil || codeOf(reply) >= 0 {
			a = history.Answer{Outcome: store.Unclear, Code: store.Unknown}
			r.t.Errorf("%s: a %s got %s", node, call.Kind, show(reply))
		} else if call.Kind == history.Get {
			a = seenAll(call.Conflict, reply)
		}
		r.rec.Complete(id, a)
		return a.Outcome
	}
}

// seenAll is what a read of the one set or counter saw.
func seenAll(conflict string, reply map[string]json.RawMessage) history.Answer {
	found := true
	a := history.Answer{Outcome: store.OK, Found: &found}
	if conflict == "counter" {
		a.Value = string(reply["value"])
		return a
	}
	var elements []json.RawMessage
	_ = json.Unmarshal(reply["value"], &elements)
	for _, e := range elements {
		a.Values = append(a.Values, string(e))
	}
	found = len(elements) > 0
	return a
}

// finalReads reads at every node until all say the same, which must be soon, and records
// that as what each holds.
func (r *maelstromRun) finalReads(keyspace, conflict string) {
	r.t.Helper()
	c, deadline := r.client(), time.Now().Add(20*time.Second)
	for {
		seen := map[string]history.Answer{}
		different := map[string]bool{}
		for _, node := range r.nodes {
			a := seenAll(conflict, c.call(node, map[string]any{"type": "read"}, maelstromPatience))
			slices.Sort(a.Values)
			seen[node] = a
			different[a.Value+fmt.Sprint(a.Values)] = true
		}
		if len(different) > 1 && time.Now().Before(deadline) {
			continue
		}
		for _, node := range r.nodes {
			d := history.Dump{Node: node, Keyspace: keyspace, Key: "all"}
			for _, v := range seen[node].Values {
				d.Siblings = append(d.Siblings, history.Sibling{Dot: v, Field: v})
			}
			if v := seen[node].Value; v != "" {
				d.Value = &v
			}
			r.rec.Dump(d)
			r.rec.DumpEnd(history.Dump{Node: node, Keyspace: keyspace})
		}
		return
	}
}

func TestMaelstromSetsAndCountersTakeAllInAPartition(t *testing.T) {
	for _, w := range []struct {
		name, conflict string
		kind           history.Kind
	}{{"g-set", "set", history.Add}, {"pn-counter", "counter", history.Incr}} {
		t.Run(w.name, func(t *testing.T) {
			r := newMaelstromRun(startMaelstrom(t, 3, "-w", w.name))
			r.clients(2, r.added(history.Call{Kind: w.kind, Keyspace: w.name, Conflict: w.conflict}))
			side := []string{"n0"}
			r.cutAndHeal(side, func() { r.await("the small side in the cut", 60, true, side...) })
			r.finalReads(w.name, w.conflict)
			if rep := r.judge(w.conflict); rep.Verdict != check.Pass {
				t.Errorf("the verdict is %s", rep.Verdict)
			}
		})
	}
}

package check

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// onlooker is a watch of everything, which moves from replica to replica.
type onlooker struct {
	row  int // of its watch
	rep  *replica
	pos  int // in its log
	seen map[[2]int]bool
	told int
}

func dots(vector []int) string {
	var list []string
	for actor, n := range vector {
		if n > 0 {
			list = append(list, fmt.Sprintf("r%d:%d", actor, n))
		}
	}
	return strings.Join(list, ",")
}

// span is the vector of a set of writes.
func span(seen map[[2]int]bool) []int {
	v := make([]int, 3)
	for d := range seen {
		v[d[0]] = max(v[d[0]], d[1])
	}
	return v
}

func encoded(t any) string {
	b, err := json.Marshal(t)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// look scans, or lets somebody watch for a while.
func (c *cluster) look() {
	if c.watchers == nil {
		c.watchers = []*onlooker{{seen: map[[2]int]bool{}}, {seen: map[[2]int]bool{}}}
	}
	switch w := c.watchers[c.r.IntN(2)]; {
	case c.r.IntN(3) == 0:
		c.scan(c.sessions[c.r.IntN(4)], c.replicas[c.r.IntN(3)])
	case w.rep == nil || c.r.IntN(8) == 0:
		c.move(w)
	default:
		c.tell(w)
	}
}

func (c *cluster) scan(s *client, rep *replica) {
	if !covered(rep.vector, s.token) && c.bug != "token ignored" {
		return
	}
	var items []history.Item
	for k := range c.keys {
		at, key := rep, fmt.Sprint("k", k)
		if c.bug == "a scan moves" && k >= c.keys/2 {
			at = c.replicas[(rep.id+1)%3]
		}
		es := at.state[key]
		if len(es) == 0 {
			continue
		}
		item := history.Item{Key: key}
		for _, e := range es {
			item.Siblings = append(item.Siblings, history.Sibling{Dot: fmt.Sprintf("r%d:%d", e.actor, e.n), Value: e.value})
		}
		if shown := c.view(es); len(shown) == 1 {
			item.Value = shown[0]
		}
		items = append(items, item)
	}
	slices.SortFunc(items, func(a, b history.Item) int { return strings.Compare(a.Key, b.Key) })
	join(s.token, rep.vector)
	v := dots(rep.vector)
	c.row(s, "scan", "-", fmt.Sprintf(`call{"prefix":"k"} answer{"vectors":[%q,%q],"items":%s}`, v, v, encoded(items)), false)
}

// move ends a watch, and goes on at any replica that covers it.
func (c *cluster) move(w *onlooker) {
	rep := c.replicas[c.r.IntN(3)]
	if !covered(rep.vector, span(w.seen)) {
		return
	}
	from := `"from":1`
	if w.rep != nil {
		c.finish(w)
		from = fmt.Sprintf(`"since":%q`, dots(span(w.seen)))
	}
	w.rep, w.pos = rep, 0
	if c.bug == "a watch resumes behind the present" {
		w.pos = len(rep.log)
	}
	c.seq += 2
	c.rows = append(c.rows, fmt.Sprintf(`w %d-%%d watch - call{"prefix":"k",%s}`, c.seq-1, from))
	w.row = len(c.rows)
}

// finish fills in when a watch ended.
func (c *cluster) finish(w *onlooker) {
	if w.row > 0 {
		c.seq += 2
		c.rows[w.row-1] = fmt.Sprintf(c.rows[w.row-1], c.seq)
	}
}

// tell tells the next write of the replica's log that the watch has not seen.
func (c *cluster) tell(w *onlooker) {
	for ; w.pos < len(w.rep.log); w.pos++ {
		e := w.rep.log[w.pos]
		if w.seen[e.dot()] {
			continue
		}
		w.seen[e.dot()] = true
		w.pos++
		if e.delete && len(e.covers) == 0 {
			return
		}
		if c.bug == "a change is left out" && c.r.IntN(20) == 0 {
			return
		}
		es := w.state(e.key)
		if c.bug == "a watch shows the present" {
			es = w.rep.state[e.key]
		}
		event := history.Changed{Key: e.key, Dot: fmt.Sprintf("r%d:%d", e.actor, e.n), Deleted: len(es) == 0, Values: c.view(es)}
		c.told(w, event)
		if c.bug == "a change comes twice" && c.r.IntN(20) == 0 {
			c.told(w, event)
		}
		return
	}
}

func (c *cluster) told(w *onlooker, e history.Changed) {
	c.seq += 2
	w.told++
	c.rows = append(c.rows, fmt.Sprintf(`w told %d of %d {"revision":%d,"vector":%q,"events":[%s]}`, c.seq, w.row, w.told, dots(span(w.seen)), encoded(e)))
}

// state is what the writes that were seen leave of a key.
func (w *onlooker) state(key string) (left []entry) {
	gone := map[[2]int]bool{}
	for _, e := range w.rep.log {
		if w.seen[e.dot()] {
			maps.Copy(gone, e.covers)
		}
	}
	for _, e := range w.rep.log {
		if e.key == key && w.seen[e.dot()] && !e.delete && !gone[e.dot()] {
			left = append(left, e)
		}
	}
	return left
}

// watched is a whole run with scans and watches.
func (c *cluster) watched(ops int) string {
	c.views = true
	text := c.run(ops)
	c.rows = strings.Split(text, "\n")
	for _, w := range c.watchers {
		if w.rep != nil {
			c.finish(w)
		}
	}
	return strings.Join(c.rows, "\n")
}

func TestHonestClusterIsScannedAndWatched(t *testing.T) {
	for seed := range uint64(80) {
		for _, mode := range []string{"lww", "siblings"} {
			text := newCluster(rand.New(rand.NewPCG(seed, 3)), mode, "", int(seed)%8).watched(60 + int(seed)%200)
			if rep := Run(script(t, mode, text), zero()); rep.Verdict != Pass {
				t.Fatalf("%s, seed %d: %+v\n%s", mode, seed, rep.Checkers, text)
			}
		}
	}
}

func TestBugsOfScansAndWatchesAreCaught(t *testing.T) {
	for _, c := range []struct {
		mode, bug, checker string
		least              int // runs of 10
	}{
		{"lww", "a scan moves", "scan", 10},
		{"siblings", "a scan moves", "scan", 10},
		{"lww", "out of order", "scan", 10},
		{"siblings", "out of order", "watch", 10},
		{"lww", "token ignored", "scan", 9},
		{"siblings", "newest sibling only", "scan", 9},
		{"lww", "a change is left out", "watch", 9},
		{"siblings", "a change is left out", "watch", 9},
		{"lww", "a change comes twice", "watch", 9},
		{"lww", "a watch shows the present", "watch", 9},
		{"siblings", "a watch shows the present", "watch", 10},
		{"lww", "a watch resumes behind the present", "watch", 10},
	} {
		caught := 0
		for seed := range uint64(10) {
			cluster := newCluster(rand.New(rand.NewPCG(seed, 4)), c.mode, c.bug, 6)
			if verdict(t, script(t, c.mode, cluster.watched(600)), c.checker).Verdict == Fail {
				caught++
			}
		}
		if caught < c.least {
			t.Errorf("%s on %s: %s caught it in %d of 10 runs", c.bug, c.mode, c.checker, caught)
		}
	}
}

package check

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// cluster is a small causal store that keeps its promises: replicas with a log in
// causal order, dots, contexts, hybrid stamps from clocks that disagree, deletes
// without tombstones. bug takes one of its promises away.
type cluster struct {
	r        *rand.Rand
	siblings bool
	bug      string
	deletes  int // one write in so many; none if 0
	keys     int
	sent     map[[2]int]int // how much of a's log b has without a gap
	views    bool           // it is scanned and watched, and writes tell their names
	ttls     bool           // some values end
	watchers []*onlooker

	replicas []*replica
	sessions []*client
	seq, n   int
	at       int // the replica that is asked
	rows     []string
}

type entry struct {
	actor, n, stamp int
	key, value      string
	delete          bool
	deadline        int // 0: it stays
	covers          map[[2]int]bool
}

func (e entry) dot() [2]int { return [2]int{e.actor, e.n} }

type replica struct {
	id, skew, top int
	vector        []int
	log           []entry
	has           map[[2]int]bool
	state         map[string][]entry
}

type client struct {
	name    string
	token   []int
	context map[string][]entry // siblings of the last read of a key
	seen    map[string][]string
}

func newCluster(r *rand.Rand, mode, bug string, deletes int) *cluster {
	c := &cluster{r: r, siblings: mode == "siblings", bug: bug, deletes: deletes, keys: 3, sent: map[[2]int]int{}}
	for i := range 3 {
		c.replicas = append(c.replicas, &replica{id: i, skew: r.IntN(40), vector: make([]int, 3), has: map[[2]int]bool{}, state: map[string][]entry{}})
	}
	for i := range 4 {
		c.sessions = append(c.sessions, &client{name: fmt.Sprint("s", i), token: make([]int, 3), context: map[string][]entry{}, seen: map[string][]string{}})
	}
	return c
}

func covered(vector, token []int) bool {
	for i := range token {
		if vector[i] < token[i] {
			return false
		}
	}
	return true
}

func join(into, from []int) {
	for i := range into {
		into[i] = max(into[i], from[i])
	}
}

// run does ops operations, lets everything spread, and dumps.
func (c *cluster) run(ops int) string {
	for len(c.rows) < ops {
		c.expire()
		if c.views && c.r.IntN(5) == 0 {
			c.look()
			continue
		}
		if c.r.IntN(3) > 0 {
			c.spread(c.replicas[c.r.IntN(3)], c.replicas[c.r.IntN(3)])
			continue
		}
		s, rep := c.sessions[c.r.IntN(4)], c.replicas[c.r.IntN(3)]
		if !covered(rep.vector, s.token) && c.bug != "token ignored" {
			continue
		}
		key := fmt.Sprint("k", c.r.IntN(c.keys))
		c.at = rep.id
		if c.r.IntN(2) == 0 {
			c.get(s, rep, key)
		} else {
			c.write(s, rep, key)
		}
	}
	for moved := true; moved; {
		c.seq += 1000
		moved = c.expire()
		for _, a := range c.replicas {
			for _, b := range c.replicas {
				moved = c.spread(a, b) || moved
			}
		}
	}
	for _, rep := range c.replicas {
		for k := range c.keys {
			key := fmt.Sprint("k", k)
			if vs := values(rep.state[key]); len(vs) > 0 {
				c.rows = append(c.rows, fmt.Sprintf("n%d dump %s %s", rep.id, key, strings.Join(vs, ",")))
			}
		}
		c.rows = append(c.rows, fmt.Sprintf("n%d end", rep.id))
	}
	return strings.Join(c.rows, "\n")
}

// spread gives b the first entry of a's log that it lacks, if there is one.
func (c *cluster) spread(a, b *replica) bool {
	way := [2]int{a.id, b.id}
	for c.sent[way] < len(a.log) && b.has[a.log[c.sent[way]].dot()] {
		c.sent[way]++
	}
	var lacks []entry
	for _, e := range a.log[c.sent[way]:] {
		if !b.has[e.dot()] {
			lacks = append(lacks, e)
		}
		if c.bug != "out of order" && len(lacks) > 0 {
			break
		}
	}
	switch {
	case len(lacks) == 0:
		return false
	case c.bug == "out of order":
		c.apply(b, lacks[c.r.IntN(len(lacks))])
	default:
		c.apply(b, lacks[0])
	}
	return true
}

func (c *cluster) apply(r *replica, e entry) {
	r.vector[e.actor] = max(r.vector[e.actor], e.n)
	r.top = max(r.top, e.stamp)
	r.log = append(r.log, e)
	r.has[e.dot()] = true
	var keep []entry
	for _, s := range r.state[e.key] {
		if !e.covers[s.dot()] && c.bug != "newest sibling only" {
			keep = append(keep, s)
		}
	}
	if !e.delete {
		keep = append(keep, e)
	}
	r.state[e.key] = keep
}

// expire deletes what is over at the replica that took it: that value, and no other.
func (c *cluster) expire() (did bool) {
	for _, rep := range c.replicas {
		for _, key := range slices.Sorted(maps.Keys(rep.state)) {
			for _, e := range slices.Clone(rep.state[key]) {
				early := 0
				if c.bug == "ends early" {
					early = 150
				}
				if e.deadline == 0 || e.actor != rep.id || c.seq < e.deadline-early || c.bug == "never ends" {
					continue
				}
				rep.top++
				end := entry{actor: rep.id, n: rep.vector[rep.id] + 1, stamp: rep.top, key: key, delete: true, covers: map[[2]int]bool{e.dot(): true}}
				if c.bug == "ends the key" {
					for _, s := range rep.state[key] {
						end.covers[s.dot()] = true
					}
				}
				c.apply(rep, end)
				did = true
			}
		}
	}
	return did
}

func values(es []entry) []string {
	var vs []string
	for _, e := range es {
		vs = append(vs, e.value)
	}
	slices.Sort(vs)
	return vs
}

// view is what a read returns.
func (c *cluster) view(es []entry) []string {
	if c.siblings || len(es) == 0 {
		return values(es)
	}
	if c.bug == "tie by arrival" {
		return []string{es[len(es)-1].value}
	}
	return []string{slices.MaxFunc(es, func(a, b entry) int {
		if a.stamp != b.stamp {
			return a.stamp - b.stamp
		}
		return a.actor - b.actor
	}).value}
}

func (c *cluster) get(s *client, rep *replica, key string) {
	es := slices.Clone(rep.state[key])
	vs := c.view(es)
	s.context[key], s.seen[key] = es, vs
	join(s.token, rep.vector)
	saw := "nil"
	if len(vs) > 0 {
		saw = strings.Join(vs, ",")
	}
	c.row(s, "get", key, saw, false)
}

func (c *cluster) write(s *client, rep *replica, key string) {
	c.n++
	rep.top = max(rep.top+1, c.seq/4+rep.skew)
	e := entry{actor: rep.id, n: rep.vector[rep.id] + 1, stamp: rep.top, key: key, value: fmt.Sprint("v", c.n), covers: map[[2]int]bool{}}
	e.delete = c.deletes > 0 && c.r.IntN(c.deletes) == 0
	kind, args := "put", e.value
	if e.delete {
		kind = "delete"
	}
	es, known := s.context[key]
	switch {
	case c.siblings && (!known || !e.delete && c.r.IntN(4) == 0):
		args += " covers="
	case known && (c.siblings || c.r.IntN(2) == 0):
		args += " covers=" + strings.Join(s.seen[key], ",")
		for _, old := range es {
			e.covers[old.dot()] = true
		}
	default:
		for _, old := range rep.state[key] {
			e.covers[old.dot()] = true
		}
	}
	lost := c.r.IntN(12) == 0
	if c.ttls && !e.delete && c.r.IntN(2) == 0 {
		ttl := 100 + c.r.IntN(200)
		e.deadline = c.seq + 2 + ttl
		args += fmt.Sprintf(" ttl_ms=%d", ttl)
	}
	if c.views && !lost {
		args += fmt.Sprintf(" dot=r%d:%d found=%v", e.actor, e.n, len(rep.state[key]) > 0)
	}
	if !lost || c.r.IntN(2) == 0 {
		c.apply(rep, e)
	}
	if !lost {
		join(s.token, rep.vector)
	}
	c.row(s, kind, key, args, lost)
}

func (c *cluster) row(s *client, kind, key, args string, lost bool) {
	c.seq += 2
	end := fmt.Sprint(c.seq)
	if lost {
		end = "?"
	}
	node := ""
	if c.ttls {
		node = fmt.Sprintf(" served_by=n%d", c.at)
	}
	c.rows = append(c.rows, fmt.Sprintf("%s %d-%s %s %s %s%s", s.name, c.seq-1, end, kind, key, args, node))
}

func TestHonestClusterPasses(t *testing.T) {
	for seed := range uint64(120) {
		for _, mode := range []string{"lww", "siblings"} {
			text := newCluster(rand.New(rand.NewPCG(seed, 1)), mode, "", int(seed)%8).run(40 + int(seed)%80)
			rep := Run(script(t, mode, text), zero())
			if rep.Verdict != Pass {
				t.Fatalf("%s, seed %d: %+v\n%s", mode, seed, rep.Checkers, text)
			}
		}
	}
}

// Each bug is caught by the checker that names it.
func TestClusterBugsAreCaught(t *testing.T) {
	for _, c := range []struct {
		mode, bug, checker string
		deletes, keys      int
		least              int // runs of 10: what such a short run shows of the bug
	}{
		{"lww", "out of order", "causal", 0, 10, 3},
		{"siblings", "out of order", "causal", 6, 3, 8},
		{"lww", "token ignored", "causal", 6, 10, 8},
		{"lww", "token ignored", "read-your-writes", 6, 10, 8},
		{"lww", "token ignored", "monotonic-reads", 6, 10, 4},
		{"siblings", "token ignored", "read-your-writes", 6, 3, 8},
		{"lww", "tie by arrival", "causal-convergence", 0, 3, 8},
		{"siblings", "newest sibling only", "durability", 6, 3, 8},
		{"siblings", "newest sibling only", "causal", 6, 3, 8},
	} {
		caught := 0
		const runs = 10
		for seed := range uint64(runs) {
			cluster := newCluster(rand.New(rand.NewPCG(seed, 2)), c.mode, c.bug, c.deletes)
			cluster.keys = c.keys
			ops := 600
			if c.mode == "siblings" {
				ops = 200 // sets show a loss sooner than registers
			}
			text := cluster.run(ops)
			if verdict(t, script(t, c.mode, text), c.checker).Verdict == Fail {
				caught++
			}
		}
		if caught < c.least {
			t.Errorf("%s on %s: %s caught it in %d of %d runs", c.bug, c.mode, c.checker, caught, runs)
		}
	}
}

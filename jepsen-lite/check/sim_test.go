package check

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// sim is a register that is right: each operation takes effect at one instant
// between its call and its answer. Some answers are lost, and some of those
// operations never take effect.
type sim struct {
	r       *rand.Rand
	clients int
	lose    float64 // of the writes
	keys    int
	nodes   int // none if 0
	cutAt   int // seq set aside for the ends of a fault, if not 0
	healAt  int

	seq   int
	rev   int
	n     int
	state []simKey
	rows  []string
}

type simKey struct {
	value string
	rev   int
}

type simOp struct {
	client, gen, begin int
	kind, key          string
	k                  int
	args, saw          string
	applied, lost      bool
	refused            bool
	rev, replaced      int
}

// run makes a script of at least ops operations.
func (s *sim) run(ops int) string {
	s.state = make([]simKey, max(1, s.keys))
	open := make([]*simOp, s.clients)
	gens := make([]int, s.clients)
	var stray []*simOp // lost, and perhaps still to take effect
	for len(s.rows) < ops {
		s.fault(ops)
		c := s.r.IntN(s.clients)
		if len(stray) > 0 && s.r.IntN(6) == 0 {
			i := s.r.IntN(len(stray))
			if s.r.IntN(2) == 0 {
				s.apply(stray[i])
			}
			stray = append(stray[:i], stray[i+1:]...)
		}
		switch op := open[c]; {
		case op == nil:
			open[c] = s.invoke(c, gens[c])
		case op.lost:
			s.row(op, "?")
			if !op.applied {
				stray = append(stray, op)
			}
			gens[c]++ // a session of its own: the client opens a new one
			open[c] = nil
		case !op.applied:
			s.apply(op)
		default:
			s.seq++
			s.row(op, fmt.Sprint(s.seq))
			open[c] = nil
		}
	}
	for _, op := range open {
		if op != nil && op.kind != "get" {
			s.row(op, "?")
		}
	}
	return strings.Join(s.rows, "\n")
}

// fault takes a seq for each end of a fault, in the middle third of the run.
func (s *sim) fault(ops int) {
	switch {
	case s.nodes == 0:
	case s.cutAt == 0 && len(s.rows) > ops/3:
		s.seq++
		s.cutAt = s.seq
	case s.healAt == 0 && len(s.rows) > 2*ops/3:
		s.seq++
		s.healAt = s.seq
	}
}

func (s *sim) invoke(client, gen int) *simOp {
	s.seq++
	s.n++
	k := s.r.IntN(len(s.state))
	op := &simOp{client: client, gen: gen, begin: s.seq, k: k, key: fmt.Sprint("k", k), args: fmt.Sprint("v", s.n)}
	switch s.r.IntN(10) {
	case 0, 1, 2:
		op.kind = "put"
	case 3:
		op.kind = "delete"
	case 4, 5:
		op.kind = "cas"
		expect := s.state[k].value
		if expect == "" || s.r.IntN(3) == 0 {
			expect = fmt.Sprint("v", 1+s.r.IntN(s.n))
		}
		op.args = expect + " " + op.args
	default:
		op.kind, op.args = "get", ""
	}
	op.lost = op.kind != "get" && s.r.Float64() < s.lose
	return op
}

func (s *sim) apply(op *simOp) {
	op.applied = true
	now := &s.state[op.k]
	op.saw, op.rev = now.value, now.rev
	if op.saw == "" {
		op.saw, op.rev = "nil", s.rev
	}
	expect, value, cas := strings.Cut(op.args, " ")
	if cas && expect != now.value {
		op.refused = true
		return
	}
	if op.kind == "get" {
		return
	}
	if !cas {
		value = op.args
	}
	s.rev++
	op.rev, op.replaced = s.rev, now.rev
	*now = simKey{value, s.rev}
	if op.kind == "delete" {
		*now = simKey{}
	}
}

func (s *sim) row(op *simOp, end string) {
	if end == "?" {
		op.refused = false
	}
	head := fmt.Sprintf("c%d.%d %d-%s", op.client, op.gen, op.begin, end)
	tail := fmt.Sprintf("rev=%d process=%d", op.rev, op.client)
	switch {
	case end == "?":
		tail = ""
	case op.kind == "get":
		tail = op.saw + " " + tail
	case op.refused:
		op.kind, tail = "cas!", "saw "+op.saw+" "+tail
	default:
		tail += fmt.Sprintf(" replaced=%d", op.replaced)
	}
	if s.nodes > 0 {
		tail += fmt.Sprintf(" node=n%d", 1+op.client%s.nodes)
	}
	s.rows = append(s.rows, fmt.Sprintf("%s %s %s %s %s", head, op.kind, op.key, op.args, tail))
}

// lie changes what one read saw.
func lie(r *rand.Rand, text string) string {
	rows := strings.Split(text, "\n")
	for range 20 {
		i := r.IntN(len(rows))
		f := strings.Fields(rows[i])
		if f[2] != "get" {
			continue
		}
		j := r.IntN(len(rows))
		g := strings.Fields(rows[j])
		if g[2] == "put" || g[2] == "cas" {
			f[4] = g[4]
			if g[2] == "cas" {
				f[4] = g[5]
			}
			f[5] = "rev=0"
			rows[i] = strings.Join(f, " ")
			break
		}
	}
	return strings.Join(rows, "\n")
}

// bare takes all revisions away.
func bare(text string) string {
	rows := strings.Split(text, "\n")
	for i, row := range rows {
		var keep []string
		for _, f := range strings.Fields(row) {
			if !strings.HasPrefix(f, "rev=") && !strings.HasPrefix(f, "replaced=") {
				keep = append(keep, f)
			}
		}
		rows[i] = strings.Join(keep, " ")
	}
	return strings.Join(rows, "\n")
}

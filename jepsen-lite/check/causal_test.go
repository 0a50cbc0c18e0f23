package check

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// The litmus histories of the literature, one a row, and what each checker must say.
// seq numbers only order the operations of a session here: causal order knows no
// clock.
func TestLitmus(t *testing.T) {
	p, f := Pass, Fail
	names := []string{"causal", "causal-convergence", "read-your-writes", "monotonic-reads", "monotonic-writes", "writes-follow-reads"}
	for name, c := range map[string]struct {
		mode, text string
		want       [6]Verdict // in the order of names
	}{
		"causal memory, not convergent (Bouajjani et al., fig. 3)": {"lww", `
			a 1-2 put x 1
			b 3-4 put x 2
			a 5-6 get x 2
			b 7-8 get x 1`, [6]Verdict{p, f, p, p, p, p}},
		"two orders of one pair, same reader": {"lww", `
			a 1-2 put x 1
			b 3-4 put x 2
			b 5-6 get x 1
			b 7-8 get x 2`, [6]Verdict{p, f, p, p, p, p}},
		"store buffering": {"lww", `
			a 1-2 put x 1
			b 3-4 put y 2
			a 5-6 get y nil
			b 7-8 get x nil`, [6]Verdict{p, p, p, p, p, p}},
		"message passing broken": {"lww", `
			a 1-2 put x 1
			a 3-4 put y 2
			b 5-6 get y 2
			b 7-8 get x nil`, [6]Verdict{f, f, p, p, f, p}},
		"reply before post": {"lww", `
			a 1-2 put post 1
			b 3-4 get post 1
			b 5-6 put reply 2
			c 7-8 get reply 2
			c 9-10 get post nil`, [6]Verdict{f, f, p, p, p, f}},
		"three sessions long": {"lww", `
			a 1-2 put x 1
			a 3-4 put y 2
			b 5-6 get y 2
			b 7-8 put z 3
			c 9-10 get z 3
			c 11-12 get x nil`, [6]Verdict{f, f, p, p, p, p}},
		"own write gone": {"lww", `
			a 1-2 put x 1
			a 3-4 get x nil`, [6]Verdict{f, f, f, p, p, p}},
		"own write beaten by a concurrent one": {"lww", `
			b 1-2 put x 2
			a 3-4 put x 1
			a 5-6 get x 2`, [6]Verdict{p, p, p, p, p, p}},
		"back in time": {"lww", `
			a 1-2 put x 1
			a 3-4 put x 2
			b 5-6 get x 2
			b 7-8 get x 1`, [6]Verdict{f, f, p, f, p, p}},
		"back in time at eventual is allowed": {"lww", `
			a 1-2 put x 1
			a 3-4 put x 2
			b 5-6 get x 2 level=eventual
			b 7-8 get x 1 level=eventual`, [6]Verdict{p, p, p, p, p, p}},
		"back in time at monotonic": {"lww", `
			a 1-2 put x 1
			a 3-4 put x 2
			b 5-6 get x 2 level=monotonic
			b 7-8 get x 1 level=monotonic`, [6]Verdict{p, p, p, f, p, p}},
		"own write at read-your-writes": {"lww", `
			a 1-2 put x 1
			a 3-4 get x nil level=read-your-writes`, [6]Verdict{p, p, f, p, p, p}},
		"an unknown write is nobody's own": {"lww", `
			a 1-? put x 1
			a 3-4 get x nil`, [6]Verdict{p, p, p, p, p, p}},
		"an unknown write seen and lost": {"lww", `
			a 1-? put x 1
			b 3-4 get x 1
			b 5-6 get x nil`, [6]Verdict{f, f, p, f, p, p}},
		"an unknown delete explains absence": {"lww", `
			a 1-2 put x 1
			b 3-? delete x d
			a 5-6 get x nil`, [6]Verdict{p, p, p, p, p, p}},
		"a delete that had not covered it does not": {"lww", `
			a 1-2 put x 1
			b 3-4 delete x d covers=
			a 5-6 get x nil`, [6]Verdict{f, f, f, p, p, p}},
		"a put beside a delete stays": {"lww", `
			a 1-2 put x 1
			b 3-4 get x 1
			a 5-6 put x 2
			b 7-8 delete x d covers=1
			b 9-10 get x 2`, [6]Verdict{p, p, p, p, p, p}},
		"resurrected": {"lww", `
			a 1-2 put x 1
			a 3-4 delete x d
			a 5-6 get x 1`, [6]Verdict{f, f, f, p, p, p}},
		"nobody wrote it": {"lww", `
			a 1-2 get x 9`, [6]Verdict{f, f, p, p, p, p}},
		"overlapping calls are not ordered": {"lww", `
			a 1-4 put x 1
			a 2-3 get x nil`, [6]Verdict{p, p, p, p, p, p}},
		"read from the future of itself": {"lww", `
			a 1-2 get x 2
			a 3-4 put y 1
			b 5-6 get y 1
			b 7-8 put x 2`, [6]Verdict{f, f, Unknown, Unknown, Unknown, Unknown}},
		"both siblings": {"siblings", `
			a 1-2 put x 1 covers=
			b 3-4 put x 2 covers=
			a 5-6 get x 1,2`, [6]Verdict{p, p, p, p, p, p}},
		"a sibling is lost": {"siblings", `
			a 1-2 put x 1 covers=
			a 3-4 put x 2 covers=
			a 5-6 get x 2`, [6]Verdict{f, p, f, p, p, p}},
		"a sibling is covered": {"siblings", `
			a 1-2 put x 1 covers=
			b 3-4 get x 1
			b 5-6 put x 2 covers=1
			a 7-8 get x 2`, [6]Verdict{p, p, p, p, p, p}},
		"covered by a chain": {"siblings", `
			a 1-2 put x 1 covers=
			b 3-4 put x 2 covers=1
			b 5-6 put x 3 covers=2
			a 7-8 get x 3`, [6]Verdict{p, p, p, p, p, p}},
		"covered by what is not there": {"siblings", `
			a 1-2 put x 1 covers=
			b 3-4 put x 2 covers=1
			c 5-6 put x 3 covers=
			a 7-8 get x 3`, [6]Verdict{f, p, f, p, p, p}},
		"a covered sibling is back": {"siblings", `
			a 1-2 put x 1 covers=
			a 3-4 put x 2 covers=1
			a 5-6 get x 1,2`, [6]Verdict{f, p, p, p, p, p}},
		"a sibling deleted by another": {"siblings", `
			a 1-2 put x 1 covers=
			b 3-4 delete x d covers=1
			a 5-6 get x nil`, [6]Verdict{p, p, p, p, p, p}},
		"cp at causal": {"cp", `
			a 1-2 put x 1
			a 3-4 put y 2
			b 5-6 get y 2 level=causal
			b 7-8 get x nil level=causal`, [6]Verdict{f, p, p, p, f, p}},
	} {
		t.Run(name, func(t *testing.T) {
			h := script(t, c.mode, c.text)
			for i, checker := range names {
				res := verdict(t, h, checker)
				if res.Verdict != c.want[i] {
					t.Errorf("%s: got %s, want %s: %s", checker, res.Verdict, c.want[i], res.Sentence)
				}
				if res.Verdict == Fail && (len(res.Witness) == 0 || len(res.Witness) > maxWitness || res.Sentence == "") {
					t.Errorf("%s: no witness: %+v", checker, res)
				}
			}
		})
	}
}

// naive holds the causal order as a closed relation and judges by the definitions.
type naive struct {
	ops    []*history.Op
	before [][]bool
}

func newNaive(h *history.History) (n naive, thin bool) {
	for i := range h.Ops {
		n.ops = append(n.ops, &h.Ops[i])
	}
	n.before = make([][]bool, len(n.ops))
	for b := range n.ops {
		n.before[b] = make([]bool, len(n.ops))
	}
	for b, op := range n.ops {
		known := len(op.Answer.Value) == 0
		for a, other := range n.ops {
			if other.Session == op.Session && other.End < op.Begin {
				n.before[a][b] = true
			}
			if op.Kind == history.Get && other.Kind == history.Put && other.Key == op.Key && other.Call.Value == op.Answer.Value {
				n.before[a][b], known = true, true
			}
		}
		thin = thin || !known
	}
	close(n.before)
	return n, thin
}

func close(m [][]bool) {
	for k := range m {
		for i := range m {
			for j := range m {
				m[i][j] = m[i][j] || m[i][k] && m[k][j]
			}
		}
	}
}

func (n naive) cyclic() bool {
	for i := range n.before {
		if n.before[i][i] {
			return true
		}
	}
	return false
}

// explains reports whether each read returns the last write before it in some order
// of its causal past. last says whether write a comes after write b in it.
func (n naive) cc() bool {
	for r, op := range n.ops {
		if op.Kind != history.Get {
			continue
		}
		won := slices.IndexFunc(n.ops, func(w *history.Op) bool {
			return w.Kind == history.Put && w.Key == op.Key && w.Call.Value == op.Answer.Value
		})
		for w, other := range n.ops {
			if other.Kind == history.Put && other.Key == op.Key && n.before[w][r] && w != won && (won < 0 || n.before[won][w]) {
				return false
			}
		}
	}
	return true
}

// ccv tries every order of all operations that keeps the causal order.
func (n naive) ccv() bool {
	var try func(order []int) bool
	try = func(order []int) bool {
		if len(order) == len(n.ops) {
			return n.explainedBy(order)
		}
		for i := range n.ops {
			early := slices.Contains(order, i)
			for j := range n.ops {
				early = early || n.before[j][i] && !slices.Contains(order, j)
			}
			if !early && try(append(slices.Clone(order), i)) {
				return true
			}
		}
		return false
	}
	return try(nil)
}

func (n naive) explainedBy(order []int) bool {
	for r, op := range n.ops {
		if op.Kind != history.Get {
			continue
		}
		last := ""
		for _, w := range order {
			if n.ops[w].Kind == history.Put && n.ops[w].Key == op.Key && n.before[w][r] {
				last = n.ops[w].Call.Value
			}
		}
		if last != op.Answer.Value {
			return false
		}
	}
	return true
}

func TestCausalAgreesWithTheDefinitions(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	counts := map[[2]bool]int{}
	for range 3000 {
		text := randomCausal(r, 4+r.IntN(5))
		h := script(t, "lww", text)
		n, thin := newNaive(h)
		sound := !thin && !n.cyclic()
		wantCC := sound && n.cc()
		wantCCv := wantCC && n.ccv()
		gotCC, gotCCv := verdict(t, h, "causal"), verdict(t, h, "causal-convergence")
		if (gotCC.Verdict == Pass) != wantCC || (gotCCv.Verdict == Pass) != wantCCv {
			t.Fatalf("want CC %t CCv %t, got %+v and %+v of\n%s", wantCC, wantCCv, gotCC, gotCCv, text)
		}
		counts[[2]bool{wantCC, wantCCv}]++
	}
	for _, c := range [][2]bool{{false, false}, {true, false}, {true, true}} {
		if counts[c] < 30 {
			t.Errorf("the histories prove little: %v", counts)
		}
	}
}

func randomCausal(r *rand.Rand, ops int) string {
	var rows []string
	writes := map[string][]string{}
	keys := []string{"x", "y"}[:1+r.IntN(2)]
	for i := range ops {
		s, k := r.IntN(3), keys[r.IntN(len(keys))]
		at := fmt.Sprintf("s%d %d-%d", s, 2*i+1, 2*i+2)
		if r.IntN(2) == 0 {
			v := fmt.Sprint("v", i)
			writes[k] = append(writes[k], v)
			rows = append(rows, fmt.Sprintf("%s put %s %s", at, k, v))
			continue
		}
		v := "nil"
		if n := len(writes[k]); n > 0 && r.IntN(5) > 0 {
			v = writes[k][r.IntN(n)]
		}
		if r.IntN(12) == 0 {
			v = fmt.Sprint("v", r.IntN(ops))
		}
		rows = append(rows, fmt.Sprintf("%s get %s %s", at, k, v))
	}
	return strings.Join(rows, "\n")
}

// A guarantee that is broken means that causality is: the four never accuse a
// history that causal accepts (Brzeziński et al., 2004).
func TestGuaranteesAreImpliedByCausal(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	found := map[string]int{}
	for range 1500 {
		text := randomCausal(r, 4+r.IntN(8))
		h := script(t, "lww", text)
		causal := verdict(t, h, "causal").Verdict
		for _, name := range []string{"read-your-writes", "monotonic-reads", "monotonic-writes", "writes-follow-reads"} {
			if res := verdict(t, h, name); res.Verdict == Fail {
				found[name]++
				if causal != Fail {
					t.Fatalf("%s fails and causal does not: %+v\n%s", name, res, text)
				}
			}
		}
	}
	if len(found) != 4 {
		t.Errorf("not every guarantee was broken once: %v", found)
	}
}

func BenchmarkCausal100k(b *testing.B) {
	s := sim{r: rand.New(rand.NewPCG(3, 4)), clients: 20, keys: 400}
	r := newRecord(script(b, "cp", s.run(100_000)), zero())
	for b.Loop() {
		if res := causal(r); res.Verdict != Pass {
			b.Fatal(res)
		}
	}
}

package check

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"pgregory.net/rapid"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// bruteForce tries every order of at most a handful of operations.
func bruteForce(acts []act) bool {
	var try func(left []act, state register) bool
	try = func(left []act, state register) bool {
		if !slices.ContainsFunc(left, func(a act) bool { return a.sure }) {
			return true // what is left may never have happened
		}
		for i, a := range left {
			late := slices.ContainsFunc(left, func(b act) bool { return b.ret < a.call })
			next, ok := a.step(state)
			if late || !ok {
				continue
			}
			if try(slices.Delete(slices.Clone(left), i, i+1), next) {
				return true
			}
		}
		return false
	}
	return try(acts, register{})
}

func rulingOf(h *history.History) (ruling, []act) {
	r := newRecord(h, zero())
	return r.rule(r.order[0]), registerOf(r.keys[r.order[0]])
}

func TestLinearizableAgreesWithBruteForce(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	counts := map[bool]int{}
	for i := range 3000 {
		s := sim{r: r, clients: 3, lose: 0.2}
		text := s.run(2 + r.IntN(5))
		if i%3 != 0 {
			text = lie(r, text)
		}
		if i%2 == 0 {
			text = bare(text)
		}
		got, acts := rulingOf(script(t, "cp", text))
		want := bruteForce(acts)
		counts[want]++
		if (got.verdict == Pass) != want || got.verdict == Unknown || got.verdict == Invalid {
			t.Fatalf("brute force says %t, the stages say %+v of\n%s", want, got, text)
		}
	}
	if counts[true] < 500 || counts[false] < 500 {
		t.Fatalf("the histories prove little: %v", counts)
	}
}

func TestHonestRevisionsAreAProof(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		s := sim{r: rand.New(rand.NewPCG(seed, 0)), clients: rapid.IntRange(1, 6).Draw(t, "clients"), lose: rapid.Float64Range(0, 0.4).Draw(t, "lost")}
		text := s.run(rapid.IntRange(1, 120).Draw(t, "ops"))
		h := scriptOf(t, text)
		r := newRecord(h, zero())
		if e := witness(prune(registerOf(r.keys[r.order[0]]))); !e.proved {
			t.Fatalf("not proved: %+v\n%s", e.wrong, text)
		}
		rep := Run(h, zero())
		if rep.Verdict != Pass {
			t.Fatalf("%+v\n%s", rep.Checkers, text)
		}
	})
}

// scriptOf is script for rapid, whose T is not a testing.TB.
func scriptOf(t *rapid.T, text string) *history.History {
	var h *history.History
	func() {
		defer func() {
			if p := recover(); p != nil {
				t.Fatalf("script: %v", p)
			}
		}()
		h = script(panicTB{}, "cp", text)
	}()
	return h
}

type panicTB struct{ testing.TB }

func (panicTB) Helper()                   {}
func (panicTB) Fatal(a ...any)            { panic(fmt.Sprint(a...)) }
func (panicTB) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

func TestLinearizableSentences(t *testing.T) {
	for name, c := range map[string]struct {
		text, stage, says string
		witness           []int64
	}{
		"stale read": {`
			a 1-2 put x 1 rev=1
			a 3-10 put x 2 rev=2
			b 48-50 get x 1 rev=1`, "pre-check", "get of ks/x at 0.048 s returned 1; 2 was acknowledged 38 ms before", []int64{1, 2, 3}},
		"thin air": {`
			a 1-2 put x 1
			b 3-4 get x 9`, "pre-check", "which nobody wrote", []int64{2}},
		"future read": {`
			b 1-2 get x 1
			a 3-4 put x 1`, "pre-check", "written only 1ms later", []int64{1, 2}},
		"lost update": {`
			a 1-2 put x 1 rev=1
			a 3-6 cas x 1 2 rev=2
			b 4-7 cas x 1 3 rev=3`, "porcupine", "no single order explains 3 operations", []int64{1, 2, 3}},
		"a failed write was read": {`
			a 1-2 put! x 1 code=Unavailable
			b 3-4 get x 1`, "outcome audit", "whose write was recorded fail (Unavailable)", []int64{1, 2}},
		"acknowledged and gone": {`
			a 1-2 put x 1
			b 3-4 get x nil`, "pre-check", "1 was acknowledged 1 ms before and nobody deleted it", []int64{1, 2}},
		"refused although it matched": {`
			a 1-2 put x 1
			b 3-4 cas! x 1 2 saw 1`, "pre-check", "which is what it expected", []int64{1, 2}},
		"new then old": {`
			a 1-9 put x 1
			b 2-8 put x 2
			c 3-4 get x 1
			c 5-6 get x 2
			d 10-11 get x 1`, "porcupine", "no single order explains", []int64{1, 2, 3, 4, 5}},
	} {
		t.Run(name, func(t *testing.T) {
			res := verdict(t, script(t, "cp", c.text), "linearizable")
			if res.Verdict != Fail || !strings.Contains(res.Stage, c.stage) || !strings.Contains(res.Sentence, c.says) || !slices.Equal(res.Witness, c.witness) {
				t.Errorf("got %+v", res)
			}
		})
	}
}

func TestLinearizableAccepts(t *testing.T) {
	for name, text := range map[string]string{
		"an unknown write that nobody saw":       "a 1-? put x 1\nb 5-6 get x nil",
		"an unknown write that took effect late": "a 1-? put x 1\nb 5-6 get x nil\nb 7-8 get x 1",
		"an unknown delete":                      "a 1-2 put x 1\na 3-? delete x d\nb 5-6 get x 1\nb 7-8 get x nil",
		"a chain of unknown cas":                 "a 1-? put x 1\nb 2-? cas x 1 2\nc 3-? cas x 2 3\nd 5-6 get x 3",
		"reads below strong":                     "a 1-2 put x 1\na 3-4 put x 2\nb 5-6 get x 1 level=eventual",
		"a read that was weakened and says so":   "a 1-2 put x 1\na 3-4 put x 2\nb 5-6 get x 1 level=strong level_served=eventual",
	} {
		t.Run(name, func(t *testing.T) {
			if res := verdict(t, script(t, "cp", text), "linearizable"); res.Verdict != Pass {
				t.Errorf("got %+v", res)
			}
		})
	}
}

// A cas whose value was seen proves that its own expected value had been there, so a
// put seen only through it must not be dropped, nor left open.
func TestPruneIsTransitive(t *testing.T) {
	h := script(t, "cp", "a 1-? put x 1\nb 2-? cas x 1 2\nc 5-6 get x 2\nc 7-8 get x 1")
	if got, _ := rulingOf(h); got.verdict != Fail {
		t.Errorf("1 came back after the cas that replaced it was seen: %+v", got)
	}
}

func TestOnlyRevisionsAreWrong(t *testing.T) {
	h := script(t, "cp", "a 1-2 put x 1 rev=7\na 3-4 put x 2 rev=5\nb 5-6 get x 2 rev=5")
	if res := verdict(t, h, "linearizable"); res.Verdict != Pass {
		t.Errorf("linearizable judges values: %+v", res)
	}
	if res := verdict(t, h, "versions"); res.Verdict != Fail || len(res.Witness) == 0 {
		t.Errorf("versions: %+v", res)
	}
}

func TestStagesThatDisagreeAreInvalid(t *testing.T) {
	for text, lie := range map[string]porcupine.CheckResult{
		"a 1-2 put x 1 rev=1\nb 3-4 get x 1 rev=1": porcupine.Illegal, // the witness proves it
		"a 1-2 put x 1\nb 3-4 get x 9":             porcupine.Ok,      // the pre-check refutes it
	} {
		r := newRecord(script(t, "cp", text), zero())
		r.search.check = func([]act, time.Duration) porcupine.CheckResult { return lie }
		res := linearizable(r)
		if res.Verdict != Invalid || !strings.Contains(res.Sentence, "disagree") {
			t.Errorf("porcupine says %s: %+v", lie, res)
		}
	}
}

func TestSearchWithoutTimeIsUnknown(t *testing.T) {
	r := newRecord(script(t, "cp", "a 1-2 put x 1\nb 3-4 get x 1"), zero())
	r.search.check = func([]act, time.Duration) porcupine.CheckResult { return porcupine.Unknown }
	if res := linearizable(r); res.Verdict != Unknown {
		t.Errorf("got %+v", res)
	}
}

func TestLongKeyIsSearchedInWindows(t *testing.T) {
	s := sim{r: rand.New(rand.NewPCG(7, 7)), clients: 4, lose: 0.01}
	text := bare(s.run(patientOps + 500))
	if got, _ := rulingOf(script(t, "cp", text)); got.verdict != Unknown {
		t.Errorf("nobody can prove it without revisions: %+v", got)
	}
	end := s.seq
	text += fmt.Sprintf("\nx %d-%d put k0 p rev=0\nx %d-%d cas k0 p q\ny %d-%d cas k0 p r", end+1, end+2, end+3, end+6, end+4, end+7)
	got, _ := rulingOf(script(t, "cp", text))
	if got.verdict != Fail || len(got.found.ids()) != 3 {
		t.Errorf("two cas of one value, in a window: %+v", got)
	}
}

func TestValueWrittenTwiceIsSearchedOnly(t *testing.T) {
	good := "a 1-2 put x 1\nb 3-4 put x 2\na 5-6 put x 1\nb 7-8 get x 1"
	if res := verdict(t, script(t, "cp", good), "linearizable"); res.Verdict != Pass {
		t.Errorf("%+v", res)
	}
	if res := verdict(t, script(t, "cp", good+"\nb 9-10 get x 2"), "linearizable"); res.Verdict != Fail {
		t.Errorf("%+v", res)
	}
}

func TestForeignWritesAreNotJudged(t *testing.T) {
	h := script(t, "cp", "a 1-2 put x 1\nb 3-4 add x 1\nb 5-6 get x 2")
	if res := verdict(t, h, "linearizable"); res.Verdict != Unknown {
		t.Errorf("%+v", res)
	}
}

func BenchmarkWitness100k(b *testing.B) {
	s := sim{r: rand.New(rand.NewPCG(3, 3)), clients: 10, lose: 0.05}
	r := newRecord(script(b, "cp", s.run(100_000)), zero())
	ops := r.keys[r.order[0]]
	b.ReportAllocs()
	for b.Loop() {
		kept := prune(registerOf(ops))
		if v := precheck(kept); v != nil {
			b.Fatal(v)
		}
		if e := witness(kept); !e.proved {
			b.Fatal(e.wrong)
		}
	}
}

package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// Each failure of each file is one sentence and few operations of that history.
func TestEveryFailureHasASentenceAndFewOperations(t *testing.T) {
	failed := map[string]bool{}
	all := fixtures(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		h, err := history.Read(strings.NewReader(string(all[name])))
		if err != nil {
			continue // no history, and its sentence is judged elsewhere
		}
		ids := map[int64]bool{}
		for i := range h.Ops {
			ids[h.Ops[i].ID] = true
		}
		for _, c := range Run(h, zero()).Checkers {
			if c.Verdict != Fail {
				continue
			}
			failed[c.Name] = true
			if c.Sentence == "" || strings.Contains(c.Sentence, "\n") || len(c.Sentence) > 500 {
				t.Errorf("%s: %s says %q", name, c.Name, c.Sentence)
			}
			if n := len(c.Witness); n == 0 || n > maxWitness {
				t.Errorf("%s: %s names %d operations", name, c.Name, n)
			}
			for _, id := range c.Witness {
				if !ids[id] {
					t.Errorf("%s: %s names operation %d, and there is none", name, c.Name, id)
				}
			}
		}
	}
	if len(failed) < 10 {
		t.Errorf("only %d checkers failed", len(failed))
	}
}

// Two sessions read what the other writes only later, with much in between that
// explains nothing.
func TestACycleIsShownByWhatMakesIt(t *testing.T) {
	rows := []string{"a 1-2 get y b"}
	seq := 3
	for _, s := range []string{"a", "b"} {
		if s == "b" {
			rows = append(rows, fmt.Sprintf("b %d-%d get x a", seq, seq+1))
			seq += 2
		}
		for i := range 20 {
			rows = append(rows, fmt.Sprintf("%s %d-%d put other %s%d", s, seq, seq+1, s, i))
			seq += 2
		}
		rows = append(rows, fmt.Sprintf("%s %d-%d put %s %s", s, seq, seq+1, map[string]string{"a": "x", "b": "y"}[s], s))
		seq += 2
	}
	h := script(t, "lww", strings.Join(rows, "\n"))
	o := zero()
	o.Claims = []string{"causal"}
	for _, c := range Run(h, o).Checkers {
		if c.Name != "causal" {
			continue
		}
		if c.Verdict != Fail || !strings.Contains(c.Sentence, "4 operations wait for each other") || fmt.Sprint(c.Witness) != "[1 22 23 44]" {
			t.Errorf("%s: %s %v", c.Verdict, c.Sentence, c.Witness)
		}
	}
}

// What a search refutes is shown by few of its operations.
func TestASearchIsShrunk(t *testing.T) {
	var rows []string
	for i := range 40 {
		rows = append(rows, fmt.Sprintf("w %d-%d put x v%d", 10*i, 10*i+3, i), fmt.Sprintf("r %d-%d get x v%d", 10*i+4, 10*i+6, i))
	}
	// The second reader sees the newer value first.
	rows = append(rows, "w 500-600 put x p", "q 501-599 put x q",
		"r 610-620 get x p", "s 611-619 get x q", "r 630-640 get x q", "s 631-639 get x p")
	h := script(t, "cp", strings.Join(rows, "\n"))
	o := zero()
	o.Claims = []string{"linearizable"}
	for _, c := range Run(h, o).Checkers {
		if c.Name != "linearizable" {
			continue
		}
		if c.Verdict != Fail || len(c.Witness) > 6 || strings.Contains(c.Sentence, "are named") || strings.Contains(c.Sentence, "v3") {
			t.Errorf("%s: %s %v", c.Verdict, c.Sentence, c.Witness)
		}
	}
}

func TestALongWitnessSaysThatItIsCut(t *testing.T) {
	v := violation{sentence: "so it is"}
	for i := range int64(20) {
		v.ops = append(v.ops, &history.Op{ID: i, Begin: i})
	}
	res := v.result("")
	if len(res.Witness) != maxWitness || res.Witness[0] != 0 || res.Witness[7] != 19 || !strings.Contains(res.Sentence, "of 20 operations the first and the last 7") {
		t.Errorf("%+v", res)
	}
}

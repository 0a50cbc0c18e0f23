package check

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

func TestCounterIsWhatItsIncrementsComeTo(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want Verdict
	}{
		"an acknowledged increment is missing": {`
			a 1-2 incr x 5 sum=5
			n1 sum x 0
			n1 end`, Fail},
		"one without outcome may count or not": {`
			a 1-2 incr x 5 sum=5
			b 3-? incr x -2
			n1 sum x 3
			n1 end`, Pass},
		"one without outcome counts once": {`
			b 3-? incr x -2
			n1 sum x -4
			n1 end`, Fail},
		"what failed does not count": {`
			a 1-2 incr! x 5
			n1 sum x 5
			n1 end`, Fail},
		"an answer leaves out the session's own": {`
			a 1-2 incr x 5 sum=5
			a 3-4 incr x 1 sum=1`, Fail},
		"an answer knows of what was not called yet": {`
			a 1-2 incr x 5 sum=9
			b 3-4 incr x 4 sum=9`, Fail},
		"a session misses its own increment": {`
			a 1-2 incr x 5 sum=5
			a 3-4 get x nil`, Fail},
		"another session may not have it yet": {`
			a 1-2 incr x 5 sum=5
			b 3-4 get x nil`, Pass},
		"all held it": {`
			a 1-2 incr x 5 sum=5 w=all
			b 3-4 get x nil`, Fail},
		"an older read may": {`
			a 1-2 incr x 5 sum=5
			a 3-4 get x nil level=eventual`, Pass},
		"a quorum has what a majority held": {`
			a 1-2 incr x 5 sum=5 w=majority
			b 3-4 get x nil level=quorum`, Fail},
		"a delete may have seen what was concurrent": {`
			a 1-4 incr x 5 sum=5
			b 2-3 delete x d1
			n1 sum x 0
			n1 end`, Pass},
		"or not": {`
			a 1-4 incr x 5 sum=5
			b 2-3 delete x d1
			n1 sum x 5
			n1 end`, Pass},
		"a delete takes no part of an increment": {`
			a 1-4 incr x 5 sum=5
			b 2-3 delete x d1
			n1 sum x 6
			n1 end`, Fail},
		"a delete without outcome may come late": {`
			a 1-2 delete x d1 code=Unknown answer{"outcome":"unknown"}
			b 3-4 incr x 5 sum=5
			n1 sum x 0
			n1 end`, Pass},
		"an acknowledged delete was over before": {`
			a 1-2 delete x d1
			b 3-4 incr x 5 sum=5
			n1 sum x 0
			n1 end`, Fail},
		"a session's delete takes its own": {`
			a 1-2 incr x 5 sum=5
			a 3-4 delete x d1
			n1 sum x 5
			n1 end`, Fail},
		"what is no number": {`
			a 1-2 incr x 5 sum=5
			n1 sum x five
			n1 end`, Fail},
	} {
		t.Run(name, func(t *testing.T) { wants(t, "counter", c.text, c.want) })
	}
}

func TestSetHasWhatWasAddedAndNotRemoved(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want Verdict
	}{
		"nobody added it": {`
			a 1-2 add x milk
			n1 members x milk,eggs
			n1 end`, Fail},
		"an acknowledged add is missing": {`
			a 1-2 add x milk
			a 3-4 add x eggs
			n1 members x eggs
			n1 end`, Fail},
		"a concurrent remove may have had it": {`
			a 1-4 add x milk
			b 2-3 remove x milk
			n1 end`, Pass},
		"a remove of another member had not": {`
			a 1-4 add x milk
			b 2-3 remove x eggs
			n1 end`, Fail},
		"a delete takes all": {`
			a 1-2 add x milk w=all
			b 3-4 delete x d1
			n1 members x milk
			n1 end`, Fail},
		"a later add stays": {`
			a 1-2 add x milk w=all
			b 3-4 remove x milk
			c 5-6 add x milk
			n1 members x milk
			n1 end`, Pass},
		"and must": {`
			a 1-2 add x milk w=all
			b 3-4 remove x milk
			c 5-6 add x milk
			n1 end`, Fail},
		"an add without outcome may be there": {`
			a 1-? add x milk
			n1 members x milk
			n1 end`, Pass},
		"a session misses its own add": {`
			a 1-2 add x milk
			a 3-4 get x nil`, Fail},
		"a session sees what it removed": {`
			a 1-2 add x milk
			a 3-4 remove x milk
			a 5-6 get x milk`, Fail},
	} {
		t.Run(name, func(t *testing.T) { wants(t, "set", c.text, c.want) })
	}
}

func wants(t *testing.T, policy, text string, want Verdict) {
	t.Helper()
	got := verdict(t, script(t, policy, text), policy)
	if got.Verdict != want {
		t.Errorf("%s: %s, want %s", got.Verdict, got.Sentence, want)
	}
	if got.Verdict == Fail && strings.TrimSpace(got.Sentence) == "" {
		t.Error("it fails and says nothing")
	}
}

func TestFixturesOfTypes(t *testing.T) {
	for name, want := range map[string]Verdict{
		"counter-kept": Pass, "counter-delete-undone": Fail, "counter-counted-twice": Fail,
		"set-kept": Pass, "set-member-lost": Fail, "set-member-back": Fail,
		"map-kept": Pass, "map-field-back": Fail,
	} {
		policy, _, _ := strings.Cut(name, "-")
		h, err := history.Read(strings.NewReader(string(fixtures(t)[name])))
		if err != nil {
			t.Fatal(err)
		}
		if got := verdict(t, h, policy); got.Verdict != want {
			t.Errorf("%s: %s, want %s: %s", name, got.Verdict, want, got.Sentence)
		}
	}
}

// A few operations prove nothing, and no checker of registers judges a counter.
func TestTypesHaveAFloorAndAreNoRegisters(t *testing.T) {
	h := script(t, "counter", "a 1-2 incr x 5 sum=5\na 3-4 get x 5\nb 5-6 delete x d1")
	for _, res := range Run(h, Options{}).Checkers {
		switch res.Name {
		case "counter":
			if res.Verdict != Invalid {
				t.Errorf("three operations are %s", res.Verdict)
			}
		case "outcomes", "versions":
			if res.Verdict != Pass {
				t.Errorf("%s: %s: %s", res.Name, res.Verdict, res.Sentence)
			}
		default:
			t.Errorf("%s judges a counter: %s", res.Name, res.Sentence)
		}
	}
}

// One replica that answers everything at once keeps every promise; whoever changes one
// answer of it is found out, or has changed nothing that was promised.
func TestCheckerOfCountersAcceptsOneReplica(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 200 {
		sum, text, gets := 0, "", 0
		for i := range 40 {
			at := "s" + strconv.Itoa(r.IntN(3)) + " " + strconv.Itoa(2*i+1) + "-" + strconv.Itoa(2*i+2)
			switch r.IntN(10) {
			case 0:
				sum = 0
				text += at + " delete x d" + strconv.Itoa(i) + " w=all\n"
			case 1, 2, 3:
				gets++
				shown := strconv.Itoa(sum)
				if sum == 0 {
					shown = "nil"
				}
				text += at + " get x " + shown + "\n"
			default:
				delta := r.IntN(9) - 4
				sum += delta
				text += at + " incr x " + strconv.Itoa(delta) + " sum=" + strconv.Itoa(sum) + " w=all\n"
			}
		}
		wants(t, "counter", text+"n1 sum x "+strconv.Itoa(sum)+"\nn1 end", Pass)
		wants(t, "counter", text+"n1 sum x "+strconv.Itoa(sum+1)+"\nn1 end", Fail)
	}
}

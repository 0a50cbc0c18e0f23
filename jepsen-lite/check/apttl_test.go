package check

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// All checkers of registers know that a value may end, and what that leaves.
func TestHonestClusterWithTTLsPasses(t *testing.T) {
	gone := 0
	for seed := range uint64(120) {
		for _, mode := range []string{"lww", "siblings"} {
			c := newCluster(rand.New(rand.NewPCG(seed, 5)), mode, "", 3+int(seed)%8)
			c.ttls, c.views = true, seed%2 == 0
			text := c.watchedOrNot(60 + int(seed)%240)
			for _, res := range Run(script(t, mode, text), zero()).Checkers {
				none := res.Name == "ttl" && strings.Contains(res.Sentence, "no key was seen")
				if res.Verdict != Pass && !none {
					t.Fatalf("%s, seed %d: %+v\n%s", mode, seed, res, text)
				}
				if res.Name == "ttl" && !none {
					gone++
				}
			}
		}
	}
	if gone < 100 {
		t.Errorf("values were seen to have gone in %d runs only", gone)
	}
}

func (c *cluster) watchedOrNot(ops int) string {
	if c.views {
		return c.watched(ops)
	}
	return c.run(ops)
}

func TestBugsOfTTLsAreCaught(t *testing.T) {
	for _, c := range []struct {
		mode, bug, checker string
		least              int // runs of 10
	}{
		{"lww", "ends early", "ttl", 9},
		{"siblings", "ends early", "ttl", 9},
		{"siblings", "ends the key", "causal", 7}, // values that stay among them
		{"siblings", "never ends", "ttl", 10},
		{"lww", "never ends", "ttl", 10},
	} {
		caught := 0
		for seed := range uint64(10) {
			cluster := newCluster(rand.New(rand.NewPCG(seed, 6)), c.mode, c.bug, 8)
			cluster.ttls = true
			if verdict(t, script(t, c.mode, cluster.run(2000)), c.checker).Verdict == Fail {
				caught++
			}
		}
		if caught < c.least {
			t.Errorf("%s on %s: caught in %d of 10 runs", c.bug, c.mode, caught)
		}
	}
}

func TestValuesThatEndOnAP(t *testing.T) {
	const slow = 30_000 // behind all ends
	for name, c := range map[string]struct {
		mode, text string
		want       Verdict
	}{
		"gone behind its time": {"lww", `
			a 100-110 put x v1 ttl_ms=500
			a 200-210 get x v1
			a 700-710 get x nil`, Pass},
		"gone too early": {"lww", `
			a 100-110 put x v1 ttl_ms=500
			a 400-410 get x nil`, Fail},
		"gone too early, of several": {"siblings", `
			a 100-110 put x v1 covers= ttl_ms=500
			a 120-130 put x v2 covers=
			a 400-410 get x v2`, Fail},
		"another session may not have it yet": {"lww", `
			a 100-110 put x v1 ttl_ms=500
			a 700-710 get x nil
			b 400-410 get x nil`, Pass},
		"refreshed, and it stays": {"lww", `
			a 100-110 put x v1 ttl_ms=500
			a 400-410 put x v2 ttl_ms=500
			a 700-710 get x v2
			a 1000-1010 get x nil`, Pass},
		"refreshed, and gone by the first time": {"lww", `
			a 100-110 put x v1 ttl_ms=500
			a 400-410 put x v2 ttl_ms=500
			a 700-710 get x nil`, Fail},
		"put to stay, and gone by the first time": {"siblings", `
			a 100-110 put x v1 covers= ttl_ms=500
			a 400-410 put x v2 covers=v1
			a 700-710 get x nil
			a 720-730 put y v3 covers= ttl_ms=100
			a 900-910 get y nil`, Pass}, // that is for causal
		"what it superseded stays gone": {"lww", `
			a 100-110 put x v0
			a 150-160 put x v1 ttl_ms=500
			a 700-710 get x nil`, Pass},
		"deleted": {"lww", `
			a 100-110 put x v1 ttl_ms=500
			a 200-210 delete x d1
			a 300-310 get x nil`, Pass},
		"still there for ever": {"lww", fmt.Sprintf(`
			a 100-110 put x v1 ttl_ms=500
			a 120-130 put y v2 ttl_ms=500
			a 700-710 get y nil
			b %d-%d get x v1`, slow, slow+1), Fail},
		"left behind on a replica": {"lww", `
			a 100-110 put x v1 ttl_ms=500
			a 700-710 get x nil
			n1 end
			n2 dump x v1
			n2 end`, Fail},
		"shown again by the node that had shown it gone": {"siblings", `
			a 100-110 put x v1 covers= ttl_ms=500 served_by=n1
			b 200-210 get x v1 served_by=n2
			c 700-710 get x nil served_by=n2
			d 720-730 get x v1 served_by=n2
			a 740-750 get x nil served_by=n1`, Fail},
		"shown again to a session that had seen it gone": {"lww", `
			a 100-110 put x v1 ttl_ms=500
			b 200-210 get x v1
			b 700-710 get x nil
			b 720-730 get x v1`, Fail},
		"an eventual read may show it again": {"lww", `
			a 100-110 put x v1 ttl_ms=500
			b 200-210 get x v1
			b 700-710 get x nil
			b 720-730 get x v1 level=eventual`, Pass},
		"shown by a node that has not heard": {"siblings", `
			a 100-110 put x v1 covers= ttl_ms=500 served_by=n1
			b 200-210 get x v1 served_by=n2
			c 700-710 get x nil served_by=n1
			d 720-730 get x v1 served_by=n2
			a 740-750 get x nil served_by=n1`, Pass},
		"a loser of lww shows when the winner has ended": {"lww", `
			a 100-110 put x v1 ttl_ms=900 served_by=n1
			b 105-115 put x v2 ttl_ms=300 served_by=n2
			c 200-210 get x v1 served_by=n3
			d 220-230 get x v2 served_by=n3
			d 500-510 get x v1 served_by=n3
			d 1100-1110 get x nil served_by=n3`, Pass},
		"nothing ever went": {"lww", `
			a 100-110 put x v1 ttl_ms=500
			a 200-210 get x v1`, Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			got := verdict(t, script(t, c.mode, c.text), "ttl")
			if got.Verdict != c.want {
				t.Errorf("%s: %s, want %s", got.Verdict, got.Sentence, c.want)
			}
		})
	}
}

// A value may end early by what clocks were apart, and by no more.
func TestWrongClocksExcuseAsMuchAsTheyWereWrong(t *testing.T) {
	const text = `
		a 1000-1010 put x v1 ttl_ms=5000
		a 3000-3010 get x nil`
	at := func(seq int, phase, by string) string {
		return fmt.Sprintf(`{"seq":%d,"t_ns":%d,"type":"fault","fault":"skew","phase":%q,"detail":%q}`+"\n", seq, seq*1e6, phase, by)
	}
	for _, c := range []struct {
		from, to int
		by       string
		want     Verdict
	}{
		{900, 4000, "n1 by 3.5s", Pass},
		{900, 4000, "n1 by 2s", Fail},
		{900, 4000, "n1 by 1s, n4 by -2.5s", Pass},
		{900, 1500, "n1 by -3.5s", Pass},   // behind when it was put
		{1500, 4000, "n1 by -9s", Fail},    // behind later only
		{3500, 4000, "n1 by 9s", Fail},     // after it
		{100, 500, "n1 by 9s", Fail},       // before it
		{900, 4000, "n1, who knows", Pass}, // may be any
	} {
		h := readText(t, string(lines(t, "lww", text))+at(c.from, history.Begin, c.by)+at(c.to, history.End, c.by))
		got := verdict(t, h, "ttl")
		if got.Verdict == Invalid {
			got.Verdict = Pass // nothing else was to be seen
		}
		if got.Verdict != c.want {
			t.Errorf("%s from %d to %d: %s: %s", c.by, c.from, c.to, got.Verdict, got.Sentence)
		}
	}
}

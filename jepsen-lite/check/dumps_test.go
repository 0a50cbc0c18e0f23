package check

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

func TestDumps(t *testing.T) {
	p, f, x := Pass, Fail, Invalid
	for name, c := range map[string]struct {
		mode, text           string
		convergent, lossless Verdict
	}{
		"equal":                          {"lww", "a 1-2 put x 1\nn1 dump x 1\nn1 end\nn2 dump x 1\nn2 end", p, p},
		"one empty":                      {"lww", "a 1-2 put x 1\nn1 dump x 1\nn1 end\nn2 end", f, f},
		"all empty":                      {"lww", "a 1-2 put x 1\nn1 end\nn2 end", p, f},
		"all empty by an unknown delete": {"lww", "a 1-2 put x 1\nb 3-? delete x d\nn1 end\nn2 end", p, p},
		"one dump":                       {"lww", "a 1-2 put x 1\nn1 dump x 1\nn1 end", x, p},
		"an unfinished dump":             {"lww", "a 1-2 put x 1\nn1 dump x 1", x, x},
		"no dump":                        {"lww", "a 1-2 put x 1", x, x},
		"a sibling lost everywhere":      {"siblings", "a 1-2 put x 1 covers=\nb 3-4 put x 2 covers=\nn1 dump x 2\nn1 end\nn2 dump x 2\nn2 end", p, f},
		"a sibling covered":              {"siblings", "a 1-2 put x 1 covers=\nb 3-4 put x 2 covers=1\nn1 dump x 2\nn1 end\nn2 dump x 2\nn2 end", p, p},
		"covered by a covered one":       {"siblings", "a 1-2 put x 1 covers=\nb 3-4 put x 2 covers=1\nb 5-6 put x 3 covers=2\nn1 dump x 3\nn1 end\nn2 dump x 3\nn2 end", p, p},
		"deleted by what covered it":     {"siblings", "a 1-2 put x 1 covers=\nb 3-4 delete x d covers=1\nn1 end\nn2 end", p, p},
		"deleted without covering it":    {"siblings", "a 1-2 put x 1 covers=\nb 3-4 delete x d covers=\nn1 end\nn2 end", p, f},
		"an unknown write stays":         {"lww", "a 1-? put x 1\nn1 dump x 1\nn1 end\nn2 dump x 1\nn2 end", p, p},
		"an old value is back":           {"lww", "a 1-2 put x 1\na 3-4 put x 2\nn1 dump x 1\nn1 end\nn2 dump x 1\nn2 end", p, f},
		"cp":                             {"cp", "a 1-2 put x 1 rev=1\nb 3-4 put x 2 rev=2\nn1 dump x 2\nn1 end\nn2 dump x 2\nn2 end", p, p},
		"cp, the last is lost":           {"cp", "a 1-4 put x 1 rev=1\nb 2-5 put x 2 rev=2\nn1 dump x 1\nn1 end\nn2 dump x 1\nn2 end", p, f},
		"cp, the last unknown":           {"cp", "a 1-4 put x 1 rev=1\nb 5-? put x 2\nn1 dump x 2\nn1 end\nn2 dump x 2\nn2 end", p, p},
		"cp, an observed unknown lost":   {"cp", "a 1-4 put x 1 rev=1\nb 5-? put x 2\nc 6-7 get x 2 rev=2\nn1 dump x 1\nn1 end\nn2 dump x 1\nn2 end", p, f},
		"cp, gone":                       {"cp", "a 1-4 put x 1\nn1 end\nn2 end", p, f},
		"cp, deleted":                    {"cp", "a 1-4 put x 1\na 5-6 delete x d\nn1 end\nn2 end", p, p},
	} {
		t.Run(name, func(t *testing.T) {
			h := script(t, c.mode, c.text)
			if res := verdict(t, h, "convergence"); res.Verdict != c.convergent {
				t.Errorf("convergence: got %+v", res)
			}
			if res := verdict(t, h, "durability"); res.Verdict != c.lossless {
				t.Errorf("durability: got %+v", res)
			}
		})
	}
}

func TestDumpInsideAFaultProvesNothing(t *testing.T) {
	raw := string(lines(t, "lww", "a 1-2 put x 1\nn1 dump x 1\nn1 end\nn2 dump x 1\nn2 end"))
	raw += `{"seq":5,"t_ns":5,"type":"fault","fault":"partition","phase":"begin"}` + "\n"
	h := readText(t, raw)
	if res := verdict(t, h, "convergence"); res.Verdict != Invalid || !strings.Contains(res.Sentence, "while a fault") {
		t.Errorf("got %+v", res)
	}
}

func TestDotsNameOneWrite(t *testing.T) {
	ops := string(lines(t, "siblings", "a 1-2 put x 1 covers=\nb 3-4 put x 2 covers="))
	dump := func(seq, node, dot, value string) string {
		return `{"seq":` + seq + `,"t_ns":9,"type":"dump","node":"` + node + `","keyspace":"ks","key":"x","siblings":[{"dot":"` + dot + `","stamp":"s","value":"` + value + `"}]}` + "\n"
	}
	for name, text := range map[string]string{
		"one dot, two values": dump("10", "n1", "A1", "1") + dump("11", "n2", "A1", "2"),
		"one value, two dots": dump("10", "n1", "A1", "1") + dump("11", "n2", "A2", "1"),
	} {
		if res := verdict(t, readText(t, ops+text), "versions"); res.Verdict != Fail {
			t.Errorf("%s: %+v", name, res)
		}
	}
	if res := verdict(t, readText(t, ops+dump("10", "n1", "A1", "1")+dump("11", "n2", "A1", "1")), "versions"); res.Verdict != Pass {
		t.Errorf("same dot, same value: %+v", res)
	}
}

func TestStampsFollowCausality(t *testing.T) {
	const ops = `
		a 1-2 put x 1
		b 3-4 get x 1
		b 5-6 put y 2
		c 7-8 put z 3
		b 9-10 put w 4`
	for name, c := range map[string]struct {
		stamps map[string]int // of the write of each key
		want   Verdict
	}{
		"as they come":               {map[string]int{"x": 10, "y": 20, "z": 5, "w": 30}, Pass},
		"concurrent ones in any":     {map[string]int{"x": 10, "y": 20, "z": 1, "w": 30}, Pass},
		"read before":                {map[string]int{"x": 20, "y": 10, "z": 5, "w": 30}, Fail},
		"equal":                      {map[string]int{"x": 20, "y": 20, "z": 5, "w": 30}, Fail},
		"written before":             {map[string]int{"x": 10, "y": 40, "z": 5, "w": 30}, Fail},
		"read before its last write": {map[string]int{"x": 35, "z": 5, "w": 30}, Fail},
		"not there any more":         {map[string]int{"y": 10, "z": 5, "w": 30}, Pass},
	} {
		text := string(lines(t, "lww", ops))
		for i, key := range []string{"x", "y", "z", "w"} {
			if stamp := c.stamps[key]; stamp > 0 {
				text += fmt.Sprintf(`{"seq":%d,"t_ns":9,"type":"dump","node":"n1","keyspace":"ks","key":%q,"siblings":[{"dot":"A%d","stamp":"%d","value":"%d"}]}`+"\n", 20+i, key, i, stamp, i+1)
			}
		}
		if res := verdict(t, readText(t, text), "versions"); res.Verdict != c.want {
			t.Errorf("%s: %+v", name, res)
		}
	}
	// Another group has a clock of its own.
	text := string(lines(t, "lww", ops)) +
		`{"seq":20,"t_ns":9,"type":"dump","node":"n1","keyspace":"ks","group":"0","key":"x","siblings":[{"dot":"A1","stamp":"20","value":"1"}]}` + "\n" +
		`{"seq":21,"t_ns":9,"type":"dump","node":"n1","keyspace":"ks","group":"1","key":"y","siblings":[{"dot":"B1","stamp":"10","value":"2"}]}` + "\n"
	if res := verdict(t, readText(t, text), "versions"); res.Verdict != Pass {
		t.Errorf("two groups: %+v", res)
	}
}

// The floor is in writes: a key that everybody agrees is deleted has no entry, and was
// compared all the same.
func TestConvergenceFloorCountsWrites(t *testing.T) {
	var text strings.Builder
	for i := range 20 {
		fmt.Fprintf(&text, "a %d-%d %s x %d\n", 2*i+1, 2*i+2, []string{"put", "delete"}[i%2], i)
	}
	floored := func(h *history.History, name string) Result {
		out := Run(h, Options{Claims: []string{name}})
		return out.Checkers[slices.IndexFunc(out.Checkers, func(r Result) bool { return r.Name == name })]
	}
	ended := "n1 end\nn2 end"
	if res := floored(script(t, "lww", text.String()+ended), "convergence"); res.Verdict != Pass {
		t.Errorf("20 writes that left nothing: %+v", res)
	}
	if res := floored(script(t, "lww", "a 1-2 put x 1\nn1 dump x 1\nn2 dump x 1\n"+ended), "convergence"); res.Verdict != Invalid {
		t.Errorf("one write: %+v", res)
	}
}

// A disk that is lost takes what it alone had, and nothing else.
func TestLostDisksExcuseOnlyWhatWasOnOneOfThem(t *testing.T) {
	for name, c := range map[string]struct {
		mode, text string
		want       Verdict
	}{
		"by one replica of ap": {"lww", "a 1-2 put x 1\nn1 end\nn2 end", Pass},
		"by a majority of ap":  {"lww", "a 1-2 put x 1 w=majority\nn1 end\nn2 end", Fail},
		"by cp":                {"cp", "a 1-4 put x 1\nn1 end\nn2 end", Fail},
	} {
		o := zero()
		o.Claims, o.Wiped = []string{"durability"}, true
		rep := Run(script(t, c.mode, c.text), o)
		if rep.Verdict != c.want {
			t.Errorf("acknowledged %s: %+v", name, rep.Checkers)
		}
	}
}

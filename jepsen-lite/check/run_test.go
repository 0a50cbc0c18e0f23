package check

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

func readText(t testing.TB, text string) *history.History {
	t.Helper()
	h, err := history.Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestFixtures(t *testing.T) {
	for file, want := range map[string]struct {
		verdict Verdict
		fails   []string
	}{
		"good":             {Pass, nil},
		"stale-read":       {Fail, []string{"linearizable", "causal", "read-your-writes"}},
		"thin-air":         {Fail, []string{"linearizable", "causal"}},
		"lost-update":      {Fail, []string{"linearizable"}},
		"causal-violation": {Fail, []string{"causal", "causal-convergence", "writes-follow-reads"}},
		"ryw-violation":    {Fail, []string{"causal", "causal-convergence", "read-your-writes"}},
		"sibling-lost":     {Fail, []string{"durability"}},
		"bounded-too-old":  {Fail, []string{"staleness"}},
		"bounded-kept":     {Pass, nil},
		"failed-was-read":  {Fail, []string{"outcomes", "linearizable", "causal"}},
		"revisions-lie":    {Fail, []string{"versions"}},
		"torn-line":        {Pass, nil},
	} {
		t.Run(file, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", file+".jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			o := zero()
			if file == "good" {
				o = Options{}
			}
			rep := Run(readText(t, string(text)), o)
			var fails []string
			for _, c := range rep.Checkers {
				if c.Verdict == Fail {
					fails = append(fails, c.Name)
				}
			}
			slices.Sort(fails)
			slices.Sort(want.fails)
			if rep.Verdict != want.verdict || !slices.Equal(fails, want.fails) {
				t.Errorf("got %s, failing %v: %+v", rep.Verdict, fails, rep.Checkers)
			}
		})
	}
}

func TestSmallHistoryIsInvalidNotPass(t *testing.T) {
	h := script(t, "cp", "a 1-2 put x 1\nb 3-4 get x 1")
	rep := Run(h, Options{Claims: []string{"linearizable"}})
	i := slices.IndexFunc(rep.Checkers, func(c Result) bool { return c.Name == "linearizable" })
	if rep.Verdict != Invalid || !strings.Contains(rep.Checkers[i].Sentence, "2 completed operations, and a pass needs 100") {
		t.Errorf("got %+v", rep)
	}
}

func TestFloorNeverHidesAFailure(t *testing.T) {
	h := script(t, "cp", "a 1-2 put x 1\nb 3-4 get x nil")
	if rep := Run(h, Options{Claims: []string{"linearizable"}}); rep.Verdict != Fail {
		t.Errorf("got %+v", rep)
	}
}

func TestFloors(t *testing.T) {
	enough := Compared{Ops: 100, ConcurrentPairs: 30, ReadsOfOthers: 30, ReadsInFault: 20, sessions: 2, faulty: true}
	if miss := floorRegister.missed(enough); miss != "" {
		t.Error(miss)
	}
	for name, less := range map[string]func(*Compared){
		"completed operations": func(c *Compared) { c.Ops-- },
		"overlapping pairs":    func(c *Compared) { c.ConcurrentPairs-- },
		"reads of another":     func(c *Compared) { c.ReadsOfOthers-- },
		"reads inside a fault": func(c *Compared) { c.ReadsInFault-- },
	} {
		c := enough
		less(&c)
		if miss := floorRegister.missed(c); !strings.Contains(miss, name) {
			t.Errorf("%s: %q", name, miss)
		}
		if miss := floorRegister.all(0).missed(c); miss != "" {
			t.Errorf("floor 0: %q", miss)
		}
	}
	one := enough
	one.sessions = 1
	if miss := floorSessions.missed(one); !strings.Contains(miss, "sessions") {
		t.Errorf("one session: %q", miss)
	}
	calm := enough
	calm.ReadsInFault, calm.faulty = 0, false
	if miss := floorRegister.missed(calm); miss != "" {
		t.Errorf("without a fault no read can be inside one: %q", miss)
	}
}

func TestWorst(t *testing.T) {
	for _, c := range []struct {
		in   []Verdict
		want Verdict
	}{
		{nil, Invalid},
		{[]Verdict{Pass}, Pass},
		{[]Verdict{Pass, Unknown}, Unknown},
		{[]Verdict{Unknown, Invalid, Pass}, Invalid},
		{[]Verdict{Invalid, Fail, Pass}, Fail},
	} {
		var rs []Result
		for _, v := range c.in {
			rs = append(rs, Result{Verdict: v})
		}
		if got := Worst(rs); got != c.want {
			t.Errorf("%v: got %s, want %s", c.in, got, c.want)
		}
	}
}

func TestCrashedCheckerIsUnknown(t *testing.T) {
	c := checker{name: "x", judge: func(*record) Result { panic("no idea") }}
	res := c.run(newRecord(&history.History{}, zero()), zero())
	if res.Verdict != Unknown || !strings.Contains(res.Sentence, "no idea") || res.Witness == nil {
		t.Errorf("got %+v", res)
	}
}

func TestClaimsNobodyKnowsAreInvalid(t *testing.T) {
	o := zero()
	o.Claims = []string{"linearisable"}
	rep := Run(script(t, "cp", "a 1-2 put x 1"), o)
	if rep.Verdict != Invalid || len(rep.Checkers) != 3 {
		t.Errorf("got %+v", rep)
	}
}

func TestInference(t *testing.T) {
	for _, c := range []struct{ mode, text, want string }{
		{"cp", "a 1-2 put x 1", "outcomes versions linearizable"},
		{"cp", "a 1-2 get x nil level=eventual", "outcomes versions"},
		{"cp", "a 1-2 get x nil", "outcomes versions linearizable causal read-your-writes monotonic-reads monotonic-writes writes-follow-reads"},
		{"lww", "a 1-2 get x nil level=monotonic", "outcomes versions monotonic-reads"},
		{"siblings", "a 1-2 get x nil level=bounded:1s", "outcomes versions causal read-your-writes monotonic-reads monotonic-writes writes-follow-reads staleness"},
		{"lww", "a 1-2 get x nil level=read-your-writes\nn1 end", "outcomes versions read-your-writes convergence durability"},
		{"siblings", "a 1-2 get x nil", "outcomes versions causal read-your-writes monotonic-reads monotonic-writes writes-follow-reads"},
		{"lww", "a 1-2 get x nil", "outcomes versions causal causal-convergence read-your-writes monotonic-reads monotonic-writes writes-follow-reads"},
	} {
		var got []string
		for _, res := range Run(script(t, c.mode, c.text), zero()).Checkers {
			got = append(got, res.Name)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s %s:\ngot  %v\nwant %s", c.mode, c.text, got, c.want)
		}
	}
}

func TestOutcomes(t *testing.T) {
	for text, want := range map[string]Verdict{
		"a 1-2 put! x 1 code=Unavailable\nb 3-4 get x nil": Pass,
		"a 1-2 put! x 1 code=Unavailable\nb 3-4 get x 1":   Fail,
		"a 1-2 put! x 1 code=NotReplicated":                Fail,
		"a 1-2 put! x 1\nn1 dump x 1\nn1 end":              Fail,
		"a 1-? put x 1\nb 3-4 get x 1":                     Pass,
	} {
		if res := verdict(t, script(t, "lww", text), "outcomes"); res.Verdict != want {
			t.Errorf("%s: got %+v", text, res)
		}
	}
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]Verdict{
		"a 1-2 put x 1 rev=1 replaced=0\na 3-4 put x 2 rev=2 replaced=1":                         Pass,
		"a 1-2 put x 1 rev=1\na 3-4 put x 2 rev=1":                                               Fail,
		"a 1-2 put x 1 rev=1\nb 3-4 get x 1 rev=2":                                               Fail,
		"a 1-2 put x 1 rev=1\na 3-4 put x 2 rev=2\nb 5-6 get x 1 rev=2 level=eventual":           Fail,
		"a 1-2 put x 1 rev=2 replaced=2":                                                         Fail,
		"a 1-2 put x 1 rev=1 replaced=0\na 3-4 put x 2 rev=3 replaced=0":                         Fail,
		"a 1-2 put x 1 rev=1 replaced=0\na 3-4 put x 2 rev=3 replaced=2":                         Fail,
		"a 1-2 put x 1 rev=1 replaced=0\nb 3-? put x 9\na 5-6 put x 2 rev=3 replaced=2":          Pass,
		"a 1-2 put x 1 rev=1 replaced=0\nb 3-? delete x d\na 5-6 put x 2 rev=3 replaced=0":       Pass,
		"a 1-2 put x 1 rev=1\na 3-4 delete x d rev=2 replaced=1\na 5-6 put x 2 rev=3 replaced=0": Pass,
		"a 1-2 get x nil rev=7\na 3-4 put x 1 rev=8\nb 5-6 get y nil rev=8":                      Pass,
		"a 1-2 put x 1 rev=2\na 3-4 get x nil rev=1":                                             Fail,
	} {
		h := script(t, "cp", text)
		res := verdict(t, h, "versions")
		if text == "a 1-2 put x 1 rev=2\na 3-4 get x nil rev=1" {
			res = verdict(t, h, "linearizable") // the value is wrong, and says so by itself
		}
		if res.Verdict != want {
			t.Errorf("%s: got %+v", text, res)
		}
	}
}

func TestReportJSON(t *testing.T) {
	for _, rep := range []Report{Run(nil, Options{}), Reject(errors.New("line 3: no"))} {
		text, err := json.Marshal(rep)
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range []string{`"verdict":"invalid"`, `"seed":0`, `"checkers":[{`, `"compared":{"ops":0,"concurrent_pairs":0,"reads_of_others":0,"reads_in_fault":0}`, `"witness":[]`, `"availability":[]`, `"recovery_ms":null`, `"report":""`} {
			if !strings.Contains(string(text), field) {
				t.Errorf("%s is not in %s", field, text)
			}
		}
	}
}

func TestAvailability(t *testing.T) {
	text := string(lines(t, "cp", `
		a 1-2 put x 1 node=n1
		a 11-12 put! x 2 node=n1 code=Unavailable
		b 13-14 put x 3 node=n3
		b 15-16 get x 3 node=n3 level=strong level_served=eventual
		a 31-32 put! x 4 node=n1 code=Unavailable
		a 33-45 put x 5 node=n1
		b 34-40 get x 3 node=n3`))
	text += `{"seq":10,"t_ns":10000000,"type":"fault","fault":"partition","phase":"begin","detail":"n1,n2|n3"}
{"seq":30,"t_ns":30000000,"type":"fault","fault":"partition","phase":"end"}
`
	table := Availability(readText(t, text))
	got := map[string][2]int{}
	for _, r := range table.Rows {
		got[r.Node+" "+r.Side+" "+r.Op+" "+r.Level+" "+r.Phase] = [2]int{r.Ops, r.OK}
	}
	for row, want := range map[string][2]int{
		"n1 n1,n2 put  before":    {1, 1},
		"n1 n1,n2 put  during":    {1, 0},
		"n3 n3 put  during":       {1, 1},
		"n3 n3 get strong during": {1, 0},
		"n1 n1,n2 put  after":     {2, 1},
		"n3 n3 get strong after":  {1, 1},
	} {
		if got[row] != want {
			t.Errorf("%q: got %v, want %v", row, got[row], want)
		}
	}
	if ms := table.recoveryMS(); ms == nil || *ms != 15 {
		t.Errorf("recovery: got %v", table)
	}
}

func TestACrashOfTheJudgingIsUnknown(t *testing.T) {
	rep := guarded(func() Report { panic("a planted crash") })
	if rep.Verdict != Unknown || len(rep.Checkers) != 1 || !strings.Contains(rep.Checkers[0].Sentence, "a planted crash") {
		t.Errorf("%+v", rep)
	}
}

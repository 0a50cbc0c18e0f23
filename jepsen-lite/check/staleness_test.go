package check

import (
	"strings"
	"testing"
)

func TestStaleness(t *testing.T) {
	for _, c := range []struct {
		name, mode, text string
		want             Verdict
		ops              int // reads that had something to show
	}{
		{"within the bound anything goes", "siblings", `
			a 100-110 put x v1 covers=
			b 600-610 get x nil level=bounded:500ms`, Pass, 0},
		{"behind the bound it must be there", "siblings", `
			a 100-110 put x v1 covers=
			b 611-620 get x nil level=bounded:500ms`, Fail, 0},
		{"the read counts from its call, the write from its answer", "siblings", `
			a 100-700 put x v1 covers=
			b 900-2000 get x nil level=bounded:500ms`, Pass, 0},
		{"what was not acknowledged is not due", "siblings", `
			a 100-? put x v1 covers=
			b 200-210 put! x v2 covers= code=Unavailable
			c 1000-1010 get x nil level=bounded:500ms`, Pass, 0},
		{"superseded by what covers it", "siblings", `
			a 100-110 put x v1 covers=
			a 200-210 put x v2 covers=v1
			b 1000-1010 get x v2 level=bounded:500ms`, Pass, 1},
		{"a sibling that nothing covers must stay", "siblings", `
			a 100-110 put x v1 covers=
			a 200-210 put x v2 covers=
			b 1000-1010 get x v2 level=bounded:500ms`, Fail, 0},
		{"beaten on lww by a concurrent write", "lww", `
			a 100-110 put x v1
			b 105-115 put x v2
			c 1000-1010 get x v2 level=bounded:500ms`, Pass, 1},
		{"older than what was due on lww", "lww", `
			a 100-110 put x v1
			a 200-210 put x v2
			c 1000-1010 get x v1 level=bounded:500ms`, Fail, 0},
		{"a delete may have removed it", "lww", `
			a 100-110 put x v1
			b 200-210 delete x d1
			c 1000-1010 get x nil level=bounded:500ms`, Pass, 1},
		{"on cp the revision tells", "cp", `
			a 100-110 put x v1 rev=4 replaced=0
			b 200-210 put x v2 rev=5 replaced=4
			c 1000-1010 get x v1 rev=4 level=bounded:500ms`, Fail, 0},
		{"on cp a delete that was due", "cp", `
			a 100-110 put x v1 rev=4 replaced=0
			a 200-210 delete x d1 rev=5 replaced=4
			c 1000-1010 get x v1 rev=4 level=bounded:500ms`, Fail, 0},
		{"on cp an absence at a later revision", "cp", `
			a 100-110 put x v1 rev=4 replaced=0
			a 200-210 delete x d1 rev=5 replaced=4
			c 1000-1010 get x nil rev=9 level=bounded:500ms`, Pass, 1},
		{"quorum shows what a majority held", "siblings", `
			a 100-110 put x v1 covers= w=majority
			b 111-120 get x nil level=quorum`, Fail, 0},
		{"quorum owes nothing of one member", "siblings", `
			a 100-110 put x v1 covers=
			b 111-120 get x nil level=quorum`, Pass, 0},
		{"quorum owes nothing that was not over", "siblings", `
			a 100-115 put x v1 covers= w=all
			b 111-120 get x nil level=quorum`, Pass, 0},
		{"a weaker answer that says so owes nothing", "siblings", `
			a 100-110 put x v1 covers=
			b 1000-1010 get x nil level=bounded:500ms level_served=eventual`, Pass, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := verdict(t, script(t, c.mode, c.text), "staleness")
			if res.Verdict != c.want || res.Verdict == Pass && res.Compared.Ops != c.ops {
				t.Errorf("got %+v", res)
			}
			if res.Verdict == Fail && (len(res.Witness) != 2 || !strings.Contains(res.Sentence, "before")) {
				t.Errorf("it does not show why: %+v", res)
			}
		})
	}
}

func TestStalenessHasAFloor(t *testing.T) {
	h := script(t, "siblings", "a 100-110 put x v1 covers=\nb 1000-1010 get x v1 level=bounded:500ms")
	for _, res := range Run(h, Options{Claims: []string{"staleness"}}).Checkers {
		if res.Name == "staleness" && (res.Verdict != Invalid || !strings.Contains(res.Sentence, "1 completed operations, and a pass needs 20")) {
			t.Errorf("got %+v", res)
		}
	}
}

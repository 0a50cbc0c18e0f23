package check

import (
	"strings"
	"testing"
)

func TestNoReadIsServedBelowItsLevel(t *testing.T) {
	for _, c := range []struct {
		name, mode, arguments string
		want                  Verdict
	}{
		{"as asked", "lww", "level=causal level_served=causal", Pass},
		{"above", "cp", "level=quorum level_served=strong", Pass},
		{"nothing is below eventual", "lww", "level=eventual level_served=monotonic", Pass},
		{"the default of ap is causal", "lww", "level_served=causal", Pass},
		{"bounded, and its bound is in the call", "lww", "level=bounded:500ms level_served=bounded", Pass},
		{"below", "lww", "level=causal level_served=eventual", Fail},
		{"below the default of cp", "cp", "rev=1 level_served=causal", Fail},
		{"another guarantee, neither above nor below", "lww", "level=read-your-writes level_served=monotonic", Fail},
		{"bounded is not causal", "lww", "level=bounded:500ms level_served=causal", Fail},
		{"quorum is not bounded", "lww", "level=bounded:500ms level_served=quorum", Fail},
		{"it does not say", "lww", "level=causal", Fail},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := script(t, c.mode, "a 1-2 put x 1 rev=1 replaced=0\na 3-4 get x 1 "+c.arguments)
			res := verdict(t, h, "levels")
			if res.Verdict != c.want || res.Verdict == Pass && res.Compared.Ops != 1 {
				t.Errorf("got %+v", res)
			}
			if res.Verdict == Fail && (len(res.Witness) != 1 || !strings.Contains(res.Sentence, "asked for")) {
				t.Errorf("it does not show why: %+v", res)
			}
		})
	}
}

// Nobody promised what was refused, and a write is at no level.
func TestLevelsAreOfReadsThatWereAnswered(t *testing.T) {
	h := script(t, "lww", "a 1-2 put x 1\na 3-? get x nil level=causal\na 5-6 get x 1 level=causal level_served=causal")
	if res := verdict(t, h, "levels"); res.Verdict != Pass || res.Compared.Ops != 1 {
		t.Errorf("got %+v", res)
	}
}

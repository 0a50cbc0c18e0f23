package check

import "testing"

// Histories that an earlier checker let pass. Each lost or brought back something.
func TestHistoriesThatOnceFooledACheckerFail(t *testing.T) {
	for _, c := range []struct{ name, mode, text, checker string }{
		{"a chain of overlapping puts does not excuse the loss of its end", "lww", `
			a 1-4 put x 1
			b 3-6 put x 2
			c 5-8 put x 3
			d 7-10 put x 4
			n1 dump x 1
			n1 end
			n2 dump x 1
			n2 end`, "durability"},
		{"an unknown put does not excuse the loss of all later ones", "lww", `
			a 1-4 put x 1
			b 3-? put x 2
			c 20-22 put x 3
			n1 dump x 1
			n1 end
			n2 dump x 1
			n2 end`, "durability"},
		{"a delete that was over does not hide a later put", "lww", `
			b 1-2 delete x d1
			a 3-4 put x 1
			a 5-6 get x nil`, "read-your-writes"},
		{"a delete without a context removes no sibling", "siblings", `
			b 1-2 delete x d1
			a 3-4 put x 1 covers=
			a 5-6 get x nil`, "causal"},
		{"a delete without a context does not excuse a lost sibling", "siblings", `
			a 3-4 put x 1 covers=
			a 7-8 put y 1 covers=
			b 5-6 delete x d1
			n1 dump y 1
			n1 end
			n2 dump y 1
			n2 end`, "durability"},
		{"what a session saw gone does not come back", "lww", `
			a 1-2 put x 1
			b 3-4 get x 1
			c 5-6 delete x d1
			b 7-8 get x nil
			b 9-10 get x 1`, "causal"},
		{"an old unknown write that was overwritten is not the last word", "cp", `
			a 1-? put x 1
			b 3-4 get x 1 rev=1
			b 5-6 put x 2 rev=2 replaced=1
			n1 dump x 1
			n1 end
			n2 dump x 1
			n2 end`, "durability"},
		{"a strong read that says it was served less", "cp", `
			a 1-2 put x 1 rev=1 replaced=0
			b 3-4 get x nil rev=0 level_served=eventual level=strong`, "outcomes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r := verdict(t, script(t, c.mode, c.text), c.checker); r.Verdict != Fail {
				t.Errorf("%s: %s %s", c.checker, r.Verdict, r.Sentence)
			}
		})
	}
}

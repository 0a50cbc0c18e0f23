package check

import "testing"

// Who saw something, and then nothing, has seen the one delete that can have done it: what
// its session did before is in its past.
func TestAbsenceFollowsTheOnlyDeleteThatExplainsIt(t *testing.T) {
	const posted = `
		a 1-2 put task 1
		c 3-4 get task 1
		b 5-6 put post 2
		b 7-8 delete task d`
	for name, c := range map[string]struct {
		mode, text string
		want       Verdict
	}{
		"and so does what its session had written": {"lww", posted + `
			c 9-10 get task nil
			c 11-12 get post 2`, Pass},
		"without what its session had written": {"lww", posted + `
			c 9-10 get task nil
			c 11-12 get post nil`, Fail},
		"without it, on siblings": {"siblings", `
			a 1-2 put task 1 covers=
			c 3-4 get task 1
			b 5-6 put post 2 covers=
			b 7-8 delete task d covers=1
			c 9-10 get task nil
			c 11-12 get post nil`, Fail},
		"without what its session had read": {"lww", `
			a 1-2 put task 1
			c 3-4 get task 1
			a 5-6 put post 2
			b 7-8 get post 2
			b 9-10 delete task d
			c 11-12 get task nil
			c 13-14 get post nil`, Fail},
		"told by the one who saw it": {"lww", posted + `
			c 9-10 get task nil
			c 11-12 put news 3
			e 13-14 get news 3
			e 15-16 get post nil`, Fail},
		"but not before it was read": {"lww", posted + `
			c 9-10 get post nil
			c 11-12 get task nil`, Pass},
		"of two nobody knows which": {"lww", posted + `
			e 30-31 delete task d2
			c 10-11 get task nil
			c 12-13 get post nil`, Pass},
		"one without outcome may not have been it": {"lww", `
			a 1-2 put task 1
			c 3-4 get task 1
			b 5-6 put post 2
			b 7-? delete task d
			c 9-10 get task nil
			c 11-12 get post nil`, Pass},
		"who saw nothing before may never have had it": {"lww", `
			a 1-2 put task 1
			b 5-6 put post 2
			b 7-8 delete task d
			c 9-10 get task nil
			c 11-12 get post nil`, Pass},
		"an eventual read promises nothing": {"lww", posted + `
			c 9-10 get task nil level=eventual
			c 11-12 get post nil`, Pass},
		"a value with a TTL may have ended": {"lww", `
			a 1-2 put task 1 ttl_ms=5
			c 3-4 get task 1
			b 5-6 put post 2
			b 7-8 delete task d
			c 9-10 get task nil
			c 11-12 get post nil`, Pass},
		"another session's sight is not its own": {"lww", posted + `
			e 9-10 get task nil
			e 11-12 get post nil`, Pass},
		"what it saw overlaps the absence": {"lww", `
			a 1-2 put task 1
			c 3-12 get task 1
			b 5-6 put post 2
			b 7-8 delete task d
			c 9-10 get task nil
			c 13-14 get post nil`, Pass},
	} {
		t.Run(name, func(t *testing.T) {
			if got := verdict(t, script(t, c.mode, c.text), "causal"); got.Verdict != c.want {
				t.Errorf("%s: %s, want %s", got.Verdict, got.Sentence, c.want)
			}
		})
	}
}

package check

import (
	"fmt"
	"strings"
	"testing"
)

// story is a small history of operations with several keys, or with laws of their own.
type story struct {
	name, text string
	says       map[string]Verdict // of each checker
}

func tell(t *testing.T, stories []story) {
	t.Helper()
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			h := script(t, "cp", s.text)
			for checker, want := range s.says {
				if r := verdict(t, h, checker); r.Verdict != want {
					t.Errorf("%s: %s, want %s: %s", checker, r.Verdict, want, r.Sentence)
				} else if want == Fail && (r.Sentence == "" || len(r.Witness) == 0) {
					t.Errorf("%s fails and shows nothing: %+v", checker, r)
				}
			}
		})
	}
}

func TestCounters(t *testing.T) {
	const two = `
		a 1-2 incr x 1 sum=1 rev=5 replaced=0
		b 3-6 incr x 2 sum=3 rev=6 replaced=5`
	tell(t, []story{
		{"sums grow with revisions", two + `
			a 7-8 get x 3 rev=6
			n1 dump x 3
			n1 end`, map[string]Verdict{"exactly-once": Pass, "linearizable": Pass, "versions": Pass, "durability": Pass}},
		{"an incr without outcome may have happened", two + `
			a 7-? incr x 1
			b 9-10 incr x 1 sum=5 rev=9 replaced=8`, map[string]Verdict{"exactly-once": Pass, "linearizable": Pass}},
		{"or not", two + `
			a 7-? incr x 1
			b 9-10 incr x 1 sum=4 rev=9 replaced=6`, map[string]Verdict{"exactly-once": Pass, "linearizable": Pass}},
		{"one happened twice", two + `
			b 9-10 incr x 1 sum=5 rev=9 replaced=8`, map[string]Verdict{"exactly-once": Fail, "linearizable": Fail}},
		{"one without outcome cannot explain two", two + `
			a 7-? incr x 1
			b 9-10 incr x 1 sum=5 rev=9 replaced=8
			b 11-12 incr x 1 sum=7 rev=12 replaced=11`, map[string]Verdict{"exactly-once": Fail, "linearizable": Fail}},
		{"one called later cannot explain an earlier sum", two + `
			b 9-10 incr x 1 sum=5 rev=9 replaced=8
			a 11-? incr x 1`, map[string]Verdict{"exactly-once": Fail, "linearizable": Fail}},
		{"a sum is lost", two + `
			b 9-10 incr x 1 sum=2 rev=9 replaced=5`, map[string]Verdict{"exactly-once": Fail, "linearizable": Fail, "versions": Fail}},
		{"two have the same sum", two + `
			b 4-5 incr x 2 sum=3 rev=7 replaced=6`, map[string]Verdict{"exactly-once": Fail, "linearizable": Fail}},
		{"the replicas hold too much", two + `
			n1 dump x 4
			n1 end`, map[string]Verdict{"exactly-once": Fail}},
		{"the replicas hold too little", two + `
			n1 dump x 1
			n1 end`, map[string]Verdict{"exactly-once": Fail, "durability": Fail}},
		{"a stale read of a counter", two + `
			a 7-8 get x 1 rev=5`, map[string]Verdict{"linearizable": Fail}},
		{"a refused incr did not happen", two + `
			a 7-8 incr! x 1 code=Unavailable
			b 9-10 incr x 1 sum=5 rev=9 replaced=8`, map[string]Verdict{"exactly-once": Fail}},
	})
}

func TestRequestsThatAreSentAgain(t *testing.T) {
	tell(t, []story{
		{"are answered as before", `
			a 1-2 put x v1 rev=5 replaced=0 request_id=9-1
			a 3-4 put x v1 rev=5 replaced=0 request_id=9-1
			b 5-6 get x v1 rev=5`, map[string]Verdict{"exactly-once": Pass, "linearizable": Pass, "versions": Pass}},
		{"happen twice", `
			a 1-2 put x v1 rev=5 replaced=0 request_id=9-1
			a 3-4 put x v1 rev=6 replaced=5 request_id=9-1`, map[string]Verdict{"exactly-once": Fail}},
		{"are counted twice", `
			a 1-2 incr x 1 sum=1 rev=5 replaced=0 request_id=9-1
			a 3-4 incr x 1 sum=2 rev=6 replaced=5 request_id=9-1`, map[string]Verdict{"exactly-once": Fail}},
		{"are ok when the first had no answer", `
			a 1-? put x v1 request_id=9-1
			a 3-4 put x v1 rev=5 replaced=0 request_id=9-1
			b 5-6 get x v1 rev=5`, map[string]Verdict{"exactly-once": Pass, "linearizable": Pass}},
		{"happened long ago, and come back", `
			a 1-? put x v1 request_id=9-1
			b 3-4 get x v1 rev=5
			b 5-6 put x v2 rev=6 replaced=5
			a 7-8 put x v1 rev=7 replaced=6 request_id=9-1
			b 9-10 get x v1 rev=7`, map[string]Verdict{"linearizable": Fail}},
		{"are refused, and it is not known", `
			a 1-? put x v1 request_id=9-1
			a 3-4 put! x v1 code=SessionExpired request_id=9-1
			b 5-6 get x v1 rev=5`, map[string]Verdict{"outcomes": Fail}},
	})
}

// accounts is a bank of two accounts, and a way to write its txns.
const accounts = `
	a 1-2 txn - call{"then":[{"op":"put","key":"b/1","value":"10|a1"},{"op":"put","key":"b/2","value":"10|a2"}]} answer{"held":true,"revision":5,"steps":[{"found":false},{"found":false}]}
	a 3-4 txn - call{"if":[{"key":"b/1","target":"value","rel":"=","value":"10|a1"},{"key":"b/2","target":"changed","rel":"=","number":5}],"then":[{"op":"put","key":"b/1","value":"7|a3"},{"op":"put","key":"b/2","value":"13|a4"}]} answer{"held":true,"revision":6,"steps":[{"found":true,"replaced":5},{"found":true,"replaced":5}]}`

// tellTxns is tell for scripts whose values hold a space, written as a bar.
func tellTxns(t *testing.T, stories []story) {
	t.Helper()
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			text := strings.ReplaceAll(string(lines(t, "cp", accounts+s.text)), "|", " ")
			h := readText(t, text)
			for checker, want := range s.says {
				if r := verdict(t, h, checker); r.Verdict != want {
					t.Errorf("%s: %s, want %s: %s", checker, r.Verdict, want, r.Sentence)
				}
			}
		})
	}
}

func TestBank(t *testing.T) {
	scanned := func(rev int, one, two string, revs ...int) string {
		return fmt.Sprintf(`
			b 7-8 scan - call{"prefix":"b/"} answer{"revision":%d,"items":[{"key":"b/1","value":"%s","revision":%d},{"key":"b/2","value":"%s","revision":%d}]}`, rev, one, revs[0], two, revs[1])
	}
	read := func(one, two string, revs ...int) string {
		return fmt.Sprintf(`
			b 9-10 txn - call{"then":[{"op":"get","key":"b/1"},{"op":"get","key":"b/2"}]} answer{"held":true,"revision":6,"steps":[{"found":true,"value":"%s","revision":%d},{"found":true,"value":"%s","revision":%d}]}`, one, revs[0], two, revs[1])
	}
	tellTxns(t, []story{
		{"a total that stays", scanned(6, "7|a3", "13|a4", 6, 6) + read("7|a3", "13|a4", 6, 6),
			map[string]Verdict{"bank": Pass, "scan": Pass, "linearizable": Pass, "versions": Pass}},
		{"an older view is stale, and its total is right", scanned(5, "10|a1", "10|a2", 5, 5),
			map[string]Verdict{"bank": Pass, "scan": Pass, "linearizable": Fail}},
		{"half of a transfer", scanned(6, "7|a3", "10|a2", 6, 5) + read("7|a3", "13|a4", 6, 6),
			map[string]Verdict{"bank": Fail, "scan": Fail, "linearizable": Fail}},
		{"a txn that read half of a transfer", scanned(6, "7|a3", "13|a4", 6, 6) + read("10|a1", "13|a4", 5, 6),
			map[string]Verdict{"bank": Fail, "linearizable": Fail}},
		{"an overdrawn account", scanned(6, "-1|a3", "21|a4", 6, 6), map[string]Verdict{"bank": Fail}},
		{"a comparison with what was there no more", `
			c 11-12 txn - call{"if":[{"key":"b/1","target":"value","rel":"=","value":"10|a1"}],"then":[{"op":"put","key":"b/1","value":"9|c1"},{"op":"put","key":"b/2","value":"11|c2"}]} answer{"held":true,"revision":7,"steps":[{"found":true,"replaced":6},{"found":true,"replaced":6}]}`,
			map[string]Verdict{"linearizable": Fail, "versions": Pass}},
		{"a comparison of a revision that had passed", `
			c 11-12 txn - call{"if":[{"key":"b/1","target":"changed","rel":"=","number":5}],"then":[{"op":"put","key":"b/1","value":"9|c1"}]} answer{"held":true,"revision":7,"steps":[{"found":true,"replaced":6}]}`,
			map[string]Verdict{"versions": Fail}},
		{"a txn without outcome that happened by half", `
			c 11-? txn - call{"then":[{"op":"put","key":"b/1","value":"9|c1"},{"op":"put","key":"b/2","value":"11|c2"}]}
			d 13-14 get b/1 9|c1 rev=7
			d 15-16 get b/2 11|c2 rev=8`,
			map[string]Verdict{"versions": Fail}},
		{"a txn without outcome that happened", `
			c 11-? txn - call{"then":[{"op":"put","key":"b/1","value":"9|c1"},{"op":"put","key":"b/2","value":"11|c2"}]}
			d 13-14 get b/1 9|c1 rev=7
			d 15-16 get b/2 11|c2 rev=7`,
			map[string]Verdict{"versions": Pass, "linearizable": Pass}},
		{"the value of a txn that was refused", `
			c 11-12 txn! - call{"then":[{"op":"put","key":"b/1","value":"9|c1"}]} answer{"code":"Unavailable"}
			d 13-14 get b/1 9|c1 rev=7`,
			map[string]Verdict{"outcomes": Fail, "linearizable": Fail}},
		{"a stale read of one account", `
			d 13-14 get b/1 10|a1 rev=5`,
			map[string]Verdict{"linearizable": Fail}},
	})
}

func TestScans(t *testing.T) {
	const three = `
		a 1-2 put p/1 v1 rev=1 replaced=0
		a 3-4 put p/2 v2 rev=2 replaced=0
		a 5-6 put p/1 v3 rev=3 replaced=1
		a 7-8 delete p/2 d1 rev=4 replaced=2`
	at := func(rev int, items string, more string) string {
		return three + fmt.Sprintf(`
			b 9-20 scan - call{"prefix":"p/","level":"eventual"%s} answer{"revision":%d,"items":[%s]}`, more, rev, items)
	}
	item := func(key, value string, rev int) string {
		return fmt.Sprintf(`{"key":%q,"value":%q,"revision":%d}`, key, value, rev)
	}
	tell(t, []story{
		{"the state at each revision", at(1, item("p/1", "v1", 1), ""), map[string]Verdict{"scan": Pass}},
		{"of two keys", at(3, item("p/1", "v3", 3)+","+item("p/2", "v2", 2), ""), map[string]Verdict{"scan": Pass}},
		{"without what was deleted", at(4, item("p/1", "v3", 3), ""), map[string]Verdict{"scan": Pass}},
		{"with what was deleted", at(4, item("p/1", "v3", 3)+","+item("p/2", "v2", 2), ""), map[string]Verdict{"scan": Fail}},
		{"one key too old", at(3, item("p/1", "v1", 1)+","+item("p/2", "v2", 2), ""), map[string]Verdict{"scan": Fail}},
		{"one key too new", at(2, item("p/1", "v3", 3)+","+item("p/2", "v2", 2), ""), map[string]Verdict{"scan": Fail}},
		{"one key missing", at(2, item("p/1", "v1", 1), ""), map[string]Verdict{"scan": Fail}},
		{"one key missing behind the limit", at(2, item("p/1", "v1", 1), `,"limit":1`), map[string]Verdict{"scan": Pass}},
		{"a key of somebody else", at(4, item("p/1", "v3", 3)+","+item("q", "v9", 4), ""), map[string]Verdict{"scan": Fail}},
		{"out of order", at(3, item("p/2", "v2", 2)+","+item("p/1", "v3", 3), ""), map[string]Verdict{"scan": Fail}},
		{"pages of two revisions", at(4, item("p/1", "v3", 3), "") + ` answer{"pages":[4,5]}`, map[string]Verdict{"scan": Fail}},
		{"a strong scan that is stale", strings.ReplaceAll(at(3, item("p/1", "v3", 3)+","+item("p/2", "v2", 2), ""), "eventual", "strong"),
			map[string]Verdict{"scan": Pass, "linearizable": Fail}},
		{"a strong scan that is right", strings.ReplaceAll(at(4, item("p/1", "v3", 3), ""), "eventual", "strong"),
			map[string]Verdict{"scan": Pass, "linearizable": Pass, "versions": Pass}},
		{"what a put without outcome may explain", three + `
			c 9-? put p/3 v9
			b 11-20 scan - call{"prefix":"p/"} answer{"revision":5,"items":[` + item("p/1", "v3", 3) + `,` + item("p/3", "v9", 5) + `]}`,
			map[string]Verdict{"scan": Pass, "linearizable": Pass}},
	})
}

func TestWatches(t *testing.T) {
	const writes = `
		a 1-2 put p/1 v1 rev=1 replaced=0
		a 3-4 put p/2 v2 rev=2 replaced=0
		a 5-6 txn - call{"then":[{"op":"put","key":"p/1","value":"v3"},{"op":"delete","key":"p/2"},{"op":"put","key":"q","value":"v4"}]} answer{"held":true,"revision":3,"steps":[{"found":true,"replaced":1},{"found":true,"replaced":2},{"found":false}]}
		a 7-8 put p/1 v5 rev=4 replaced=3
		w 9-99 watch - call{"prefix":"p/","from":1}`
	put := func(key, value string, replaced int) string {
		return fmt.Sprintf(`{"key":%q,"value":%q,"replaced":%d}`, key, value, replaced)
	}
	gone := func(key string, replaced int) string {
		return fmt.Sprintf(`{"key":%q,"deleted":true,"replaced":%d}`, key, replaced)
	}
	told := func(changes ...string) string {
		text := writes
		for i, c := range changes {
			rev, events, _ := strings.Cut(c, ":")
			text += fmt.Sprintf("\nw told %d of 5 {\"revision\":%s,\"events\":[%s]}", 10+i, rev, events)
		}
		return text
	}
	one, two := "1:"+put("p/1", "v1", 0), "2:"+put("p/2", "v2", 0)
	three, four := "3:"+put("p/1", "v3", 1)+","+gone("p/2", 2), "4:"+put("p/1", "v5", 3)
	pass, fail := map[string]Verdict{"watch": Pass}, map[string]Verdict{"watch": Fail}
	tell(t, []story{
		{"all, in order", told(one, two, three, four), map[string]Verdict{"watch": Pass, "versions": Pass}},
		{"with notices of progress", told(one, two, "2:", three, "3:", four, "9:"), pass},
		{"the rest not yet", told(one, two), pass},
		{"one left out", told(one, three, four), fail},
		{"one left out before a notice of progress", told(one, "2:"), fail},
		{"the first left out", told(two, three), fail},
		{"two in the wrong order", told(two, one, three), fail},
		{"one twice", told(one, one, two), fail},
		{"a part of a revision", told(one, two, "3:"+put("p/1", "v3", 1), four), fail},
		{"a revision in two parts", told(one, two, "3:"+put("p/1", "v3", 1), "3:"+gone("p/2", 2), four), fail},
		{"an event of another key", told(one, two, "3:"+put("p/1", "v3", 1)+","+gone("p/2", 2)+","+put("q", "v4", 0)), fail},
		{"an event that nobody wrote", told(one, two, three, four, "5:"+put("p/1", "v9", 4)), fail},
		{"another value than was written", told(one, "2:"+put("p/2", "v9", 0)), fail},
		{"progress that goes back", told(one, two, three, "1:"), fail},
		{"behind the present: from the first told", strings.ReplaceAll(told(three, four), `,"from":1`, ""), pass},
		{"behind a notice of progress", strings.ReplaceAll(told("2:", four), `,"from":1`, ""), fail},
		{"resumed without a gap", told(one, two) + `
			w 100-110 watch - call{"prefix":"p/","from":3}
			w told 101 of 8 {"revision":3,"events":[` + put("p/1", "v3", 1) + `,` + gone("p/2", 2) + `]}`, pass},
		{"resumed with a gap", told(one, two) + `
			w 100-110 watch - call{"prefix":"p/","from":3}
			w told 101 of 8 {"revision":4,"events":[` + put("p/1", "v5", 3) + `]}`, fail},
		{"a change before the one it asked for", strings.ReplaceAll(told(one, two), `"from":1`, `"from":2`), fail},
	})
}

func TestLocks(t *testing.T) {
	tell(t, []story{
		{"fences grow", `
			a 1-2 lock L fence=5
			a 3-4 put x v1 rev=6 replaced=0 lock=L fence=5
			b 5-8 lock L fence=9
			b 9-10 put x v2 rev=11 replaced=6 lock=L fence=9
			a 11-12 put! x v3 lock=L fence=5 code=Conflict`, map[string]Verdict{"lock": Pass}},
		{"two holders, and the first still writes before the second does", `
			a 1-2 lock L fence=5
			b 3-4 lock L fence=9
			a 5-8 put x v1 rev=10 replaced=0 lock=L fence=5
			b 7-10 put x v2 rev=11 replaced=10 lock=L fence=9`, map[string]Verdict{"lock": Pass}},
		{"an old fence after a new one", `
			a 1-2 lock L fence=5
			b 3-4 lock L fence=9
			b 5-6 put x v2 rev=11 replaced=0 lock=L fence=9
			a 7-8 put x v3 rev=12 replaced=11 lock=L fence=5`, map[string]Verdict{"lock": Fail}},
		{"an old fence after a new one, by revision only", `
			a 1-2 lock L fence=5
			b 3-4 lock L fence=9
			a 5-10 put x v3 rev=12 replaced=11 lock=L fence=5
			b 6-9 put x v2 rev=11 replaced=0 lock=L fence=9`, map[string]Verdict{"lock": Fail}},
		{"one fence for two", `
			a 1-4 lock L fence=5
			b 2-3 lock L fence=5
			a 5-6 put x v1 rev=6 replaced=0 lock=L fence=5`, map[string]Verdict{"lock": Fail}},
		{"a fence that goes back", `
			a 1-2 lock L fence=9
			b 3-4 lock L fence=5
			a 5-6 put x v1 rev=10 replaced=0 lock=L fence=9`, map[string]Verdict{"lock": Fail}},
		{"nothing was guarded", `
			a 1-2 lock L fence=9
			b 3-4 put x v1 rev=10 replaced=0`, map[string]Verdict{"lock": Invalid}},
	})
}

func TestTTL(t *testing.T) {
	tell(t, []story{
		{"gone behind its time", `
			a 100-110 put x v1 rev=1 replaced=0 ttl_ms=500
			b 200-210 get x v1 rev=1
			b 700-710 get x nil rev=2`, map[string]Verdict{"ttl": Pass, "linearizable": Pass, "versions": Pass}},
		{"gone too early", `
			a 100-110 put x v1 rev=1 replaced=0 ttl_ms=500
			b 590-599 get x nil rev=2`, map[string]Verdict{"ttl": Fail}},
		{"put again, and gone by the first time", `
			a 100-110 put x v1 rev=1 replaced=0 ttl_ms=500
			a 400-410 put x v2 rev=2 replaced=1 ttl_ms=500
			b 700-710 get x nil rev=3`, map[string]Verdict{"ttl": Fail}},
		{"kept alive, and gone by the first time", `
			a 100-110 put x v1 rev=1 replaced=0 ttl_ms=500 granted=1
			a 400-410 lease-keepalive - lease=1
			b 700-710 get x nil rev=3`, map[string]Verdict{"ttl": Fail}},
		{"kept alive, and gone behind that", `
			a 100-110 put x v1 rev=1 replaced=0 ttl_ms=500 granted=1
			a 400-410 lease-keepalive - lease=1
			b 899-901 get x nil rev=3`, map[string]Verdict{"ttl": Pass}},
		{"revoked", `
			a 100-110 put x v1 rev=1 replaced=0 ttl_ms=500 granted=1
			a 200-210 lease-revoke - lease=1
			b 300-310 get x nil rev=3
			c 400-410 put y v2 rev=4 replaced=0 ttl_ms=500`, map[string]Verdict{"ttl": Pass}},
		{"deleted", `
			a 100-110 put x v1 rev=1 replaced=0 ttl_ms=500
			a 200-210 delete x d1 rev=2 replaced=1
			b 300-310 get x nil rev=2
			c 101-111 put y v2 rev=3 replaced=0 ttl_ms=100
			c 301-311 get y nil rev=4`, map[string]Verdict{"ttl": Pass}},
		{"without a TTL it does not go", `
			a 100-110 put x v1 rev=1 replaced=0 ttl_ms=500
			a 200-210 put x v2 rev=2 replaced=1
			b 900-910 get x nil rev=3`, map[string]Verdict{"ttl": Fail}},
		{"gone, and back", `
			a 100-110 put x v1 rev=1 replaced=0 ttl_ms=500
			b 700-710 get x nil rev=2
			c 720-730 get x v1 rev=1`, map[string]Verdict{"ttl": Fail, "linearizable": Fail}},
		{"still there for ever", `
			a 100-110 put x v1 rev=1 replaced=0 ttl_ms=500
			b 101-111 put y v2 rev=2 replaced=0 ttl_ms=500
			b 700-710 get y nil rev=3
			c 11200-11210 get x v1 rev=1`, map[string]Verdict{"ttl": Fail}},
		{"nothing ever went", `
			a 100-110 put x v1 rev=1 replaced=0 ttl_ms=500
			b 200-210 get x v1 rev=1`, map[string]Verdict{"ttl": Invalid}},
	})
}

func TestLeaders(t *testing.T) {
	tell(t, []story{
		{"one a term", `
			a 1-2 put x v1 rev=1 role=leader term=2 served_by=n1 group=7/0
			a 3-4 get x v1 rev=1 role=follower term=2 served_by=n2 group=7/0
			a 5-6 put x v2 rev=2 role=leader term=3 served_by=n2 group=7/0
			a 7-8 put y v3 rev=1 role=leader term=3 served_by=n1 group=7/1`, map[string]Verdict{"raft": Pass}},
		{"two in one", `
			a 1-2 put x v1 rev=1 role=leader term=2 served_by=n1 group=7/0
			a 5-6 put x v2 rev=2 role=leader term=2 served_by=n2 group=7/0`, map[string]Verdict{"raft": Fail}},
	})
}

// A pass of any of these checkers needs something to judge by.
func TestTooLittleIsInvalid(t *testing.T) {
	for checker, text := range map[string]string{
		"exactly-once": "a 1-2 incr x 1 sum=1 rev=1 replaced=0",
		"bank":         strings.ReplaceAll(accounts, "|", ""),
		"scan":         `a 1-2 scan - answer{"revision":1}`,
		"watch":        `a 1-2 watch - call{"from":1}`,
		"lock":         "a 1-2 lock L fence=5\na 3-4 put x v1 rev=6 lock=L fence=5",
		"ttl":          "a 1-2 put x v1 rev=1 ttl_ms=100\nb 200-201 get x nil rev=2",
		"raft":         "a 1-2 put x v1 rev=1 role=leader term=1 served_by=n1",
	} {
		rep := Run(script(t, "cp", text), Options{Claims: []string{checker}})
		for _, r := range rep.Checkers {
			if r.Name == checker && (r.Verdict != Invalid || !strings.Contains(r.Sentence, "too little")) {
				t.Errorf("%s: %s %s", checker, r.Verdict, r.Sentence)
			}
		}
	}
}

// Without claims a history asks for the checkers of what is in it.
func TestCheckersFollowFromTheHistory(t *testing.T) {
	for text, want := range map[string]string{
		"a 1-2 incr x 1 sum=1 rev=1":              "exactly-once",
		accounts:                                  "bank",
		`a 1-2 scan - answer{"revision":1}`:       "scan",
		"a 1-2 watch -":                           "watch",
		"a 1-2 lock L fence=1":                    "lock",
		"a 1-2 put x v1 rev=1 ttl_ms=100":         "ttl",
		"a 1-2 put x v1 rev=1 role=leader term=1": "raft",
	} {
		found := false
		for _, r := range Run(readText(t, strings.ReplaceAll(string(lines(t, "cp", text)), "|", " ")), zero()).Checkers {
			found = found || r.Name == want
		}
		if !found {
			t.Errorf("%s is not judged by %s", text, want)
		}
	}
	h := script(t, "cp", "a 1-2 put x v1 rev=1\na 3-4 get x v1 rev=1")
	for _, r := range Run(h, zero()).Checkers {
		switch r.Name {
		case "exactly-once", "bank", "scan", "watch", "lock", "ttl", "raft":
			t.Errorf("%s judges a plain register", r.Name)
		}
	}
}

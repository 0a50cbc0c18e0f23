package check

import (
	"fmt"
	"strings"
	"testing"
)

func TestScansOfAP(t *testing.T) {
	const writes = `
		a 1-2 put p/1 v1 dot=A:1 found=false
		b 3-4 get p/1 v1
		b 5-6 put p/2 v2 dot=B:1 found=false
		a 7-8 put p/1 v3 dot=A:2 found=true
		a 9-10 delete p/2 d1 covers=v2 dot=A:3 found=true
		a 11-? put p/3 v4`
	item := func(key, dot, value string) string {
		return fmt.Sprintf(`{"key":%q,"value":%q,"siblings":[{"dot":%q,"value":%q}]}`, key, value, dot, value)
	}
	scan := func(who, vectors string, items ...string) string {
		return writes + fmt.Sprintf(`
			%s 20-30 scan - call{"prefix":"p/"} answer{"vectors":[%s],"items":[%s]}`, who, vectors, strings.Join(items, ","))
	}
	for name, c := range map[string]struct {
		text string
		want Verdict
	}{
		"the first write":                      {scan("c", `"A:1"`, item("p/1", "A:1", "v1")), Pass},
		"an effect with its cause":             {scan("c", `"A:1,B:1"`, item("p/1", "A:1", "v1"), item("p/2", "B:1", "v2")), Pass},
		"an effect without its cause":          {scan("c", `"B:1"`, item("p/2", "B:1", "v2")), Fail},
		"all of it":                            {scan("c", `"A:3,B:1"`, item("p/1", "A:2", "v3")), Pass},
		"and what nobody knows the outcome of": {scan("c", `"A:4,B:1"`, item("p/1", "A:2", "v3"), item("p/3", "A:4", "v4")), Pass},
		"nothing yet":                          {scan("c", `""`), Pass},
		"pages of two vectors":                 {scan("c", `"A:1","A:2"`, item("p/1", "A:1", "v1")), Fail},
		"a key is missing":                     {scan("c", `"A:1,B:1"`, item("p/1", "A:1", "v1")), Fail},
		"a key that is not in the view":        {scan("c", `"A:1"`, item("p/1", "A:1", "v1"), item("p/2", "B:1", "v2")), Fail},
		"what was overwritten":                 {scan("c", `"A:2,B:1"`, item("p/1", "A:1", "v1"), item("p/2", "B:1", "v2")), Fail},
		"what was deleted":                     {scan("c", `"A:3,B:1"`, item("p/1", "A:2", "v3"), item("p/2", "B:1", "v2")), Fail},
		"what nobody wrote":                    {scan("c", `"A:1"`, item("p/1", "A:1", "v9")), Fail},
		"another name":                         {scan("c", `"A:1,C:1"`, item("p/1", "C:1", "v1")), Fail},
		"a key twice":                          {scan("c", `"A:1"`, item("p/1", "A:1", "v1"), item("p/1", "A:1", "v1")), Fail},
		"a key of somebody else":               {scan("c", `"A:1"`, item("p/1", "A:1", "v1"), item("q", "A:1", "v1")), Fail},
		"without what its session wrote":       {scan("b", `"A:1"`, item("p/1", "A:1", "v1")), Fail},
		"an older view than it had seen": {scan("c", `"A:1,B:1"`, item("p/1", "A:1", "v1"), item("p/2", "B:1", "v2")) + `
			c 31-40 scan - call{"prefix":"p/"} answer{"vectors":["A:1"],"items":[` + item("p/1", "A:1", "v1") + `]}`, Fail},
		"an older view, which eventual allows": {scan("c", `"A:1,B:1"`, item("p/1", "A:1", "v1"), item("p/2", "B:1", "v2")) + `
			c 31-40 scan - call{"prefix":"p/","level":"eventual"} answer{"vectors":["A:1"],"items":[` + item("p/1", "A:1", "v1") + `]}`, Pass},
		"no vector":        {writes + "\nc 20-30 scan - answer{\"vectors\":[]}", Unknown},
		"no sane vector":   {scan("c", `"A:one"`), Unknown},
		"one name for two": {writes + "\nc 15-16 put p/9 v9 dot=A:1\nc 20-30 scan - answer{\"vectors\":[\"A:1\"]}", Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			if got := verdict(t, script(t, "lww", c.text), "scan"); got.Verdict != c.want {
				t.Errorf("%s: %s, want %s", got.Verdict, got.Sentence, c.want)
			}
		})
	}
}

func TestWatchesOfAP(t *testing.T) {
	const writes = `
		a 1-2 put p/1 v1 covers= dot=A:1 found=false
		b 3-4 get p/1 v1
		b 5-6 put p/2 v2 covers= dot=B:1 found=false
		a 7-8 put p/1 v3 covers= dot=A:2 found=true
		c 9-10 get p/1 v1,v3
		c 11-12 put p/1 v4 covers=v1,v3 dot=C:1 found=true
		c 13-14 put q v5 covers= dot=C:2 found=false
		a 15-16 delete p/2 d1 covers=v2 dot=A:3 found=true`
	change := func(vector, key, dot, values string) string {
		list := `"` + strings.ReplaceAll(values, ",", `","`) + `"`
		if values == "" {
			return fmt.Sprintf(`"vector":%q,"events":[{"key":%q,"dot":%q,"deleted":true}]`, vector, key, dot)
		}
		return fmt.Sprintf(`"vector":%q,"events":[{"key":%q,"dot":%q,"values":[%s]}]`, vector, key, dot, list)
	}
	progress := func(vector string) string { return fmt.Sprintf(`"vector":%q`, vector) }
	watch := func(from string, changes ...string) string {
		text := writes + "\nw 20-90 watch - call{\"prefix\":\"p/\"," + from + "}"
		for i, c := range changes {
			text += fmt.Sprintf("\nw told %d of 9 {\"revision\":%d,%s}", 21+i, 1+i, c)
		}
		return text
	}
	one, two := change("A:1", "p/1", "A:1", "v1"), change("A:1,B:1", "p/2", "B:1", "v2")
	three, four := change("A:2,B:1", "p/1", "A:2", "v1,v3"), change("A:2,B:1,C:1", "p/1", "C:1", "v4")
	five := change("A:3,B:1,C:2", "p/2", "A:3", "")
	const start = `"from":1`
	for name, c := range map[string]struct {
		text string
		want Verdict
	}{
		"all of it":                       {watch(start, one, two, three, four, five), Pass},
		"in the order of another replica": {watch(start, one, change("A:2", "p/1", "A:2", "v1,v3"), change("A:2,B:1", "p/2", "B:1", "v2"), four, five), Pass},
		"with notices of progress":        {watch(start, progress(""), one, progress("A:1"), two, three, four, progress("A:2,B:1,C:2"), five), Pass},
		"the rest not yet":                {watch(start, one, two), Pass},
		"behind what was seen":            {watch(`"since":"A:1,B:1"`, three, four), Pass},
		"behind the present":              {watch(`"prefix":"p/"`, three, four), Pass},
		"one left out":                    {watch(start, one, three, four), Fail},
		"one left out before progress":    {watch(start, one, progress("A:1,B:1")), Fail},
		"the first left out":              {watch(start, two), Fail},
		"one twice":                       {watch(start, one, one, two), Fail},
		"one that it had seen":            {watch(`"since":"A:1,B:1"`, two), Fail},
		"an effect before its cause":      {watch(start, change("B:1", "p/2", "B:1", "v2"), two), Fail},
		"a vector that goes back":         {watch(start, one, two, change("A:2", "p/1", "A:2", "v1,v3")), Fail},
		"a vector without the write":      {watch(start, change("", "p/1", "A:1", "v1")), Fail},
		"another key":                     {watch(start, one, change("A:1,B:1", "p/9", "B:1", "v2")), Fail},
		"a key it did not ask for":        {watch(start, change("C:2", "q", "C:2", "v5")), Fail},
		"less than was there":             {watch(start, one, two, change("A:2,B:1", "p/1", "A:2", "v3")), Fail},
		"more than was there":             {watch(start, one, two, three, change("A:2,B:1,C:1", "p/1", "C:1", "v3,v4")), Fail},
		"the key as it is later":          {watch(start, change("A:1", "p/1", "A:1", "v1,v3")), Fail},
		"a delete that leaves something":  {watch(start, one, two, three, change("A:2,B:1,C:1", "p/1", "C:1", "")), Fail},
		"an event without a sane name":    {watch(start, change("A:1", "p/1", "first", "v1")), Unknown},
		"resumed without a gap": {watch(start, one, two) + `
			w 100-110 watch - call{"prefix":"p/","since":"A:1,B:1"}
			w told 101 of 12 {"revision":3,` + three + `}`, Pass},
		"resumed with a gap": {watch(start, one, two) + `
			w 100-110 watch - call{"prefix":"p/","since":"A:1,B:1"}
			w told 101 of 12 {"revision":3,` + four + `}`, Fail},
	} {
		t.Run(name, func(t *testing.T) {
			if got := verdict(t, script(t, "siblings", c.text), "watch"); got.Verdict != c.want {
				t.Errorf("%s: %s, want %s", got.Verdict, got.Sentence, c.want)
			}
		})
	}
}

// Without claims the files are judged by the checkers that they fail.
func TestFixturesOfViews(t *testing.T) {
	for name, by := range map[string]string{"ap-scan-torn": "scan", "ap-watch-gap": "watch", "ap-ttl-early": "ttl"} {
		caught := false
		for _, res := range Run(readText(t, string(fixtures(t)[name])), zero()).Checkers {
			caught = caught || res.Name == by && res.Verdict == Fail && len(res.Witness) > 0
		}
		if !caught {
			t.Errorf("%s is not failed by %s", name, by)
		}
	}
}

// A delete that found nothing is no change; one that replaced what its node had is one.
func TestDeletesThatChangeNothingAreNotWatched(t *testing.T) {
	told := func(found string, more string) string {
		return `
			a 1-2 put p/1 v1 dot=A:1 found=false
			a 3-4 delete p/1 d1 dot=A:2 found=` + found + `
			w 20-90 watch - call{"prefix":"p/","from":1}
			w told 21 of 3 {"revision":1,"vector":"A:1","events":[{"key":"p/1","dot":"A:1","value":"v1"}]}
			w told 22 of 3 {"revision":2,"vector":"A:2"` + more + `}`
	}
	for text, want := range map[string]Verdict{
		told("false", ""): Pass,
		told("true", ""):  Fail,
		told("true", `,"events":[{"key":"p/1","dot":"A:2","deleted":true}]`): Pass,
	} {
		if got := verdict(t, script(t, "lww", text), "watch"); got.Verdict != want {
			t.Errorf("%s: %s, want %s", got.Verdict, got.Sentence, want)
		}
	}
}

// What a number stands for may be in a view or not: nobody is accused by it.
func TestVectorWithANumberIsSureOfTheOthersOnly(t *testing.T) {
	v, err := parseVector("closed:3,a:5")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		d           dot
		has, unsure bool
	}{{dot{"a", 5}, true, false}, {dot{"a", 6}, false, false}, {dot{"b", 1}, false, true}, {dot{}, false, false}} {
		if v.has(c.d) != c.has || v.unsure(c.d) != c.unsure {
			t.Errorf("%v: has %v, unsure %v", c.d, v.has(c.d), v.unsure(c.d))
		}
	}
	if d := v.beyond(vector{"a": 6}); d != (dot{"a", 6}) {
		t.Errorf("beyond is %v", d)
	}
	if d := v.beyond(vector{"a": 5, "b": 1, closedUpTo: 4}); d.n > 0 {
		t.Errorf("beyond is %v", d)
	}
	if d := (vector{"a": 5}).beyond(vector{"b": 1}); d != (dot{"b", 1}) {
		t.Errorf("without a number, beyond is %v", d)
	}
}

package check

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestMapHasWhatWasPutAndNotRemoved(t *testing.T) {
	const put = `
		a 1-2 put x v1 field=f w=all`
	for name, c := range map[string]struct {
		text string
		want Verdict
	}{
		"what was put": {put + `
			b 3-4 get x v1 answer{"fields":["f"]}
			n1 fields x f:v1
			n1 end`, Pass},
		"nobody put it": {put + `
			n1 fields x f:v1,g:v9
			n1 end`, Fail},
		"it was put to another field": {put + `
			b 3-4 get x v1 answer{"fields":["g"]}`, Fail},
		"an acknowledged field is missing": {`
			a 1-2 put x v1 field=f
			a 3-4 put x v2 field=g
			n1 fields x g:v2
			n1 end`, Fail},
		"another session may not have it yet": {`
			a 1-2 put x v1 field=f
			b 3-4 get x nil`, Pass},
		"its own has": {`
			a 1-2 put x v1 field=f
			a 3-4 get x nil`, Fail},
		"removed": {put + `
			b 3-4 remove x d1 field=f
			b 5-6 get x nil
			n1 end`, Pass},
		"removed, and back": {put + `
			b 3-4 remove x d1 field=f
			n1 fields x f:v1
			n1 end`, Fail},
		"a remove of another field takes nothing": {put + `
			b 3-4 remove x d1 field=g
			n1 end`, Fail},
		"a put wins over a concurrent remove": {put + `
			a 3-6 put x v2 field=f
			b 4-5 remove x d1 field=f
			n1 fields x f:v2
			n1 end`, Pass},
		"a remove takes away what it cannot have seen": {put + `
			b 3-4 remove x d1 field=f
			a 5-6 put x v2 field=f
			n1 end`, Fail},
		"a remove that may have had it": {`
			a 1-4 put x v1 field=f
			b 2-3 remove x d1 field=f
			n1 end`, Pass},
		"a delete takes all": {put + `
			a 3-4 put x v2 field=g w=all
			b 5-6 delete x d1
			n1 fields x g:v2
			n1 end`, Fail},
		"a later value": {put + `
			b 3-4 put x v2 field=f
			b 5-6 get x v2 answer{"fields":["f"]}`, Pass},
		"an earlier value": {put + `
			b 3-4 put x v2 field=f
			b 5-6 get x v1 answer{"fields":["f"]}`, Fail},
		"an earlier value stays on a replica": {put + `
			b 3-4 put x v2 field=f
			n1 fields x f:v1,f:v2
			n1 end`, Fail},
		"values that are concurrent": {`
			a 1-4 put x v1 field=f
			b 2-3 put x v2 field=f
			n1 fields x f:v1,f:v2
			n1 end`, Pass},
		"what failed was not put": {`
			a 1-2 put! x v1 field=f
			n1 fields x f:v1
			n1 end`, Fail},
		"a field twice": {put + `
			b 3-4 get x v1,v1 answer{"fields":["f","f"]}`, Fail},
		"values without fields": {put + `
			b 3-4 get x v1`, Fail},
	} {
		t.Run(name, func(t *testing.T) { wants(t, "map", c.text, c.want) })
	}
}

// One replica that answers everything at once keeps every promise; one field of its that
// is lost, or holds an earlier value, is found out.
func TestCheckerOfMapsAcceptsOneReplica(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	for range 150 {
		state, last := map[string]string{}, map[string]string{}
		text := ""
		for i := range 40 {
			at := fmt.Sprintf("s%d %d-%d", r.IntN(3), 2*i+1, 2*i+2)
			f := fmt.Sprint("f", r.IntN(3))
			switch r.IntN(10) {
			case 0:
				clear(state)
				text += fmt.Sprintf("%s delete x d%d w=all\n", at, i)
			case 1, 2:
				delete(state, f)
				text += fmt.Sprintf("%s remove x d%d field=%s w=all\n", at, i, f)
			case 3, 4, 5:
				text += at + " get x " + shownMap(state) + "\n"
			default:
				last[f], state[f] = state[f], fmt.Sprint("v", i)
				text += fmt.Sprintf("%s put x v%d field=%s w=all\n", at, i, f)
			}
		}
		wants(t, "map", text+dumpedMap(state), Pass)
		for f, was := range state {
			wrong := maps.Clone(state)
			delete(wrong, f)
			wants(t, "map", text+dumpedMap(wrong), Fail)
			if last[f] != "" && last[f] != was {
				wrong[f] = last[f]
				wants(t, "map", text+dumpedMap(wrong), Fail)
			}
		}
	}
}

func shownMap(state map[string]string) string {
	if len(state) == 0 {
		return "nil"
	}
	var fields, values []string
	for _, f := range slices.Sorted(maps.Keys(state)) {
		fields, values = append(fields, f), append(values, state[f])
	}
	return strings.Join(values, ",") + ` answer{"fields":["` + strings.Join(fields, `","`) + `"]}`
}

func dumpedMap(state map[string]string) string {
	var list []string
	for _, f := range slices.Sorted(maps.Keys(state)) {
		list = append(list, f+":"+state[f])
	}
	if list == nil {
		return "n1 end"
	}
	return "n1 fields x " + strings.Join(list, ",") + "\nn1 end"
}

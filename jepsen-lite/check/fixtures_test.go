package check

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write testdata anew")

// fixtures are histories with one known fault each, and a good one. They are files
// because people and other tests replay them.
func fixtures(t testing.TB) map[string][]byte {
	files := map[string][]byte{"good": good(t)}
	for name, f := range map[string]struct{ mode, text string }{
		"stale-read": {"cp", `
			alice 100-120 put x v1 rev=4 replaced=0 node=n1 process=1
			bob 130-150 get x v1 rev=4 node=n2 process=2
			alice 160-180 put x v2 rev=5 replaced=4 node=n1 process=1
			bob 190-200 get x v2 rev=5 node=n3 process=2
			alice 218-230 get x v1 rev=4 node=n2 process=1`},
		"thin-air": {"cp", `
			alice 1-2 put x v1 rev=4 process=1
			bob 3-4 get x v9 process=2`},
		"lost-update": {"cp", `
			p 1-2 put x v1 rev=1 replaced=0 process=1 level=strong
			q 3-6 cas x v1 v2 rev=2 replaced=1 process=2
			r 4-7 cas x v1 v3 rev=3 replaced=2 process=3`},
		"causal-violation": {"lww", `
			alice 1-2 put post hello process=1
			bob 3-4 get post hello process=2
			bob 5-6 put reply hi process=2
			carol 7-8 get reply hi process=3
			carol 9-10 get post nil process=3`},
		"ryw-violation": {"lww", `
			alice 1-2 put cart milk process=1 node=n1
			alice 3-4 get cart nil process=1 node=n2`},
		"sibling-lost": {"siblings", `
			alice 1-4 put cart milk covers= process=1 node=n1
			bob 2-5 put cart eggs covers= process=2 node=n3
			n1 dump cart eggs
			n1 end
			n2 dump cart eggs
			n2 end`},
		"bounded-too-old": {"siblings", `
			alice 100-120 put cart milk covers= process=1 node=n1
			bob 1500-1510 get cart nil level=bounded:2s process=2 node=n2
			bob 2200-2210 get cart nil level=bounded:2s process=2 node=n2`},
		"bounded-kept": {"siblings", `
			alice 100-120 put cart milk covers= process=1 node=n1 w=majority
			bob 1500-1510 get cart nil level=bounded:2s process=2 node=n2
			carol 1600-1610 get cart milk level=quorum process=3 node=n3
			bob 2200-2210 get cart milk level=bounded:2s process=2 node=n2
			alice 2300-2310 put cart eggs covers=milk process=1 node=n1
			bob 4400-4410 get cart eggs level=bounded:2s process=2 node=n3`},
		"counter-kept": {"counter", `
			alice 1-4 incr x 5 sum=5 w=all process=1 node=n1
			bob 5-9 delete x d1 process=2 node=n2
			alice 6-8 incr x 2 sum=7 process=1 node=n1
			carol 10-? incr x 40 process=3 node=n3
			bob 11-12 get x nil process=2 node=n2
			alice 13-14 get x 2 process=1 node=n1
			n1 sum x 42
			n1 end
			n2 sum x 42
			n2 end`},
		"counter-delete-undone": {"counter", `
			alice 1-4 incr x 5 sum=5 w=all process=1 node=n1
			bob 5-9 delete x d1 process=2 node=n2
			alice 6-8 incr x 2 sum=7 process=1 node=n1
			n1 sum x 7
			n1 end
			n2 sum x 7
			n2 end`},
		"counter-counted-twice": {"counter", `
			alice 1-4 incr x 5 sum=5 process=1 node=n1
			bob 2-? incr x 1 process=2 node=n2
			n1 sum x 7
			n1 end
			n2 sum x 7
			n2 end`},
		"set-kept": {"set", `
			alice 1-4 add x milk w=all process=1 node=n1
			bob 5-9 remove x milk process=2 node=n2
			alice 6-8 add x milk process=1 node=n1
			alice 10-11 add x eggs process=1 node=n1
			alice 12-13 remove x eggs process=1 node=n1
			alice 14-15 get x milk process=1 node=n1
			bob 16-17 get x nil process=2 node=n2
			n1 members x milk
			n1 end
			n2 members x milk
			n2 end`},
		"set-member-lost": {"set", `
			alice 1-4 add x milk process=1 node=n1
			bob 2-5 add x eggs process=2 node=n3
			carol 3-6 remove x eggs process=3 node=n2
			n1 members x eggs
			n1 end
			n2 members x eggs
			n2 end`},
		"set-member-back": {"set", `
			alice 1-4 add x milk process=1 node=n1
			alice 5-6 remove x milk process=1 node=n1
			n1 members x milk
			n1 end
			n2 members x milk
			n2 end`},
		"map-kept": {"map", `
			alice 1-4 put x v1 field=size w=all process=1 node=n1
			bob 5-9 remove x d1 field=size process=2 node=n2
			alice 6-8 put x v2 field=size process=1 node=n1
			carol 10-11 put x v3 field=color w=all process=3 node=n3
			bob 12-13 get x v3 answer{"fields":["color"]} process=2 node=n2
			n1 fields x size:v2,color:v3
			n1 end
			n2 fields x size:v2,color:v3
			n2 end`},
		"map-field-back": {"map", `
			alice 1-4 put x v1 field=size process=1 node=n1
			alice 5-6 remove x d1 field=size process=1 node=n1
			n1 fields x size:v1
			n1 end
			n2 fields x size:v1
			n2 end`},
		"ap-scan-torn": {"lww", `
			alice 1-2 put post hello dot=a1:1 found=false process=1
			bob 3-4 get post hello process=2
			bob 5-6 put reply hi dot=b1:1 found=false process=2
			carol 7-9 scan - call{"prefix":""} answer{"vectors":["b1:1"],"items":[{"key":"reply","value":"hi","siblings":[{"dot":"b1:1","value":"hi"}]}]} process=3`},
		"ap-watch-gap": {"lww", `
			alice 1-2 put post hello dot=a1:1 found=false process=1
			alice 3-4 put post again dot=a1:2 found=true process=1
			carol 5-9 watch - call{"from":1} process=3
			carol told 6 of 3 {"revision":2,"vector":"a1:2","events":[{"key":"post","dot":"a1:2","values":["again"]}]}`},
		"ap-ttl-early": {"lww", `
			alice 100-110 put cart milk ttl_ms=500 process=1 node=n1
			alice 400-410 get cart nil process=1 node=n2`},
		"failed-was-read": {"cp", `
			alice 1-2 put! x v1 code=Unavailable process=1
			bob 3-4 get x v1 process=2`},
		"revisions-lie": {"cp", `
			alice 1-2 put x v1 rev=7 process=1
			alice 3-4 put x v2 rev=5 process=1
			bob 5-6 get x v2 rev=5 process=2`},
		"torn-line": {"cp", `
			alice 1-2 put x v1 rev=1 process=1
			bob 3-4 get x v1 rev=1 process=2`},
	} {
		files[name] = lines(t, f.mode, f.text)
	}
	files["torn-line"] = append(files["torn-line"], `{"seq":5,"t_ns":5000000,"type":"invo`...)
	files["bad-line"] = append([]byte("{\"seq\":1,\"type\":\"invoke\"\n"), files["thin-air"]...)
	return files
}

// good is a run with a cut, lost answers and dumps that keeps every promise of a cp
// keyspace above every floor.
func good(t testing.TB) []byte {
	s := sim{r: rand.New(rand.NewPCG(2026, 9)), clients: 6, lose: 0.02, keys: 8, nodes: 5}
	text := s.run(600)
	for _, node := range []string{"n1", "n2", "n3", "n4", "n5"} {
		for k, now := range s.state {
			if now.value != "" {
				text += fmt.Sprintf("\n%s dump k%d %s", node, k, now.value)
			}
		}
		text += "\n" + node + " end"
	}
	at := func(seq int, phase string) string {
		return fmt.Sprintf(`{"seq":%d,"t_ns":%d,"type":"fault","fault":"partition","phase":%q,"detail":"n1,n2|n3,n4,n5"}`+"\n", seq, seq*1e6, phase)
	}
	return bytes.Join([][]byte{lines(t, "cp", text), []byte(at(s.cutAt, "begin")), []byte(at(s.healAt, "end"))}, nil)
}

func TestFixtureFilesAreCurrent(t *testing.T) {
	for name, want := range fixtures(t) {
		path := filepath.Join("testdata", name+".jsonl")
		if *rewrite {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		have, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s is not what the generator makes; go test ./jepsen-lite/check -run Fixture -rewrite (%v)", path, err)
		}
	}
}

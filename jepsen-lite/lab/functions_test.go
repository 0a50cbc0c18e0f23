package lab_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/jepsen-lite/lab"
)

// everything calls each function on a cluster in memory.
const everything = `
title: every function
description: once
configuration: {key: reg/a}
cluster:
  nodes: 3
  keyspaces: [{name: reg, mode: cp}, {name: bag, mode: ap, conflict: set}, {name: sib, mode: ap, conflict: siblings}, {name: map, mode: ap, conflict: map}, {name: count, mode: ap, conflict: counter}]
method:
  - {type: probe, name: ready, provider: {type: kv, func: ready}, tolerance: true}
  - {type: probe, name: transfer-leader, provider: {type: kv, func: transfer-leader, arguments: {keyspace: reg, to: n1}}, tolerance: n1}
  - {type: probe, name: leader, provider: {type: kv, func: leader, arguments: {keyspace: reg}}, tolerance: n1}
  - {type: probe, name: put, provider: {type: kv, func: put, arguments: {key: "${key}", value: one, create: true}}, tolerance: {outcome: ok, revision: [1, 100], replaced: 0}}
  - {type: probe, name: put again, provider: {type: kv, func: put, arguments: {key: "${key}", value: two, create: true}}, tolerance: {outcome: fail, code: Conflict}}
  - {type: probe, name: cas, provider: {type: kv, func: cas, arguments: {key: reg/a, expect: one, value: three}}, tolerance: {outcome: ok}}
  - {type: probe, name: cas again, provider: {type: kv, func: cas, arguments: {key: reg/a, expect: one, value: four}}, tolerance: {code: Conflict, found: true, value: three}}
  - {type: probe, name: get, provider: {type: kv, func: get, arguments: {key: reg/a, at: "leader:reg", level: "bounded:5s"}}, tolerance: {value: three, level_served: bounded, node: n1}}
  - {type: probe, name: elapsed, provider: {type: kv, func: elapsed, arguments: {since: get}}, tolerance: [0, 10000]}
  - {type: probe, name: incr, provider: {type: kv, func: incr, arguments: {key: reg/n, by: 5}}, tolerance: {value: "5"}}
  - {type: probe, name: incr on ap, provider: {type: kv, func: incr, arguments: {key: count/n}}, tolerance: {value: "1"}}
  - {type: probe, name: scan, provider: {type: kv, func: scan, arguments: {keyspace: reg}}, tolerance: {keys: [a, n], count: 2}}
  - {type: probe, name: add, provider: {type: kv, func: add, arguments: {key: bag/b, value: x, session: s, w: all}}, tolerance: {outcome: ok, acked: 3}}
  - {type: probe, name: replicas, provider: {type: kv, func: replicas, arguments: {key: bag/b}}, tolerance: {n1: [x], n2: [x], n3: [x]}}
  - {type: probe, name: delete, provider: {type: kv, func: delete, arguments: {key: bag/b, field: x, session: s}}, tolerance: {outcome: ok}}
  - {type: probe, name: it is empty, provider: {type: kv, func: get, arguments: {key: bag/b, session: s}}, tolerance: {found: false, value: null, values: []}}
  - {type: probe, name: a field, provider: {type: kv, func: put, arguments: {key: map/m, field: f, value: v, session: s}}, tolerance: {outcome: ok}}
  - {type: probe, name: the field, provider: {type: kv, func: get, arguments: {key: map/m, session: s}}, tolerance: {fields: [f], values: [v]}}
  - {type: probe, name: the field goes, provider: {type: kv, func: delete, arguments: {key: map/m, field: f, session: s}}, tolerance: {outcome: ok}}
  - {type: probe, name: for a second, provider: {type: kv, func: put, arguments: {key: reg/t, value: soon gone, ttl: 1s}}, tolerance: {outcome: ok}, pauses: {after: 3}}
  - {type: probe, name: it is gone, provider: {type: kv, func: get, arguments: {key: reg/t}}, tolerance: {found: false}}
  - {type: probe, name: lock, provider: {type: kv, func: lock, arguments: {keyspace: reg, name: l, session: s}}, tolerance: {outcome: ok, fence: {type: regex, pattern: "^[0-9]+$"}}}
  - {type: probe, name: it is held, provider: {type: kv, func: lock, arguments: {keyspace: reg, name: l, session: other, timeout: 500ms}}, tolerance: {outcome: fail}}
  - {type: probe, name: unlock, provider: {type: kv, func: unlock, arguments: {name: l, session: s}}, tolerance: {outcome: ok}}
  - {type: probe, name: status, provider: {type: kv, func: status, arguments: {node: n1}}, tolerance: {ready: true, leads: [reg], hears: [n1, n2, n3]}}
  - {type: action, name: load, background: true, provider: {type: kv, func: load, arguments: {workload: register, keyspace: reg, for: 2s, rate: 20, clients: 2}}}
  - {type: probe, name: await, provider: {type: kv, func: await, arguments: {activity: load}}, tolerance: {ok: [1, 100]}}
  - {type: action, name: delay, provider: {type: kv, func: delay, arguments: {links: "n1,n2", by: 5ms, jitter: 1ms}}}
  - {type: action, name: drop, provider: {type: kv, func: drop, arguments: {links: "n1<->n3", percent: 1}}}
  - {type: action, name: partition, provider: {type: kv, func: partition, arguments: {groups: "n1|n2,n3"}}}
  - {type: probe, name: a left value, provider: {type: kv, func: put, arguments: {at: n1, key: sib/k, value: left, blind: true}}, tolerance: {outcome: ok}}
  - {type: probe, name: a right value, provider: {type: kv, func: put, arguments: {at: n2, key: sib/k, value: right, blind: true}}, tolerance: {outcome: ok}}
  - {type: action, name: heal, provider: {type: kv, func: heal}}
  - {type: probe, name: converged, provider: {type: kv, func: converged, arguments: {keyspace: sib}}, tolerance: true}
  - {type: probe, name: both, provider: {type: kv, func: get, arguments: {key: sib/k, session: s}}, tolerance: {values: [right, left], value: null}}
  - {type: probe, name: settled, provider: {type: kv, func: put, arguments: {key: sib/k, value: settled, session: s, after-read: true}}, tolerance: {outcome: ok}}
  - {type: probe, name: one, provider: {type: kv, func: get, arguments: {key: sib/k, session: s}}, tolerance: {values: [settled]}}
  - {type: action, name: isolate, provider: {type: kv, func: isolate, arguments: {node: n3}}}
  - {type: action, name: cut, provider: {type: kv, func: cut, arguments: {links: "n1->n2"}}}
  - {type: action, name: heal again, provider: {type: kv, func: heal}}
  - {type: action, name: slow-disk, provider: {type: kv, func: slow-disk, arguments: {node: n3, by: 10ms}}}
  - {type: action, name: well, provider: {type: kv, func: slow-disk, arguments: {node: n3, by: 0}}}
  - {type: action, name: skew, provider: {type: kv, func: skew, arguments: {node: n3, ahead: -1s}}}
  - {type: action, name: right, provider: {type: kv, func: skew, arguments: {node: n3, ahead: 0}}}
  - {type: action, name: kill, provider: {type: kv, func: kill, arguments: {node: n3}}}
  - {type: probe, name: it does not answer, provider: {type: kv, func: status, arguments: {node: n3}}, tolerance: {code: Unavailable}}
  - {type: action, name: restart, provider: {type: kv, func: restart, arguments: {node: n3}}}
  - {type: action, name: restart what runs, provider: {type: kv, func: restart, arguments: {node: n2}}}
  - {type: probe, name: check, provider: {type: kv, func: check, arguments: {dump: true, claims: [convergence, durability, set, map, counter]}}, tolerance: {verdict: pass}}
`

// notHere are functions that nodes in one process cannot have.
var notHere = []string{"pause", "resume"}

func TestEveryFunctionDoesWhatItSays(t *testing.T) {
	e, err := lab.Parse("everything.yaml", []byte(everything))
	if err != nil {
		t.Fatal(err)
	}
	j := virtual(t, e)
	for _, r := range j.Unmet() {
		t.Errorf("%s: wanted %v, got %v %s", r.Name, r.Wanted, r.Output, r.Exception)
	}
	for _, name := range lab.FunctionNames() {
		if !slices.Contains(notHere, name) && !strings.Contains(everything, "func: "+name+"}") && !strings.Contains(everything, "func: "+name+",") {
			t.Errorf("%s is not tried", name)
		}
	}
	h, err := j.History()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range h.Faults {
		if w.End == history.Open {
			t.Errorf("%s %s was never healed", w.Fault, w.Detail)
		}
	}
	if len(h.Faults) < 8 || len(h.Ops) < 20 {
		t.Errorf("%d faults and %d operations in the history", len(h.Faults), len(h.Ops))
	}
}

// What nodes in one process cannot do is said, and is no pass.
func TestPauseIsRefusedInOneProcess(t *testing.T) {
	e, err := lab.Parse("f.yaml", []byte(withCluster+"method:\n  - {type: action, name: a, provider: {type: kv, func: pause, arguments: {node: n1}}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if j := virtual(t, e); j.Held() || len(j.Unmet()) != 1 || !strings.Contains(j.Unmet()[0].Exception, "cannot be paused") {
		t.Errorf("%+v", j.Unmet())
	}
}

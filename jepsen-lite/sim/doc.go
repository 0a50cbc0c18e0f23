// Package sim runs scenarios on production nodes in virtual time: five of them in
// one synctest bubble, on an in-memory network and in-memory disks, so that minutes
// of cuts, crashes and heals take seconds. It holds tests only.
//
//	go test ./jepsen-lite/sim -run Sim -v                       # three virtual minutes of each workload
//	go test ./jepsen-lite/sim -run 'Sim/^watch$' -sim.hours=2 -sim.faults=partition,membership -timeout 30m
//	go test ./jepsen-lite/sim -run Sim/register -sim.seed=7 -sim.shrink -v -timeout 1h   # if it fails: the least that does
//	go test -tags mutants ./jepsen-lite/sim -run Mutants -v     # every planted bug, once
//	go test -tags mutants ./jepsen-lite/sim -run Mutants -sim.seeds=20 -timeout 12h
//	go test -tags mutants ./jepsen-lite/sim -run 'Mutants/^M4$' -sim.seeds=5 -sim.seed=16    # one bug, the last five seeds
//	go test -tags mutants ./jepsen-lite/sim -run NegativeControls -sim.controls -sim.seeds=3 -timeout 2h
//
// A seed drives the workload, the faults and the draws of the links. It promises the
// same plan, not the same interleaving: Raft and the runtime draw for themselves.
package sim

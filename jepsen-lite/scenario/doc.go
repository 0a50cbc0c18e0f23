// Package scenario is one run of the harness from an empty keyspace to a verdict: a
// plan (workload, faults, seed) on a cluster of any kind, and what came of it.
//
// [Run] makes keyspaces of its own, puts the load on them while the nemesis follows
// its schedule, waits until the cluster has settled, dumps every replica, judges the
// history and writes the report. The report is written however the run ends, also if
// it crashes or gets stuck: a run without a verdict is the one that somebody will want
// to look at. What kept a run from proving anything is a result among the checkers',
// named run or nemesis, and never a pass.
//
// In a synctest bubble, [Record] does all but the judging, which needs real time.
package scenario

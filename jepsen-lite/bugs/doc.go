// Package bugs is the table of planted bugs: what shows each, and which checker must see
// it. A harness that has caught nothing proves nothing, so every bug of internal/mutant
// stands here, in a row whose plan catches it or, where no plan does, with the unit test
// that fails with it.
//
// The table holds names and plans, no bug: it is the same in every build. A process has
// one bug from its start to its end, so that each run of a row is a process of its own,
// which needs a build with -tags mutants:
//
//	go test -tags mutants ./jepsen-lite/sim -run Mutants   # in virtual time
//	kvctl check bugs                                       # in real time
package bugs

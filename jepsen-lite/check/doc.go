// Package check judges histories: it says whether what clients saw is what their
// keyspaces promised, how much it had to judge by, and shows the fewest operations
// that prove a failure.
//
// A checker answers pass, fail, unknown or invalid, and only pass is green. A
// checker that compared less than its floor turns its pass into invalid, because a
// history in which nothing was concurrent proves nothing; it never turns a fail into
// anything else. A checker that panics is unknown.
//
// All checkers rely on one habit of the workload: on a key no value is written
// twice, so that a value names its write. Sources: Herlihy & Wing, "Linearizability"
// (TOPLAS 1990); Gibbons & Korach, "Testing Shared Memories" (SIAM J. Comput. 1997);
// Bouajjani, Enea, Guerraoui & Hamza, "On Verifying Causal Consistency" (POPL 2017);
// AWDIT (PLDI 2025) for its complexity; Terry et al., "Session Guarantees for Weakly
// Consistent Replicated Data" (PDIS 1994). DESIGN.md in the folder above says why to
// believe the result.
package check

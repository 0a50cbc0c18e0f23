// Package nemesis hurts a cluster on a schedule, proves that it hurt, and heals it.
//
// A fault that does nothing makes every checker pass, so each fault has an effect
// probe: a partition must have held something back, a killed or paused node must have
// stopped to answer, a slow disk must have made syncs wait, and a leader that stands
// still must have been superseded. Without effect, or without a heal that can be seen, the result
// says Wrong and the run proves nothing.
//
// The schedule comes from a seed ([Config.Plan]): begin, hold, heal, one fault at
// a time. Some holds are shorter than failure detection takes, and some longer:
// they are different tests. Whatever happens, also when the context ends, the last
// thing [Run] does is to heal.
package nemesis

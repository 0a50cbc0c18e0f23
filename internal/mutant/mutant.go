// Package mutant holds the switches of the planted bugs, by which the harness earns
// trust: a checker that has never caught anything proves nothing.
//
// Code reads if mutant.M9 { … }. Without the build tag "mutants" every switch is
// the constant false, so the compiler drops what stands under it and a release
// holds no bug to switch on. With the tag, the environment variable KV_MUTANT
// names the one bug of the process, and this package is its only reader.
package mutant

// Names lists the planted bugs.
var Names = []string{
	"M1", "M2", "M3", "M4", "M5", "M6", "M7", "M8", "M9", "M10", "M11", "M12", "M13", "M14", "M15", "M16", "M17",
	"M18", "M22", "M23", "M24", "M25", "M26", "M27", "M28", "M29", "M30", "M31", "M32", "M33", "M34", "M35", "M36", "M37", "M38", "M39", "M40", "M41", "M42", "M43", "M44", "M45",
}

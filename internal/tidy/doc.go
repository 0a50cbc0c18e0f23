// Package tidy keeps the house in order: its tests hold the import graph to the
// table of rooms, and the code to the few rules that a reviewer would otherwise
// have to repeat.
package tidy

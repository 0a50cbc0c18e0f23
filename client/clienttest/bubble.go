package clienttest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialkv/dialkv/internal/link/linktest"
)

// Bubble runs f in virtual time, as synctest.Test does. With the race detector it keeps
// the process on one processor meanwhile, because the detector itself crashes otherwise
// (Go 1.26); without it synctest.Test does as well.
//
// Inside, everything that waits takes no time, and what waits for something outside, such
// as a socket or a file, stops the clock: an HTTP server under test goes over net.Pipe or
// is called as a handler.
func Bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	linktest.Bubble(t, f)
}

// outlive keeps the clock of a bubble going behind the end of its cluster: some timers
// outlive the nodes by seconds, and a bubble with a timer that never comes is a deadlock.
func outlive(t TB) {
	t.Cleanup(func() {
		if bubbled() {
			time.Sleep(time.Minute)
		}
	})
}

// bubbled reports whether the caller runs in a bubble: only there may it wait for it.
func bubbled() (yes bool) {
	defer func() { yes = recover() == nil }()
	synctest.Wait()
	return true
}

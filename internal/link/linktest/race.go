//go:build race

package linktest

import (
	"runtime"
	"sync"
)

var (
	mu      sync.Mutex
	bubbles int // that are open
	procs   int // before the first of them
)

// onOneProcessor keeps the process on one processor until the function it returns is
// called: with several, the race detector's own record of a bubble's timers is written
// by several threads at once, and it crashes (docs/adr/0008).
func onOneProcessor() func() {
	mu.Lock()
	defer mu.Unlock()
	if bubbles++; bubbles == 1 {
		procs = runtime.GOMAXPROCS(1)
	}
	return func() {
		mu.Lock()
		defer mu.Unlock()
		if bubbles--; bubbles == 0 {
			runtime.GOMAXPROCS(procs)
		}
	}
}

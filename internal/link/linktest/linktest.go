// Package linktest holds what every virtual-time test of the project uses.
package linktest

import (
	"testing"
	"testing/synctest"
	"time"
)

// Bubble runs f in virtual time; it is the only way the project opens a bubble.
//
// A bubble's clock stops when its function returns. Some libraries outlive their own
// shutdown by a timer (memberlist's probe by up to eight seconds), and would then be
// called deadlocked. The last minute lets them end, and makes every bubble a leak
// detector: what is left after it never ends. It is the first cleanup registered and
// so the last one run, after f's own, and after a failure too.
func Bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	defer onOneProcessor()()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Minute) })
		f(t)
	})
}

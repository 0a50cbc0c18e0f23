package client

import (
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"github.com/dialkv/dialkv/internal/link/linktest"
)

// broken is a node whose circuit has just opened.
func broken(t *testing.T) *peer {
	t.Helper()
	p := newPeer("n1", Breaker{}.withDefaults(), func(BreakerEvent) {})
	for range 10 {
		leave, _ := p.admit()
		leave.done(failed)
	}
	if p.state() != circuitbreaker.OpenState {
		t.Fatalf("it is %v", p.state())
	}
	return p
}

func TestOpenCircuitIsTriedOnlyFromTimeToTime(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		p := broken(t)
		tried := 0
		for range 10_000 { // 10 s
			time.Sleep(time.Millisecond)
			if leave, ok := p.admit(); ok {
				leave.done(failed)
				tried++
			}
		}
		if tried < 60 || tried > 80 { // two in 250 ms, as two of three that fail decide
			t.Errorf("it was tried %d times in 10 s", tried)
		}
	})
}

// What was asked before the circuit opened was asked of another time.
func TestLateAnswersCloseNoCircuit(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		p := newPeer("n1", Breaker{}.withDefaults(), func(BreakerEvent) {})
		var late []permit
		for range 5 {
			leave, _ := p.admit()
			late = append(late, leave)
		}
		for range 10 {
			leave, _ := p.admit()
			leave.done(failed)
		}
		time.Sleep(alone)
		leave, ok := p.admit()
		for _, l := range late {
			l.done(heard)
		}
		if !ok || p.state() != circuitbreaker.HalfOpenState {
			t.Fatalf("it is %v", p.state())
		}
		leave.done(heard)
		leave, ok = p.admit()
		leave.done(heard)
		if !ok || p.state() != circuitbreaker.ClosedState {
			t.Errorf("after two probes it is %v", p.state())
		}
	})
}

func TestProbesThatWereGivenUpAreNotLost(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		p := broken(t)
		for range 5 {
			time.Sleep(alone)
			one, first := p.admit()
			two, second := p.admit()
			one.done(nothing)
			two.done(nothing)
			if !first || !second || p.state() != circuitbreaker.OpenState {
				t.Fatalf("%v, %v: it is %v", first, second, p.state())
			}
		}
	})
}

package client

import (
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/link/linktest"
)

func TestBudgetIsAShareOfTheCalls(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		b, retries := newBudget(0.2), 0
		for call := range 10_000 {
			time.Sleep(5 * time.Millisecond)
			b.calls.Add(1)
			for range 3 {
				if b.retry(false) {
					retries++
				}
			}
			if retries > max(credit, (call+1)/5) {
				t.Fatalf("%d retries of %d calls", retries, call+1)
			}
		}
		if retries < 1990 {
			t.Errorf("%d retries of 10000 calls", retries)
		}
	})
}

func TestBudgetIsSavedUpToALimit(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		b := newBudget(0.2)
		b.calls.Add(1_000_000)
		for i := range savings + 1 {
			if got := b.retry(false); got != (i < savings) {
				t.Fatalf("retry %d: %v", i, got)
			}
		}
	})
}

// A client with a call now and then must not run dry for good.
func TestBudgetTrickles(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		b, retries := newBudget(0.2), 0
		for range 600 { // a minute
			time.Sleep(100 * time.Millisecond)
			if b.retry(false) {
				retries++
			}
		}
		if retries < credit+55 || retries > credit+60 {
			t.Errorf("%d retries in a minute without calls", retries)
		}
		if newBudget(-1).retry(false) {
			t.Error("a client that may not retry does")
		}
	})
}

package workload

import (
	"errors"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
)

func TestTheRateDoesNotWaitForAnswers(t *testing.T) {
	for _, c := range []struct {
		each      time.Duration // an operation
		done, due int           // at least, about
	}{
		{0, 950, 1000},
		{time.Second, 8, 1000}, // one slow client of ten seconds
	} {
		linktest.Bubble(t, func(t *testing.T) {
			ticks := make(chan struct{})
			done := make(chan int)
			go func() {
				n := 0
				for range ticks {
					time.Sleep(c.each)
					n++
				}
				done <- n
			}()
			began := time.Now()
			dropped := Config{Rate: 100, Duration: 10 * time.Second, Seed: 1}.beat(t.Context(), ticks)
			took := time.Since(began)
			close(ticks)
			n := <-done
			if n < c.done || n+dropped < c.due*95/100 || n+dropped > c.due*105/100 {
				t.Errorf("%d done and %d dropped of %d", n, dropped, c.due)
			}
			if took < 9900*time.Millisecond || took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestImpossibleLoadsAreRefused(t *testing.T) {
	for _, change := range []func(*Config){
		func(c *Config) { c.Workload = "casino" },
		func(c *Config) { c.Clients = 1 },
		func(c *Config) { c.Clients = 1000 },
		func(c *Config) { c.Rate = -1 },
		func(c *Config) { c.Duration = -time.Second },
		func(c *Config) { c.Timeout = -time.Second },
	} {
		cfg := Config{Workload: "register"}
		change(&cfg)
		if err := cfg.WithDefaults().Check(); !errors.Is(err, store.Invalid) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	if err := (Config{Workload: "register"}).WithDefaults().Check(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}

package cp_test

import (
	"slices"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
)

// questions is how many calls the members but the leader were asked so far.
func (c *cluster) questions() (n int64) {
	for _, m := range c.nodes {
		n += m.asked.Load()
	}
	return n
}

func TestRoundAsksNoMoreVotersThanItNeeds(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		const reads = 1000
		c := newCluster(t, 5, seldom)
		leader := c.leader()
		c.put("k", "v")
		before := c.questions()
		for range reads {
			if got, err := leader.get(within(t, time.Second), "k", store.Strong); err != nil || got != "v" {
				t.Fatalf("%q, %v", got, err)
			}
		}
		if asked := c.questions() - before; asked < 2*reads || asked > 2*reads*11/10 {
			t.Errorf("%d questions in %d rounds: two each are a majority of five with the leader", asked, reads)
		}
	})
}

func TestVotersThatDoNotAnswerHoldUpOneRound(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 5, seldom)
		leader := c.leader()
		c.put("k", "v")
		read := func() time.Duration {
			began := time.Now()
			if got, err := leader.get(within(t, time.Second), "k", store.Strong); err != nil || got != "v" {
				t.Fatalf("%q, %v", got, err)
			}
			return time.Since(began)
		}
		usual := time.Duration(0)
		for range 100 {
			usual = max(usual, read())
		}
		others := slices.DeleteFunc(slices.Clone(c.names), func(name string) bool { return name == leader.name })
		for _, away := range [][]string{others[:2], others[2:]} {
			c.rules(slices.Concat(link.Isolate(away[0], c.names), link.Isolate(away[1], c.names)))
			if took := read(); took > 10*usual {
				t.Errorf("with %v away the first read takes %v, a usual one %v", away, took, usual)
			}
			for range 10 {
				if took := read(); took > 2*usual {
					t.Errorf("with %v away a later read takes %v, a usual one %v", away, took, usual)
				}
			}
			c.heal()
		}
	})
}

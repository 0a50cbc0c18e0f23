package ap

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

// churn is a group whose members come and go while clients write and read.
type churn struct {
	*world
	rng *rand.Rand

	mu           sync.Mutex
	acknowledged map[string]time.Time // by key, each written once
	served       int                  // bounded reads
}

// TestNothingIsLostOrStaleWhileMembersComeAndGo replaces the members of a group again
// and again, with links cut, and nodes that hear late of it. No acknowledged write is
// lost, replicas come out equal, and each bounded read shows what was acknowledged
// before its bound.
func TestNothingIsLostOrStaleWhileMembersComeAndGo(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			run(t, 3, Config{LogBytes: 4 << 10}, func(w *world) {
				c := &churn{world: w, rng: rand.New(rand.NewPCG(seed, 1)), acknowledged: map[string]time.Time{}}
				c.comeAndGo()
			})
		})
	}
}

func (c *churn) comeAndGo() {
	ctx, stop := context.WithCancel(c.t.Context())
	var parts sync.WaitGroup
	draws := func() *rand.Rand { return rand.New(rand.NewPCG(c.rng.Uint64(), 2)) }
	for range 3 {
		own := draws()
		parts.Go(func() { c.traffic(ctx, own) })
	}
	own := draws()
	parts.Go(func() { c.hear(ctx, own) })
	replaced := 0
	for replaced < 4 {
		c.replace(fmt.Sprintf("n%d", 4+replaced))
		replaced++
	}
	c.heal(c.names, c.names)
	time.Sleep(10 * time.Second)
	stop()
	parts.Wait()
	c.tell(c.living()...)
	time.Sleep(5 * time.Second)
	c.names = c.newest().Members
	c.converged()
	for key := range c.acknowledged {
		c.expect(c.names[0], key, "v")
	}
	if len(c.acknowledged) < 300 || c.served < 100 {
		c.t.Errorf("%d writes were acknowledged, %d bounded reads served: nothing is shown", len(c.acknowledged), c.served)
	}
	c.t.Logf("%d writes, %d bounded reads", len(c.acknowledged), c.served)
}

// living are the nodes that have a replica.
func (c *churn) living() (names []string) {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	for _, name := range c.names {
		if c.member[name].replica != nil {
			names = append(names, name)
		}
	}
	return names
}

// hear lets one node after the other hear of the newest placement, at random.
func (c *churn) hear(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
		if r := c.pick(rng); r != nil {
			_ = r.Adopt(c.newest()) // one that has stopped need not hear
		}
	}
}

func (c *churn) pick(rng *rand.Rand) *Replica {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	return c.member[c.names[rng.IntN(len(c.names))]].replica
}

// replace lets a new node come and an old one go, with one node cut off meanwhile.
func (c *churn) replace(name string) {
	members := c.newest().Members
	goes := members[c.rng.IntN(len(members))]
	c.newcomer(name)
	c.split(goes)
	for c.catchUp(name) != nil {
		c.split(goes)
	}
	c.next(entered(name))
	c.next(leaves(goes))
	for !slices.Contains(c.at(goes).placed.Load().Leaving, goes) || c.leave(goes) != nil {
		c.split(goes)
		time.Sleep(time.Second)
	}
	c.next(left(goes))
	time.Sleep(time.Duration(c.rng.IntN(2000)) * time.Millisecond)
	c.stop(goes)
}

// split cuts one node off, perhaps the one that goes, or none.
func (c *churn) split(goes string) {
	c.heal(c.names, c.names)
	alone := goes
	switch living := c.living(); c.rng.IntN(3) {
	case 0:
		return
	case 1:
		alone = living[c.rng.IntN(len(living))]
	}
	c.cut([]string{alone}, without(c.names, []string{alone}))
}

// traffic writes and reads at random nodes.
func (c *churn) traffic(ctx context.Context, rng *rand.Rand) {
	const bound = 1500 * time.Millisecond
	for i := 0; ctx.Err() == nil; i++ {
		time.Sleep(time.Duration(20+rng.IntN(60)) * time.Millisecond)
		key := fmt.Sprintf("%x-%d", rng.Uint32(), i)
		if r := c.pick(rng); r != nil {
			try, cancel := within(time.Second)
			if _, err := r.Write(try, put(key, "v")); err == nil {
				c.mu.Lock()
				c.acknowledged[key] = time.Now()
				c.mu.Unlock()
			}
			cancel()
		}
		if r := c.pick(rng); r != nil && i%3 == 0 {
			c.look(r, bound)
		}
	}
}

// look reads all, bounded, and wants what was acknowledged before the bound.
func (c *churn) look(r *Replica, bound time.Duration) {
	began := time.Now()
	ctx, cancel := within(300 * time.Millisecond)
	defer cancel()
	there := map[string]bool{}
	for q := (store.Query{Level: store.Bounded, Bound: bound, Limit: store.MaxPage}); ; {
		page, err := r.Read(ctx, q)
		if err != nil {
			if !errors.Is(err, store.TooStale) && !errors.Is(err, store.Unavailable) {
				c.t.Errorf("%s: %v", r.cfg.Node, err)
			}
			return
		}
		for _, item := range page.Items {
			there[item.Key] = true
		}
		if q.Page = page.Next; q.Page == "" {
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.served++
	for key, at := range c.acknowledged {
		if began.Sub(at) > bound && !there[key] {
			c.t.Errorf("%s lacks %s, acknowledged %v before", r.cfg.Node, key, began.Sub(at))
			return
		}
	}
}

package client

import (
	"context"
	"sync/atomic"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/hedgepolicy"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// Hedge sends a read of one key a second time, to another replica, when it takes longer
// than nearly all such reads did, and takes the answer that comes first (Dean and
// Barroso, "The Tail at Scale", CACM 2013). The second read has the level, the bound and
// the token of the first. Never a write: that would have to be recognised.
//
// A hedge is paid for by the budget, as a retry is.
type Hedge struct {
	On       bool
	Quantile float64 // of recent reads of the level, after which it is sent; 0.95 if zero
}

const (
	hedgeAge  = 200 // how many reads the quantile goes back, by and large
	hedgeFrom = 20  // reads of a level before the first hedge
)

// raced is how one of two reads ended.
type raced struct {
	page   store.Page
	err    error
	second bool
}

func (h Hedge) validate() error {
	if !(h.Quantile > 0 && h.Quantile < 1) {
		return invalid("Hedge.Quantile lies between 0 and 1", "0.95")
	}
	return nil
}

// newHedges are the executors of each level, which learn how long its reads take. The end
// of the first read ends the race, whatever it is: it has made all attempts that it may.
func newHedges(h Hedge) map[store.Level]failsafe.Executor[raced] {
	if !h.On {
		return nil
	}
	out := make(map[store.Level]failsafe.Executor[raced])
	for level := store.LevelDefault; level <= store.Strong; level++ {
		out[level] = failsafe.With[raced](hedgepolicy.NewBuilderWithDelayQuantile[raced](h.Quantile, hedgeAge, hedgeFrom).
			CancelIf(func(r raced, _ error) bool { return !r.second || r.err == nil }).
			Build())
	}
	return out
}

// readHedged is readCall, or two of them.
func (c *Client) readHedged(ctx context.Context, ks shard.Keyspace, group store.GroupID, q store.Query, tok []byte, h *hosts) (store.Page, error) {
	var sent atomic.Bool
	r, err := c.hedges[q.Level.Or(ks.Mode)].WithContext(ctx).GetWithExecution(func(e failsafe.Execution[raced]) (raced, error) {
		if !e.IsHedge() {
			page, err := c.readCall(e.Context(), ks, group, q, tok, h, false)
			return raced{page: page, err: err}, nil
		}
		if !c.budget.retry(false) {
			return raced{err: store.Overloaded, second: true}, nil
		}
		sent.Store(true)
		c.noteKind(ctx, "hedge", "a second read")
		page, err := c.readCall(e.Context(), ks, group, q, tok, h, true)
		return raced{page, err, true}, nil
	})
	if sent.Load() {
		tell(c.cfg.Observe.Hedge, HedgeEvent{Keyspace: ks.Name, Won: err == nil && r.second && r.err == nil})
	}
	if err != nil { // ctx has ended, and nobody waits for either
		e := store.Expired(ctx, "an answer")
		e.Op, e.Keyspace, e.Group = "get", ks.Name, group
		return store.Page{}, e
	}
	return r.page, r.err
}

// others is the route of a second read: whoever is not asked first.
func others(route []string) []string {
	if len(route) == 0 {
		return nil
	}
	return route[1:]
}

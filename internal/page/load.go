package page

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// load is a little traffic: a client at each node, which puts and gets, for the timeline
// and the checkers to have something to show, and for the levels to be measured.
type load struct {
	space   shard.Keyspace
	levels  []string
	seconds float64
	measure bool
}

const (
	loadPause   = 150 * time.Millisecond // of a client between two operations
	loadTimeout = time.Second            // of one
	maxLoad     = 60                     // seconds
)

// loadRequest asks for traffic.
type loadRequest struct {
	Keyspace string   `json:"keyspace"`
	Levels   []string `json:"levels"` // of the gets, in turn; none: every level the mode has
	Seconds  float64  `json:"seconds"`
	// Measure makes a chart of it at the end.
	Measure bool `json:"measure"`
}

// startLoad returns when the load has begun. One runs at a time.
func (p *Page) startLoad(r *http.Request, in loadRequest) (any, error) {
	k, err := p.space(r.Context(), in.Keyspace)
	if err != nil {
		return nil, err
	}
	if !(in.Seconds >= 1 && in.Seconds <= maxLoad) {
		return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("seconds is %g, it must be 1 to %d", in.Seconds, maxLoad), Try: "10"}
	}
	if k.Mode == store.AP && k.Policy != store.LWW && k.Policy != store.Siblings {
		return nil, &store.Error{Code: store.Unsupported, Msg: "the load puts values, and " + k.Name + " holds " + k.Policy.String() + "s", Try: "a cp keyspace, or one with --conflict lww or siblings"}
	}
	if len(in.Levels) == 0 {
		in.Levels = levelsOf(k.Mode)
	}
	for _, l := range in.Levels {
		if _, _, err := store.ParseLevelBound(l); err != nil {
			return nil, err
		}
	}
	select {
	case p.loads <- load{space: k, levels: in.Levels, seconds: in.Seconds, measure: in.Measure}:
		return struct{}{}, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-time.After(patience / 4):
		return nil, &store.Error{Code: store.Overloaded, Msg: "a load runs already", Try: "again when it has ended"}
	}
}

func levelsOf(m store.Mode) []string {
	levels := []string{"eventual", "monotonic", "read-your-writes", "causal", "bounded:1s", "quorum"}
	if m == store.CP {
		levels = append(levels, "strong")
	}
	return levels
}

// drive runs the loads that are asked for, one after the other.
func (p *Page) drive(ctx context.Context) {
	for n := 1; ; n++ {
		select {
		case l := <-p.loads:
			p.runLoad(ctx, l, n)
		case <-ctx.Done():
			return
		}
	}
}

// loadState is what is said of the load that runs.
type loadState struct {
	Running  bool    `json:"running"`
	Keyspace string  `json:"keyspace"`
	Until    float64 `json:"until"`
	Measure  bool    `json:"measure"`
}

func (p *Page) runLoad(ctx context.Context, l load, n int) {
	began := time.Now()
	d := time.Duration(l.seconds * float64(time.Second))
	key := fmt.Sprintf("load-%d", n)
	p.feed.show("load", loadState{true, l.space.Name, millis(began.Add(d)), l.measure})
	timed, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var clients sync.WaitGroup
	for i, node := range p.cfg.Cluster.Nodes() {
		c := &loadClient{page: p, load: l, at: node, key: key, run: n, turn: i}
		clients.Go(func() { c.loop(timed, ctx) })
	}
	clients.Wait()
	p.feed.show("load", loadState{Keyspace: l.space.Name})
	if l.measure && ctx.Err() == nil {
		p.measure(l, key, time.Since(began))
	}
}

// measure makes the chart of a load that has ended.
func (p *Page) measure(l load, key string, took time.Duration) {
	e, err := p.tape.since(time.Time{}, func(at place) bool { return at == place{l.space.Name, key} })
	if err != nil {
		p.note(entry{Kind: "note", Text: "nothing could be measured: " + err.Error()})
		return
	}
	c := chart{Keyspace: l.space.Name, Mode: l.space.Mode.String(), Seconds: took.Seconds(), Rows: rowsOf(e.history, l.space.Mode)}
	for _, f := range e.history.Faults {
		if detail := f.Detail; f.Stop > e.history.Ops[0].Start && !strings.Contains(c.Net, detail) {
			c.Net = strings.TrimPrefix(c.Net+"; "+detail, "; ")
		}
	}
	p.charts[l.space.Name] = c
	p.feed.show("charts", p.charts)
}

// loadClient is a client of a load, in a session of its own.
type loadClient struct {
	page      *Page
	load      load
	at, key   string
	run, turn int

	session, context string
	puts             int
}

// loop asks until timed ends. What is under way then goes on until it has its answer, or
// ctx ends.
func (c *loadClient) loop(timed, ctx context.Context) {
	tick := time.NewTicker(loadPause)
	defer tick.Stop()
	for ; ; c.turn++ {
		c.step(ctx)
		select {
		case <-tick.C:
		case <-timed.Done():
			return
		}
	}
}

// step is one put in four operations. On ap it follows what the client has read, so that
// values do not pile up.
func (c *loadClient) step(ctx context.Context) {
	in := opRequest{
		At: c.at, Keyspace: c.load.space.Name, Key: c.key, Client: fmt.Sprintf("load-%d %s", c.run, strings.ToLower(c.at)),
		Session: c.session, Timeout: loadTimeout.Seconds() * 1000,
	}
	if c.turn%4 == 0 {
		c.puts++
		in.Do, in.Value = "put", fmt.Sprintf("%s-%d", c.at, c.puts)
		if in.Context = c.context; in.Context == "" && c.load.space.Mode == store.AP {
			in.Blind = c.load.space.Policy == store.Siblings
		}
	} else {
		in.Do, in.Level = "get", c.load.levels[(c.turn-c.turn/4)%len(c.load.levels)]
	}
	o, err := c.page.prepare(ctx, in)
	if err != nil {
		return // it was closed, or the keyspace is gone
	}
	reply := o.run(ctx)
	c.session = reply.Session
	if in.Do == "get" && reply.Context != "" {
		c.context = reply.Context
	}
}

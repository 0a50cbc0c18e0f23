package workload

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// Target is the cluster that is asked.
type Target interface {
	Nodes() []string
	// Client returns a client that enters at the named node or, if at is empty, finds
	// its own way. The caller closes it.
	Client(ctx context.Context, at string) (*client.Client, error)
}

// Run puts the load on the target and returns when it is over and every operation has
// ended; if ctx ends, that is sooner. An error means that the history must not be
// judged.
func Run(ctx context.Context, target Target, cfg Config, rec *history.Recorder) (Stats, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Check(); err != nil {
		return Stats{}, err
	}
	if mutant.M47 {
		cfg.Clients = 1
	}
	if len(cfg.Keyspaces) == 0 {
		return Stats{}, errors.New("workload: no keyspace was created for it")
	}
	processes := cfg.cast(target, rec)
	over := make(chan struct{})
	cfg.assign(processes, over)
	ticks := make(chan struct{})
	done := make(chan error, len(processes))
	for _, p := range processes {
		go func() { done <- p.run(ctx, ticks) }()
	}
	dropped := cfg.beat(ctx, ticks)
	close(ticks)
	close(over)
	var errs error
	for range processes {
		errs = errors.Join(errs, <-done)
	}
	rest(ctx, linger[cfg.Workload])
	total := Stats{Dropped: dropped}
	for _, p := range processes {
		total.join(p.count)
	}
	return total, errors.Join(errs, rec.Err())
}

// beat sends a tick for every operation that is due, at jittered distances, and
// counts those that nobody was free to take.
func (c Config) beat(ctx context.Context, ticks chan<- struct{}) (dropped int) {
	rng := c.draws("beat")
	distance := float64(time.Second) / c.Rate
	timer := time.NewTimer(0)
	defer timer.Stop()
	for began, due := time.Now(), time.Duration(0); due < c.Duration; {
		timer.Reset(due - time.Since(began))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return dropped
		}
		select {
		case ticks <- struct{}{}:
		default:
			dropped++
		}
		due += time.Duration(distance * (0.5 + rng.Float64()))
	}
	return dropped
}

// draws returns a source of draws of its own for each name.
func (c Config) draws(name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(uint64(c.Seed), h.Sum64()))
}

// teams is how many teams share the clients.
func (c Config) teams() int {
	teams := len(c.Keyspaces)
	for teams*clientsPerKey < c.Clients {
		teams += len(c.Keyspaces)
	}
	return teams
}

// cast makes the clients. They form teams, which share keys; each team has one
// keyspace and stands at several nodes.
func (c Config) cast(target Target, rec *history.Recorder) []*process {
	teams := c.teams()
	keys := make([]*rotation, teams)
	for i := range keys {
		prefix := fmt.Sprintf("t%dk", i+1)
		keys[i] = newRotation(prefix, c.draws(prefix))
	}
	processes := make([]*process, c.Clients)
	for i := range processes {
		team, place := i%teams, i/teams
		a := author{
			process: i + 1, rng: c.draws(fmt.Sprintf("script %d", i)),
			space: &c.Keyspaces[team%len(c.Keyspaces)], keys: keys[team],
		}
		processes[i] = &process{
			id: i + 1, rng: c.draws(fmt.Sprintf("places %d", i)), timeout: c.Timeout,
			target: target, clients: map[string]*client.Client{}, rec: rec,
		}
		processes[i].script, processes[i].places = c.part(a, team, place, target.Nodes())
	}
	return processes
}

// linger is how long a run with a TTL goes on without load: every key has ended then,
// also one whose lease a new leader gave its whole TTL again or, on ap, one that the node
// which took it does not end.
var linger = map[string]time.Duration{"ttl": 2*longTTL + 6*time.Second, "ap-ttl": longTTL + 23*time.Second}

// assign gives some clients another part than to do what their script says at every
// tick. With watches, the first of each team only watches; with exactly-once, the first
// of each team repeats its requests, where the target lets us at its nodes.
func (c Config) assign(processes []*process, over <-chan struct{}) {
	teams := c.teams()
	for i, p := range processes[:min(teams, len(processes))] {
		direct, ok := p.target.(Direct)
		switch {
		case c.Workload == "watch" || c.Workload == "ap-watch":
			w := &watcher{process: p, space: &c.Keyspaces[i%len(c.Keyspaces)], prefix: fmt.Sprintf("t%dk", i+1), over: over}
			p.places, p.alone = append(slices.Clone(p.target.Nodes()), ""), w.watch
		case c.Workload == "exactly-once" && ok:
			p.instead = (&repeater{process: p, direct: direct}).operate
		}
	}
}

// part is what a client does and where it enters. Of most workloads' clients every other
// stays at its node; the rest enter anywhere, or find their own way.
func (c Config) part(a author, team, place int, nodes []string) (script, []string) {
	home := []string{nodes[(team+place)%len(nodes)]}
	if place%2 == 1 {
		home = append(slices.Clone(nodes), "")
	}
	switch c.Workload {
	case "roaming":
		return &roaming{a}, nodes
	case "bounded":
		return &bounds{a}, home
	case "counter":
		return &tallies{a}, home
	case "set":
		return &members{a}, home
	case "delete":
		return &deletions{a}, home
	case "causal":
		return &chain{author: a}, []string{nodes[(team+place)%len(nodes)]}
	case "across":
		tasks := a
		tasks.written = 1 << 30 // so that both never write the same value
		tasks.space = &c.Keyspaces[(team+1)%len(c.Keyspaces)]
		return &across{author: a, tasks: tasks, board: a.keys.board}, []string{nodes[(team+place)%len(nodes)]}
	case "bank":
		return &bank{author: a}, home
	case "scan":
		return &ranges{author: a}, home
	case "watch":
		return &ranges{author: a, writes: true}, home
	case "exactly-once":
		return &counters{a}, home
	case "lock":
		return &lockers{author: a}, home
	case "ttl":
		return &mortals{author: a}, home
	case "ap-scan":
		return &folders{author: a}, home
	case "ap-watch":
		return &folders{author: a, writes: true}, home
	case "ap-ttl":
		return &embers{a}, home
	case "map":
		return &fields{a}, home
	}
	return &register{a}, home
}

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/store"
)

// What a bench writes, and how long it runs before it counts.
const (
	benchKeys    = 10_000
	benchValue   = 256 // bytes
	leastClients = 64  // unless fewer are asked for
	maxBench     = 4096
	maxRate      = 1_000_000
	maxTime      = time.Hour
	warmUp       = time.Second
	benchConns   = 4 // connections to each node, over which the clients are spread
	benchTimeout = 5 * time.Second
)

// bench is what is asked for: how the clients go on, and what they do.
type bench struct {
	keyspace string
	clients  int
	rate     float64 // operations a second of all clients; 0: each goes on when it has its answer
	load     load
	level    string // of the reads, as it was asked for
	time     time.Duration
	page     string // file of the page; empty: none is written

	near   string // node that the connections prefer
	events bool   // breakers are told of as they change

	conns    []*client.Client
	breakers *breakers
}

func (a *app) benchCommand() *cobra.Command {
	var b bench
	var levels []string
	cmd := &cobra.Command{
		Use: "bench KEYSPACE", Short: "how fast, at which level", Args: takes(1, 1),
		Long: `bench runs clients, each in a session of its own, on ten thousand keys with values of 256
bytes, and says how many operations were done and how long they took. The first second is
not counted.

Without --rate each client sends its next operation when it has the answer to the last: a
closed loop. It shows what the cluster can do, and flatters its latency, as nobody asks while
the cluster stands still. With --rate the operations are due at fixed times, whatever became
of those before, and what counts is the time from when one was due: an open loop, as users
are. What was due and never begun is told as behind; then the rate is more than the cluster,
or these clients, can do.

The operations: mix, reads and writes as --mix says; get; put; incr; txn, one comparison and
two writes at one revision; scan, a page of a hundred keys; watch, from a put until its
change has come back to a watch of its key.

The clients share a few connections, each with circuit breakers of its own. How those change
is in the result as breakers, and told at once with --events: what came to the node in the
state that has ended, and what went elsewhere.`,
		Example: `  kvctl bench orders --level strong,causal,bounded:2s --mix r100
  kvctl bench orders --op txn --clients 16 --time 30s
  kvctl bench orders --rate 2000 --level strong,eventual --html bench.html
  kvctl bench carts --mix w100 -o json
  kvctl bench carts --level eventual --near n1 --events --time 1m`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			b.keyspace = args[0]
			if b.load.op != opMix && cmd.Flags().Changed("mix") {
				return &store.Error{Code: store.Invalid, Msg: "--mix is of --op mix", Try: "one of the two"}
			}
			if b.rate > 0 && !cmd.Flags().Changed("clients") {
				b.clients = benchClients(b.rate)
			}
			if err := b.check(); err != nil {
				return err
			}
			for _, name := range levels {
				if _, err := atLevel(name); err != nil {
					return err
				}
			}
			return a.with(func(c localcluster.Cluster) error { return a.bench(cmd.Context(), c, b, levels) })
		},
	}
	f := cmd.Flags()
	f.IntVar(&b.clients, "clients", leastClients, "clients, one operation at a time each; with --rate by default enough for operations of 100ms")
	f.Float64Var(&b.rate, "rate", 0, "operations a second that are due, of all clients (default: as many as go)")
	f.StringVar(&b.load.op, "op", opMix, "what they do: "+strings.Join(benchOps, ", "))
	f.StringVar(&b.load.mix, "mix", "r90w10", "percent of reads and writes: r90w10, r100, w100")
	f.StringSliceVar(&levels, "level", []string{""}, "levels of the reads, one run for each (default: the keyspace's)")
	f.DurationVar(&b.time, "time", 10*time.Second, "how long each run counts")
	f.StringVar(&b.near, "near", "", "node that is asked first where it holds what is asked for")
	f.BoolVar(&b.events, "events", false, "tell on stderr how circuit breakers change")
	f.StringVar(&b.page, "html", "", "file for a page with the runs in pictures, side by side")
	a.complete(cmd, "op", func(context.Context) []string { return benchOps })
	a.complete(cmd, "level", levelWords)
	a.complete(cmd, "near", a.nodeNames)
	cmd.ValidArgsFunction = a.keyspaceFirst("")
	return cmd
}

func (b *bench) check() (err error) {
	if err := store.CheckName("keyspace", b.keyspace); err != nil {
		return err
	}
	if err := b.load.check(); err != nil {
		return err
	}
	if b.clients < 1 || b.clients > maxBench {
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("%d clients, it must be between 1 and %d", b.clients, maxBench), Try: "--clients 64"}
	}
	if b.rate < 0 || b.rate > maxRate || math.IsNaN(b.rate) {
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("--rate %v must be above 0 and at most %d", b.rate, maxRate), Try: "--rate 2000"}
	}
	if b.time <= 0 || b.time > maxTime {
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("--time %v must be above 0 and at most an hour", b.time), Try: "--time 10s"}
	}
	return b.pageable()
}

// benchClients are enough for a rate of operations that take a tenth of a second.
func benchClients(rate float64) int {
	return int(min(max(rate/10, leastClients), maxBench))
}

// parseMix reads r90w10, r100 or w100: percent of reads and writes.
func parseMix(mix string) (reads int, err error) {
	bad := &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("mix %q is not percentages of reads and writes that add up to 100", mix), Try: "--mix r90w10, r100 or w100"}
	r, w, _ := strings.Cut(strings.TrimPrefix(mix, "r"), "w")
	if !strings.HasPrefix(mix, "r") {
		r, w = "0", strings.TrimPrefix(mix, "w")
	}
	if w == "" {
		w = "0"
	}
	reads, err1 := strconv.Atoi(r)
	writes, err2 := strconv.Atoi(w)
	if err1 != nil || err2 != nil || reads < 0 || writes < 0 || reads+writes != 100 {
		return 0, bad
	}
	return reads, nil
}

func (a *app) bench(ctx context.Context, c localcluster.Cluster, b bench, levels []string) error {
	b.breakers = newBreakers(func(c breakerChange) {
		if b.events {
			a.progress("%v", c)
		}
	})
	if err := b.open(ctx, c); err != nil {
		return err
	}
	defer b.close()
	mode, err := b.suits(ctx)
	if err != nil {
		return err
	}
	if err := b.probe(ctx, levels); err != nil {
		return err
	}
	if b.load.reads() {
		a.progress("writing %d keys", benchKeys)
		if err := b.fill(ctx); err != nil {
			return err
		}
	}
	runs := []benchRun{}
	for _, level := range levels {
		if b.level = level; level == "" || level == store.LevelDefault.String() {
			b.level = store.LevelDefault.Or(mode).String()
		}
		if b.load.at, err = atLevel(b.level); err != nil {
			return err
		}
		a.progress("%s, %s, %d clients%s: %v", b.level, b.load, b.clients, b.paced(), b.time)
		run, err := b.run(ctx, a.eachSecond(b.time))
		if err != nil {
			return err
		}
		runs = append(runs, run)
	}
	if err := b.write(runs); err != nil {
		return err
	}
	return a.show(map[string]any{"runs": runs, "breakers": b.breakers.kept()}, func() { a.benchTable(runs) })
}

func (b *bench) open(ctx context.Context, c localcluster.Cluster) error {
	b.load.value = make([]byte, benchValue)
	if _, err := rand.Read(b.load.value); err != nil {
		return err
	}
	cfg, err := c.Outside()
	if err != nil {
		return err
	}
	if cfg.Near = b.near; b.near != "" && !slices.Contains(c.Nodes(), b.near) {
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("--near: there is no node %.60q", b.near), Try: "kvctl node list"}
	}
	for i := range min(benchConns, b.clients) {
		cfg.Observe = b.breakers.observe(i + 1)
		conn, err := client.Open(ctx, cfg)
		if err != nil {
			b.close()
			return err
		}
		b.conns = append(b.conns, conn)
	}
	return nil
}

func (b *bench) close() {
	for _, c := range b.conns {
		_ = c.Close() // says only that it was closed
	}
}

// suits returns the keyspace's mode, unless puts without a context are refused there.
func (b *bench) suits(ctx context.Context) (store.Mode, error) {
	mode, err := b.conns[0].Keyspace(b.keyspace).Mode(ctx)
	if err != nil {
		return 0, err
	}
	t, err := b.conns[0].Topology(ctx)
	if err != nil {
		return 0, err
	}
	switch k, _ := t.Keyspace(b.keyspace); {
	case mode == store.AP && b.load.cpOnly():
		return 0, &store.Error{Code: store.Unsupported, Keyspace: b.keyspace, Msg: "an ap keyspace has no " + b.load.op, Try: "--op mix, get, put or scan"}
	case k.Policy.Fields() || k.Policy == store.Counter:
		return 0, &store.Error{
			Code: store.Unsupported, Keyspace: b.keyspace, Msg: "a bench puts values, and a keyspace with the policy " + k.Policy.String() + " has none",
			Try: "a cp keyspace, or one with --conflict lww",
		}
	case k.Policy == store.Siblings:
		return 0, &store.Error{
			Code: store.Unsupported, Keyspace: b.keyspace, Msg: "on a siblings keyspace every put needs the context of a read, which a bench does not have",
			Try: "a cp keyspace, or one with --conflict lww",
		}
	}
	return mode, nil
}

// probe reads once at every level, so that one that is not served here is refused
// before anything is written. Nodes that are just restarting refuse no level.
func (b *bench) probe(ctx context.Context, levels []string) error {
	ctx, cancel := context.WithTimeout(ctx, benchTimeout)
	defer cancel()
	for _, level := range levels {
		at, err := atLevel(level)
		if err != nil {
			return err
		}
		for again := true; again; {
			_, err = b.conns[0].Keyspace(b.keyspace).Get(ctx, benchKey(0), append(at, client.WithTimeout(benchTimeout))...)
			again = err != nil && store.AsError(err).Retryable() && pause(ctx, probePause)
		}
		if err != nil && !errors.Is(err, store.NotFound) {
			return err
		}
	}
	return nil
}

// probePause is between two tries of a probe.
const probePause = 100 * time.Millisecond

// pause reports false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// each runs do for every client, and returns the first error.
func (b *bench) each(do func(client int, k *client.Keyspace, s *client.Session) error) error {
	errs := make([]error, b.clients)
	var all sync.WaitGroup
	for i := range b.clients {
		c := b.conns[i%len(b.conns)]
		all.Go(func() { errs[i] = do(i, c.Keyspace(b.keyspace), c.NewSession()) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func benchKey(n int) string { return fmt.Sprintf("bench-%05d", n) }

func (b *bench) fill(ctx context.Context) error {
	return b.each(func(i int, k *client.Keyspace, s *client.Session) error {
		for n := i; n < benchKeys; n += b.clients {
			if _, err := k.Put(ctx, benchKey(n), b.load.value, client.In(s), client.WithTimeout(benchTimeout)); err != nil {
				return err
			}
		}
		return nil
	})
}

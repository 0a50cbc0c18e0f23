// Command bench runs dialkv and a peer beside each other on this machine and prints
// how they compare: three processes each on loopback, real fsync, the same load, in
// turn and in the same minutes. It is a module of its own, so that a peer's server
// stays out of the product's dependencies.
//
//	cd bench && go run . -clients 1,64,256 -time 10s -rounds 3
//
// Machines are noisy and differ, so what counts is the ratio of a pair, and the CPU
// that the servers took for an operation.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// system is one of the two: its servers run, and a load can be put on it.
type system interface {
	name() string
	// connect returns what one client of the load needs.
	connect(ctx context.Context, clients int) (operations, error)
	pids() []int
	stop() error
}

// operations are the load's. Each may be called by many goroutines at a time.
type operations struct {
	put, strong, stale func(ctx context.Context, client int, key string, value []byte) error
	close              func()
}

type options struct {
	clients []int
	ops     []string
	time    time.Duration
	rounds  int
	json    bool
	dir     string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "etcd" {
		exit(serveEtcd(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	exit(run(ctx))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context) error {
	o, err := parse()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "dialkv-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ours, err := startOurs(ctx, dir)
	if err != nil {
		return err
	}
	defer ours.stop()
	peer, err := startEtcd(ctx, dir)
	if err != nil {
		return err
	}
	defer peer.stop()
	var rows []row
	for _, op := range o.ops {
		for _, clients := range o.clients {
			r, err := compare(ctx, o, ours, peer, op, clients)
			if err != nil {
				return err
			}
			rows = append(rows, r)
			fmt.Fprintf(os.Stderr, "%s, %d clients: %.2f of %s's throughput, %.2f of its CPU\n", op, clients, r.Ratio, peer.name(), r.CPURatio)
		}
	}
	return print(o, rows)
}

func parse() (options, error) {
	o := options{}
	clients := flag.String("clients", "1,64,256", "clients of the closed loop, a run for each number")
	ops := flag.String("ops", "put,strong,stale", "operations, a run for each")
	flag.DurationVar(&o.time, "time", 5*time.Second, "how long each run counts")
	flag.IntVar(&o.rounds, "rounds", 3, "pairs of runs; the medians are printed")
	flag.BoolVar(&o.json, "json", false, "print JSON")
	flag.StringVar(&o.dir, "dir", "", "where the servers keep their data; a temporary directory if empty")
	flag.Parse()
	o.ops = strings.Split(*ops, ",")
	for _, op := range o.ops {
		if !slices.Contains([]string{"put", "strong", "stale"}, op) {
			return o, fmt.Errorf("-ops %s: put, strong or stale", op)
		}
	}
	for _, c := range strings.Split(*clients, ",") {
		n, err := strconv.Atoi(c)
		if err != nil || n < 1 || n > 4096 {
			return o, fmt.Errorf("-clients %s: numbers between 1 and 4096", c)
		}
		o.clients = append(o.clients, n)
	}
	if o.rounds < 1 || o.time <= 0 {
		return o, errors.New("-rounds and -time must be above 0")
	}
	return o, nil
}

// row is one comparison: medians over the rounds.
type row struct {
	Op       string  `json:"op"`
	Clients  int     `json:"clients"`
	Ours     figures `json:"dialkv"`
	Peer     figures `json:"peer"`
	Ratio    float64 `json:"throughput_ratio"` // of pairs of runs, the median
	P50Ratio float64 `json:"p50_ratio"`
	CPURatio float64 `json:"cpu_ratio"`
}

// compare runs both in turn, so that what else the machine does hits both.
func compare(ctx context.Context, o options, ours, peer system, op string, clients int) (row, error) {
	var a, b []figures
	for range o.rounds {
		for _, s := range []system{ours, peer} {
			f, err := load(ctx, s, op, clients, o.time)
			if err != nil {
				return row{}, fmt.Errorf("%s, %s, %d clients: %w", s.name(), op, clients, err)
			}
			if s == ours {
				a = append(a, f)
			} else {
				b = append(b, f)
			}
		}
	}
	ratio := func(of func(figures) float64) float64 {
		var all []float64
		for i := range a {
			all = append(all, of(a[i])/of(b[i]))
		}
		return median(all)
	}
	return row{
		Op: op, Clients: clients, Ours: medians(a), Peer: medians(b),
		Ratio:    ratio(func(f figures) float64 { return f.Ops }),
		P50Ratio: ratio(func(f figures) float64 { return f.P50 }),
		CPURatio: ratio(func(f figures) float64 { return f.CPU }),
	}, nil
}

func print(o options, rows []row) error {
	if o.json {
		return json.NewEncoder(os.Stdout).Encode(rows)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "op\tclients\tdialkv ops/s\tp50 ms\tp99 ms\tCPU µs/op\tetcd ops/s\tp50 ms\tp99 ms\tCPU µs/op\tthroughput\tp50\tCPU\t")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%d\t%.0f\t%.2f\t%.2f\t%.0f\t%.0f\t%.2f\t%.2f\t%.0f\t%.2f ×\t%.2f ×\t%.2f ×\t\n",
			r.Op, r.Clients, r.Ours.Ops, r.Ours.P50, r.Ours.P99, r.Ours.CPU, r.Peer.Ops, r.Peer.P50, r.Peer.P99, r.Peer.CPU, r.Ratio, r.P50Ratio, r.CPURatio)
	}
	return w.Flush()
}

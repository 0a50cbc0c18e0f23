package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// The demo's keyspaces.
const (
	orders = "orders"
	carts  = "carts"
)

// demo is a cluster in this process and what was made in it.
type demo struct {
	app     *app
	cluster localcluster.Cluster
	seed    int64
	report  string // directory
	web     string // address of the page; "" is none
	webAny  bool   // another port will do

	orders, carts shard.Keyspace
}

func (a *app) demoCommand() *cobra.Command {
	var nodes int
	var tour bool
	const webAt = "127.0.0.1:7070"
	d := &demo{app: a}
	cmd := &cobra.Command{
		Use: "demo", Short: "a cluster in this process: a shell on a terminal, else a tour", Args: takes(0, 0),
		Example: `  kvctl demo
  kvctl demo --web 127.0.0.1:8000
  kvctl demo --tour --seed 7`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if nodes < 3 || nodes > 7 {
				return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("%d nodes, it must be 3 to 7: fewer have no minority", nodes), Try: "-n 5"}
			}
			tour = tour || !terminal(a.in)
			if d.webAny = !cmd.Flags().Changed("web"); d.webAny && tour {
				d.web = "" // it would be gone before anybody had found it
			}
			if err := checkWeb(d.web); err != nil {
				return err
			}
			for d.seed == 0 {
				d.seed = rand.Int64()
			}
			return d.run(cmd.Context(), nodes, tour)
		},
	}
	f := cmd.Flags()
	f.IntVarP(&nodes, "nodes", "n", 5, "how many")
	f.BoolVar(&tour, "tour", false, "play the tour, also on a terminal")
	f.StringVar(&d.report, "keep", "demo-report", "directory for the tour's report and histories")
	f.StringVar(&d.web, "web", webAt, "loopback address of the page in a browser, none for no page (default: this port, or another that is free; with --tour none)")
	f.Int64Var(&d.seed, "seed", 0, "of the tour's load and faults (default: drawn)")
	return cmd
}

func (d *demo) run(ctx context.Context, nodes int, tour bool) error {
	began := time.Now()
	starting, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	c, err := localcluster.NewMemory(starting, memoryConfig(nodes, d.seed))
	if err != nil {
		return err
	}
	d.cluster = c
	up := time.Since(began)
	if err = d.create(starting); err == nil {
		err = d.show(ctx, c, func() error {
			if tour {
				return d.tour(ctx, up)
			}
			return d.shell(ctx, up)
		})
	}
	return errors.Join(err, c.Close())
}

// create makes the two keyspaces, both on every node.
func (d *demo) create(ctx context.Context) (err error) {
	replicas := uint32(len(d.cluster.Nodes()))
	d.carts, err = create(ctx, d.cluster, &kvpb.CreateKeyspaceRequest{Name: carts, Mode: "ap", Replicas: replicas, Conflict: "siblings"})
	if err == nil {
		d.orders, err = create(ctx, d.cluster, &kvpb.CreateKeyspaceRequest{Name: orders, Mode: "cp", Replicas: replicas})
	}
	if err == nil {
		_, _, err = d.awaitLeader(ctx, d.cluster.Nodes())
	}
	return err
}

// awaitLeader waits until one of the nodes knows that it leads orders.
func (d *demo) awaitLeader(ctx context.Context, among []string) (leader string, term uint64, err error) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		if leader, term = d.leader(ctx, among); leader != "" {
			return leader, term, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", 0, store.Expired(ctx, "a leader of "+orders)
		}
	}
}

// greeting says what there is.
func (d *demo) greeting(ctx context.Context, up time.Duration) string {
	leader, term := d.leader(ctx, d.cluster.Nodes())
	return fmt.Sprintf("%s %d nodes in %s, in memory, gone on exit      cp %q: leader %s, term %d      ap %q: %d replicas",
		d.app.green("✓"), len(d.cluster.Nodes()), rough(up), orders, dash(leader), term, carts, len(d.carts.Members(0)))
}

// leader is the node among those given that leads orders in the latest term, or "".
// Of a cut pass one side only: a leader that was cut off takes a moment to resign.
func (d *demo) leader(ctx context.Context, among []string) (leader string, term uint64) {
	for _, name := range among {
		admin, err := d.cluster.Admin(name)
		if err != nil {
			continue
		}
		s, err := admin.Status(ctx, &kvpb.StatusRequest{})
		if err != nil {
			continue
		}
		for _, r := range s.GetReplicas() {
			if r.GetKeyspace() == orders && r.GetRole() == "leader" && r.GetTerm() > term {
				leader, term = name, r.GetTerm()
			}
		}
	}
	return leader, term
}

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/store"
)

// How often a cluster may be looked at. A look asks each node for its status and its
// metrics.
const (
	leastInterval = 100 * time.Millisecond
	mostInterval  = time.Hour
)

// The orders of top's rows.
const (
	byName = "name"
	byLoad = "load"
	byLag  = "lag"
)

var topOrders = []string{byName, byLoad, byLag}

// topView is what is asked for.
type topView struct {
	interval time.Duration
	once     bool
	order    string
}

func (a *app) topCommand() *cobra.Command {
	var v topView
	cmd := &cobra.Command{
		Use: "top", Short: "how a cluster is and what it does, as it goes on", Args: takes(0, 0),
		Long: `top looks at a cluster again and again: what each node serves and how long that takes, who
leads each group and who lags behind, which links are cut or slowed on purpose, and what
doctor would say.

On a terminal it fills the screen: q quits, s changes the order, p or the space bar pauses.
Elsewhere, and with -o json, it prints one look after the other. What is served comes from
the metrics of the nodes (--admin); of a node that shows none it says only how it is.`,
		Example: `  kvctl top
  kvctl top --interval 1s --sort load
  kvctl top --once
  kvctl top --once -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := v.validate(); err != nil {
				return err
			}
			w := &watched{app: a}
			return errors.Join(a.top(cmd.Context(), v, w), w.release())
		},
	}
	cmd.Flags().DurationVar(&v.interval, "interval", 2*time.Second, "from one look to the next; rates are over this time")
	cmd.Flags().BoolVar(&v.once, "once", false, "look twice, an interval apart, print that and end")
	cmd.Flags().StringVar(&v.order, "sort", byName, "order of nodes and groups: name, load or lag")
	a.complete(cmd, "sort", func(context.Context) []string { return topOrders })
	return cmd
}

func (v topView) validate() error {
	switch {
	case v.interval < leastInterval || v.interval > mostInterval:
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("--interval is %v, it must be from %v to %v", v.interval, leastInterval, mostInterval), Try: "--interval 2s"}
	case !slices.Contains(topOrders, v.order):
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("--sort %.40q is not known", v.order), Try: "--sort " + strings.Join(topOrders, ", ")}
	}
	return nil
}

// top shows one look after the other until ctx ends, which is no error.
func (a *app) top(ctx context.Context, v topView, w *watched) error {
	first, err := w.look(ctx)
	if err != nil {
		return err
	}
	if s, ok := a.screen(v, w); ok {
		return s.run(ctx, first)
	}
	if v.once && v.interval >= time.Second {
		a.progress("looking for %v", v.interval)
	}
	next := time.NewTicker(v.interval)
	defer next.Stop()
	for {
		select {
		case <-next.C:
		case <-ctx.Done():
			return nil
		}
		now, err := w.look(ctx)
		if err != nil {
			return err
		}
		f := compare(first, now)
		f.sort(v.order)
		if err := a.show(f, func() { a.printFrame(f, v.once) }); err != nil || v.once {
			return err
		}
		first = now
	}
}

func (a *app) printFrame(f frame, last bool) {
	for _, l := range f.lines() {
		fmt.Fprintln(a.out, a.colour(l.colour, l.text))
	}
	if !last {
		fmt.Fprintln(a.out)
	}
}

// watched is the cluster that is looked at. It is used by one goroutine at a time.
type watched struct {
	app     *app
	cluster localcluster.Cluster
	close   func() error
}

// sight is what was seen at one time.
type sight struct {
	examined
	at time.Time
}

// look asks all nodes. That they cannot be found any more is no error once they were: it
// is then asked where they were.
func (w *watched) look(ctx context.Context) (sight, error) {
	if w.cluster == nil {
		c, release, err := w.app.open()
		if err != nil {
			return sight{}, err
		}
		w.cluster, w.close = c, release
	}
	l := sight{at: time.Now()}
	var err error
	l.examined, err = examine(ctx, w.cluster)
	if err == nil && l.outdated(w.cluster.Nodes()) {
		w.renew()
	}
	return l, err
}

// outdated reports whether there may be other nodes than those that were asked.
func (l sight) outdated(asked []string) bool {
	for _, s := range l.statuses {
		if s == nil {
			return true
		}
		for _, m := range s.GetMembers() {
			if m.GetState() == "alive" && !slices.Contains(asked, m.GetName()) {
				return true
			}
		}
	}
	return false
}

// renew finds out which nodes there are now.
func (w *watched) renew() {
	c, release, err := w.app.open()
	if err != nil {
		return // nobody who answers knows
	}
	_ = w.release() // connections of which nothing is expected any more
	w.cluster, w.close = c, release
}

func (w *watched) release() error {
	if w.close == nil {
		return nil
	}
	return w.close()
}

package nemesis

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// Cluster is what can be hurt. No fault cuts its admin API.
type Cluster interface {
	Nodes() []string
	Admin(name string) (kvpb.AdminClient, error)
	// SetFaults replaces the whole table of link rules; nil heals.
	SetFaults(ctx context.Context, rules []link.Rule) error
	Kill(ctx context.Context, name string) error
	// Restart starts a node again and returns when it is ready; one that runs is ended
	// first, in an orderly way.
	Restart(ctx context.Context, name string) error
	Pause(ctx context.Context, name string) error
	Resume(ctx context.Context, name string) error
}

// Result is what was done.
type Result struct {
	Done []Done
	// Wrong says why a run with these faults proves nothing: one had no effect, was
	// not healed, or did not happen. "" is well.
	Wrong string
}

// Done is one fault that was put in force.
type Done struct {
	Fault  string
	Detail string        // the sides of a cut, or the nodes
	Effect string        // what it was seen to do
	Held   time.Duration // until the heal was seen
}

// nemesis is one run.
type nemesis struct {
	cluster Cluster
	nodes   []string
	cfg     Config
	rng     *rand.Rand
	rec     *history.Recorder
	result  Result
}

// Check refuses, before anything is done, a plan that cannot be carried out on the
// cluster: Invalid, or Unsupported by the kind of cluster, or Denied by its nodes.
func Check(ctx context.Context, cluster Cluster, cfg Config) error {
	if _, err := cfg.Plan(cluster.Nodes()); err != nil {
		return err
	}
	for _, fault := range cfg.Faults {
		if can := kindOf(fault).needs; can != nil && !can(cluster) {
			return &store.Error{Code: store.Unsupported, Op: "nemesis", Msg: fmt.Sprintf("the fault %q cannot be made on a cluster of this kind", fault), Try: "--world local, or other faults"}
		}
	}
	if slices.ContainsFunc(cfg.Faults, func(f string) bool { return kindOf(f).links }) {
		if err := cluster.SetFaults(ctx, nil); err != nil {
			return err
		}
	}
	if slices.Contains(cfg.Faults, Pause) {
		// To let go on what was not stopped changes nothing.
		return cluster.Resume(ctx, cluster.Nodes()[0])
	}
	return nil
}

// Run carries the plan out and records each fault. When it returns, all it has done
// is healed, or Wrong says what is not.
func Run(ctx context.Context, cluster Cluster, cfg Config, rec *history.Recorder) Result {
	n := &nemesis{
		cluster: cluster, nodes: cluster.Nodes(), cfg: cfg, rec: rec,
		rng: rand.New(rand.NewPCG(uint64(cfg.Seed), 0x6c6561646572)),
	}
	steps, err := cfg.Plan(n.nodes)
	if err != nil {
		n.wrong("%v", err)
		return n.result
	}
	n.follow(ctx, steps)
	for _, name := range cfg.asked(steps) {
		if !slices.ContainsFunc(n.result.Done, func(d Done) bool { return d.Fault == name }) {
			n.wrong("%s was asked for and did not happen", name)
		}
	}
	return n.result
}

// asked are the faults that must have happened.
func (c Config) asked(steps []Step) (faults []string) {
	if c.Only == nil {
		return c.Faults
	}
	for _, s := range steps {
		if !slices.Contains(faults, s.Fault) {
			faults = append(faults, s.Fault)
		}
	}
	return faults
}

// follow does the steps, as long as they end within the plan's time and are healed.
func (n *nemesis) follow(ctx context.Context, steps []Step) {
	began := time.Now()
	for _, s := range steps {
		if wait(ctx, s.Begin-time.Since(began)) != nil || time.Since(began)+s.Hold > n.cfg.Duration {
			return
		}
		if !n.inflict(ctx, s) {
			return
		}
	}
}

// inflict does one fault and heals it, also if something here panics. It reports
// whether the cluster is whole again.
func (n *nemesis) inflict(ctx context.Context, s Step) (healed bool) {
	began := time.Now()
	n.nodes = n.cluster.Nodes()
	s.Nodes = n.present(s.Nodes)
	f := kindOf(s.Fault).make(n, ctx, s)
	n.tell("%s %s", s.Fault, f.detail)
	n.rec.Fault(s.Fault, history.Begin, f.detail)
	d := Done{Fault: s.Fault, Detail: f.detail}
	defer func() {
		if v := recover(); v != nil {
			n.wrong("the nemesis crashed: %v\n%s", v, debug.Stack())
		}
		if err := n.heal(ctx, f); err != nil {
			n.wrong("%s %s was not healed: %v", s.Fault, f.detail, err)
			return
		}
		n.rec.Fault(s.Fault, history.End, f.detail)
		d.Held, healed = time.Since(began), true
		n.result.Done = append(n.result.Done, d)
		n.tell("%s healed after %v: %s", s.Fault, d.Held.Round(time.Millisecond), d.Effect)
	}()
	end := time.Now().Add(s.Hold)
	if err := f.begin(ctx); err != nil {
		n.wrong("%s %s did not begin: %v", s.Fault, f.detail, err)
		return
	}
	for d.Effect = f.effect(ctx); d.Effect == "" && time.Now().Before(end) && wait(ctx, lookPause) == nil; {
		d.Effect = f.effect(ctx)
	}
	if f.soon > 0 && d.Effect != "" {
		end = time.Now().Add(f.soon)
	}
	_ = wait(ctx, time.Until(end))
	if f.counts {
		d.Effect = cmp.Or(f.effect(ctx), d.Effect)
	}
	if d.Effect == "" && f.otherwise != nil {
		d.Effect = f.otherwise(ctx)
	}
	if d.Effect == "" && ctx.Err() == nil {
		n.wrong("%s %s had no effect", s.Fault, f.detail)
	}
	return
}

// present puts nodes that are there now in the place of those that have left.
func (n *nemesis) present(nodes []string) []string {
	var here []string
	for _, node := range nodes {
		if slices.Contains(n.nodes, node) {
			here = append(here, node)
		}
	}
	for _, node := range slices.Backward(n.nodes) {
		if len(here) < len(nodes) && !slices.Contains(here, node) {
			here = append(here, node)
		}
	}
	return here
}

// healLimit is how long a heal may take to be seen: a restart reads its whole log.
const healLimit = 30 * time.Second

// leading is the leader, where the step is for one and there is one, or the step's nodes.
func (n *nemesis) leading(ctx context.Context, s Step) []string {
	if s.Shape == Leader {
		if leader := n.leader(ctx); leader != "" {
			return []string{leader}
		}
	}
	return s.Nodes
}

// heal undoes a fault even if ctx has ended.
func (n *nemesis) heal(ctx context.Context, f fault) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healLimit)
	defer cancel()
	for {
		err := f.heal(ctx)
		if err == nil || wait(ctx, lookPause) != nil {
			return err
		}
	}
}

// wrong keeps the first reason, which is the cause of others.
func (n *nemesis) wrong(format string, args ...any) {
	if n.result.Wrong == "" {
		n.result.Wrong = fmt.Sprintf(format, args...)
		n.tell("%s", n.result.Wrong)
	}
}

func (n *nemesis) tell(format string, args ...any) {
	if n.cfg.Progress != nil {
		n.cfg.Progress(fmt.Sprintf(format, args...))
	}
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// named is how many faults a line can name.
const named = 6

// String says in one line what was done: each fault, or how many of each kind.
func (r Result) String() string {
	if len(r.Done) == 0 {
		return "no faults"
	}
	var parts []string
	if len(r.Done) <= named {
		for _, d := range r.Done {
			parts = append(parts, fmt.Sprintf("%s %s: %s", d.Fault, d.Detail, d.Effect))
		}
	} else {
		count := make(map[string]int)
		for _, d := range r.Done {
			count[d.Fault]++
		}
		for _, fault := range slices.Sorted(maps.Keys(count)) {
			parts = append(parts, fmt.Sprintf("%d × %s", count[fault], fault))
		}
	}
	return fmt.Sprintf("%d faults: %s", len(r.Done), strings.Join(parts, "; "))
}

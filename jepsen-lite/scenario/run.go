package scenario

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/jepsen-lite/nemesis"
	"github.com/dialkv/dialkv/jepsen-lite/workload"
	"github.com/dialkv/dialkv/store"
)

// How long each part of a run may take beside the load. patience is above their sum:
// what takes longer is stuck where no context reaches.
const (
	serveLimit  = 30 * time.Second
	settleLimit = 30 * time.Second
	equalLimit  = 60 * time.Second
	patience    = 5 * time.Minute

	lookPause   = 100 * time.Millisecond
	lookTimeout = time.Second
)

// run is one run in progress.
type run struct {
	Options
	cluster   Cluster
	keyspaces []shard.Keyspace
	rec       *history.Recorder
}

// guarded performs the run and returns even if it crashes, or gets stuck; then what
// is stuck is left behind.
func (r *run) guarded(ctx context.Context) notes {
	done := make(chan notes, 1)
	go func() {
		var n notes
		defer func() {
			if v := recover(); v != nil {
				n.wrong = fmt.Sprintf("the run crashed: %v\n%s", v, debug.Stack())
			}
			done <- n
		}()
		if err := r.perform(ctx, &n); err != nil {
			n.wrong = err.Error()
		}
	}()
	limit := time.NewTimer(r.Load.Duration + patience)
	defer limit.Stop()
	select {
	case n := <-done:
		return n
	case <-limit.C:
		return notes{wrong: fmt.Sprintf("the run did not end within %v", r.Load.Duration+patience)}
	}
}

// perform does the run, part by part. An error says why it proves nothing.
func (r *run) perform(ctx context.Context, n *notes) error {
	if err := r.create(ctx); err != nil {
		return err
	}
	if err := r.await(ctx, serveLimit, r.serves); err != nil {
		return fmt.Errorf("the new keyspaces do not serve: %w", err)
	}
	if err := workload.Empty(ctx, r.cluster, r.keyspaces); err != nil {
		return err
	}
	if err := r.load(ctx, n); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("the run was interrupted: %w", context.Cause(ctx))
	}
	unsettled := r.await(ctx, settleLimit, r.settled)
	if n.settled = unsettled == nil; !n.settled {
		r.tell("the cluster has not settled: %v", unsettled)
	}
	return r.dump(ctx, n)
}

// create makes the keyspaces, with a replica on every node.
func (r *run) create(ctx context.Context) error {
	nodes := r.cluster.Nodes()
	admin, err := r.cluster.Admin(nodes[0])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, serveLimit)
	defer cancel()
	for i, k := range r.keyspaces {
		r.tell("creating the keyspace %s (%s)", k.Name, k.Mode)
		request := &kvpb.CreateKeyspaceRequest{Name: k.Name, Mode: k.Mode.String(), Replicas: uint32(len(nodes)), Groups: k.Groups}
		if k.Mode == store.AP {
			request.Conflict = k.Policy.String()
			if r.Durability != 0 {
				request.Durability = r.Durability.String()
			}
		}
		made, err := admin.CreateKeyspace(ctx, request)
		if err != nil {
			return fmt.Errorf("create %s: %w", k.Name, kvpb.FromStatus(err))
		}
		if r.keyspaces[i], err = kvpb.FromKeyspace(made.GetKeyspace()); err != nil {
			return fmt.Errorf("create %s: %w", k.Name, err)
		}
	}
	return nil
}

// load runs the workload and the nemesis side by side.
func (r *run) load(ctx context.Context, n *notes) error {
	cfg := r.Load
	cfg.Keyspaces = r.keyspaces
	r.tell("%s for %v: %d clients, %v operations a second", cfg.Workload, cfg.Duration, cfg.Clients, cfg.Rate)
	faults := make(chan nemesis.Result, 1)
	go func() {
		var result nemesis.Result
		defer func() {
			if v := recover(); v != nil {
				result.Wrong = fmt.Sprintf("the nemesis crashed: %v\n%s", v, debug.Stack())
			}
			faults <- result
		}()
		result = nemesis.Run(ctx, r.cluster, r.nemesis(r.keyspaces), r.rec)
	}()
	var err error
	n.load, err = workload.Run(ctx, r.cluster, cfg, r.rec)
	n.faults = <-faults
	r.tell("%d operations ok, %d failed, %d unknown; %d were due when every client was busy",
		n.load.OK, n.load.Failed, n.load.Unknown, n.load.Dropped)
	return err
}

// dump records every replica once they are equal.
func (r *run) dump(ctx context.Context, n *notes) error {
	r.tell("waiting until the replicas are equal")
	err := r.place(ctx)
	if err != nil {
		return err
	}
	n.converged, n.equal, err = workload.Dump(ctx, r.cluster, r.keyspaces, equalLimit, r.rec)
	switch {
	case err != nil:
		return err
	case n.equal:
		r.tell("all replicas equal after %v", n.converged.Round(time.Millisecond))
	default:
		r.tell("replicas still differ after %v", n.converged.Round(time.Millisecond))
	}
	return nil
}

// place looks up where the keyspaces are now: members may have changed since they
// were created.
func (r *run) place(ctx context.Context) error {
	c, err := r.cluster.Client(ctx, "")
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	t, err := c.Topology(ctx)
	if err != nil {
		return fmt.Errorf("where the keyspaces are: %w", err)
	}
	for i := range r.keyspaces {
		for _, k := range t.Keyspaces {
			if k.ID == r.keyspaces[i].ID {
				r.keyspaces[i].Placement = k.Placement
			}
		}
	}
	return nil
}

// await looks at every node until is finds nothing wrong with any.
func (r *run) await(ctx context.Context, limit time.Duration, is func(*kvpb.StatusResponse) string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		why := r.look(ctx, is)
		if why == "" {
			return nil
		}
		select {
		case <-time.After(lookPause):
		case <-ctx.Done():
			return &store.Error{Code: store.Unavailable, Msg: fmt.Sprintf("after %v %s", limit, why)}
		}
	}
}

// look asks every node and returns what is wrong with the first that is not well.
func (r *run) look(ctx context.Context, is func(*kvpb.StatusResponse) string) string {
	for _, node := range r.cluster.Nodes() {
		s, err := r.status(ctx, node)
		if err != nil {
			return fmt.Sprintf("%s does not answer: %v", node, err)
		}
		if why := is(s); why != "" {
			return node + " " + why
		}
	}
	return ""
}

func (r *run) status(ctx context.Context, node string) (*kvpb.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	admin, err := r.cluster.Admin(node)
	if err != nil {
		return nil, err
	}
	s, err := admin.Status(ctx, &kvpb.StatusRequest{})
	return s, kvpb.FromStatus(err)
}

// serves finds what keeps a node from serving the run's keyspaces.
func (r *run) serves(s *kvpb.StatusResponse) string {
	for _, k := range r.keyspaces {
		ready := 0
		for _, replica := range s.GetReplicas() {
			led := k.Mode == store.AP || replica.GetLeader() != ""
			if replica.GetKeyspace() == k.Name && replica.GetReady() && led {
				ready++
			}
		}
		if ready < int(k.Groups) {
			return fmt.Sprintf("serves %d of the %d groups of %s", ready, k.Groups, k.Name)
		}
	}
	return ""
}

// settled finds what a node still lacks after the faults.
func (r *run) settled(s *kvpb.StatusResponse) string {
	if !s.GetReady() {
		return "is not ready: " + strings.Join(s.GetReasons(), ", ")
	}
	for _, node := range r.cluster.Nodes() {
		alive := func(m *kvpb.Member) bool { return m.GetName() == node && m.GetState() == "alive" }
		if node != s.GetNode() && !slices.ContainsFunc(s.GetMembers(), alive) {
			return "does not see " + node
		}
	}
	return r.serves(s)
}

func (r *run) tell(format string, args ...any) { r.Progress(fmt.Sprintf(format, args...)) }

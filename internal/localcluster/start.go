package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/store"
)

// MaxNodes is how many nodes a cluster on one machine can have.
const MaxNodes = 9

const (
	defaultNodes = 3
	// entryFile is a copy of the entry in the cluster's own directory, by which it
	// is known where there is another registry.
	entryFile = "cluster.json"
	askPause  = 50 * time.Millisecond // between questions to a node that is not ready yet
	askWait   = time.Second           // for the answer
)

// StartConfig says which cluster to start.
type StartConfig struct {
	Name    string
	Dir     string   // default: as before, or the registry's DataDir
	Nodes   int      // default: as before, or 3
	Command []string // what runs a node: a program and its first arguments
	// Bare starts nodes that take no fault rules: their connections are the sockets
	// themselves, as a node has them that was started by hand.
	Bare bool
	// Progress, if set, hears of each node that is ready.
	Progress func(ready string)
}

// Start starts the cluster, the same nodes again if there is one of that name or in
// that directory, and makes it the current one. It returns when every node is ready
// and knows all the others; if that does not come about, what it started of a new
// cluster it ends. The nodes of an older one go on without those that cannot.
func (r *Registry) Start(ctx context.Context, cfg StartConfig) (*Procs, error) {
	if err := store.CheckName("cluster", cfg.Name); err != nil {
		return nil, err
	}
	var started []Process
	again := false
	err := r.update(cfg.Name, func(e *Entry) (err error) {
		if err = r.settle(e, cfg); err == nil {
			e.Bare, again = cfg.Bare, e.Founded
			started, err = e.spawnMissing(cfg.Command)
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, endAll(started))
	}
	p, err := r.Open(cfg.Name, cfg.Command)
	if err == nil {
		err = p.awaitAll(ctx, cfg.Progress, again)
	}
	if err == nil {
		err = r.founded(cfg.Name)
	}
	if err != nil && again {
		return nil, errors.Join(withoutIt(err), r.Use(cfg.Name))
	}
	if err != nil {
		return nil, errors.Join(err, endAll(started))
	}
	return p, r.Use(cfg.Name)
}

// withoutIt says that the others go on.
func withoutIt(err error) error {
	e := *store.AsError(err)
	e.Msg += "; the nodes that could start are up"
	return &e
}

func endAll(processes []Process) error {
	errs := make([]error, len(processes))
	var all sync.WaitGroup
	for i, p := range processes {
		all.Go(func() { errs[i] = p.end() })
	}
	all.Wait()
	return errors.Join(errs...)
}

// settle makes the entry say what is to run: as it says already, as the directory
// says, or anew.
func (r *Registry) settle(e *Entry, cfg StartConfig) error {
	dir, err := r.directory(e, cfg)
	if err != nil {
		return err
	}
	if len(e.Nodes) == 0 {
		if err := e.fromDirectory(dir); err != nil {
			return err
		}
	}
	if len(e.Nodes) == 0 {
		return e.found(dir, cfg.Nodes)
	}
	if cfg.Nodes != 0 && cfg.Nodes != len(e.Nodes) {
		return &store.Error{
			Code: store.Invalid,
			Msg:  fmt.Sprintf("cluster %s has %d nodes, %d were asked for", e.Name, len(e.Nodes), cfg.Nodes),
			Try:  "kvctl cluster start without -n, or another --name",
		}
	}
	return nil
}

func (r *Registry) directory(e *Entry, cfg StartConfig) (string, error) {
	dir := cfg.Dir
	if dir == "" {
		dir = r.DataDir(cfg.Name)
		if e.Dir != "" {
			dir = e.Dir
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("localcluster: %w", err)
	}
	if e.Dir != "" && e.Dir != dir {
		return "", &store.Error{
			Code: store.AlreadyExists, Msg: fmt.Sprintf("cluster %s is in %s", e.Name, e.Dir),
			Try: "another --name, or kvctl cluster destroy --name " + e.Name,
		}
	}
	return dir, nil
}

// fromDirectory takes over the cluster that the directory holds, if it holds one.
func (e *Entry) fromDirectory(dir string) error {
	there, err := readEntry(filepath.Join(dir, entryFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case there.Name != e.Name:
		return &store.Error{
			Code: store.AlreadyExists, Msg: fmt.Sprintf("%s holds cluster %s, not %s", dir, there.Name, e.Name),
			Try: "--name " + there.Name + ", or another --dir",
		}
	}
	there.Dir = dir
	*e = there
	return nil
}

// found describes a new cluster in an empty directory.
func (e *Entry) found(dir string, nodes int) error {
	if nodes == 0 {
		nodes = defaultNodes
	}
	if nodes < 1 || nodes > MaxNodes {
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("%d nodes, it must be between 1 and %d", nodes, MaxNodes), Try: "-n 3"}
	}
	if there, err := os.ReadDir(dir); err == nil && len(there) > 0 {
		return &store.Error{Code: store.Invalid, Msg: dir + " is not empty and holds no cluster", Try: "another --dir"}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("localcluster: %w", err)
	}
	ports, err := freePorts(portsOfNode * nodes)
	if err != nil {
		return err
	}
	e.Dir = dir
	for i := range nodes {
		e.Nodes = append(e.Nodes, processAt(fmt.Sprintf("n%d", i+1), ports[portsOfNode*i:]))
	}
	return nil
}

// spawnMissing starts the nodes that do not run and wakes those that are paused. Of
// a cluster that does not run at all the rules are forgotten.
func (e *Entry) spawnMissing(command []string) (started []Process, err error) {
	for i := range e.Nodes {
		n := &e.Nodes[i]
		if n.alive() {
			if _, err := n.send(sigResume); err != nil {
				return started, err
			}
			continue
		}
		if err := e.spawn(command, n); err != nil {
			return started, err
		}
		started = append(started, *n)
	}
	if len(started) == len(e.Nodes) {
		e.Faults = nil
	}
	return started, nil
}

// founded notes that the cluster has been whole, here and in its directory.
func (r *Registry) founded(name string) error {
	return r.update(name, func(e *Entry) error {
		e.Founded = true
		return e.keepCopy()
	})
}

func (e Entry) keepCopy() error {
	nodes := make([]Process, len(e.Nodes))
	for i, n := range e.Nodes {
		nodes[i] = Process{ID: n.ID, Listen: n.Listen, Gossip: n.Gossip, Admin: n.Admin}
	}
	e.Nodes, e.Faults = nodes, nil
	return writeEntry(filepath.Join(e.Dir, entryFile), e)
}

// awaitAll waits until every node is ready and knows all the others; patiently, it waits
// for the others also when one cannot start.
func (p *Procs) awaitAll(ctx context.Context, progress func(string), patiently bool) error {
	e, err := p.Entry()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		node string
		err  error
	}
	results := make(chan result)
	nodes := p.Nodes()
	for _, name := range nodes {
		go func() { results <- result{name, p.await(ctx, name, len(nodes), e.Faults)} }()
	}
	var first error
	for range nodes {
		r := <-results
		switch {
		case r.err != nil && first == nil:
			first = r.err
			if !patiently {
				cancel()
			}
		case r.err == nil && progress != nil:
			progress(r.node)
		}
	}
	return first
}

// await waits until a node that was just started takes the rules, is ready, and
// knows so many nodes. It asks over a connection of its own: an older one may be
// pausing after what it met while the node was down.
func (p *Procs) await(ctx context.Context, name string, nodes int, faults []link.Rule) error {
	conn, err := p.dial(name)
	if err != nil {
		return err
	}
	defer conn.Close()
	w := &waiter{p: p, name: name, conn: conn, nodes: nodes, faults: faults}
	tick := time.NewTicker(askPause)
	defer tick.Stop()
	for {
		done, err := w.ask(ctx)
		if done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return w.expired(ctx)
		}
	}
}

// waiter waits for one node.
type waiter struct {
	p      *Procs
	name   string
	conn   *grpc.ClientConn
	nodes  int
	faults []link.Rule
	lacks  string // what the last answer said is missing
}

// ask reports whether the node is ready. Only that its process has ended is an error.
func (w *waiter) ask(ctx context.Context) (bool, error) {
	if err := w.ended(); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	admin := kvpb.NewAdminClient(w.conn)
	if len(w.faults) > 0 {
		if err := push(ctx, admin, w.faults); err != nil {
			w.lacks = err.Error()
			return false, nil
		}
		w.faults = nil
	}
	status, err := admin.Status(ctx, &kvpb.StatusRequest{})
	if err != nil {
		w.lacks = "it does not answer yet"
		return false, nil
	}
	topology, err := kvpb.NewKVClient(w.conn).Topology(ctx, &kvpb.TopologyRequest{})
	known := len(topology.GetNodes())
	w.lacks = strings.Join(status.GetReasons(), ", ")
	if known < w.nodes {
		w.lacks = fmt.Sprintf("it knows %d of %d nodes", known, w.nodes)
	}
	return err == nil && status.GetReady() && known >= w.nodes, nil
}

func (w *waiter) ended() error {
	e, err := w.p.Entry()
	if err != nil {
		return err
	}
	n, err := e.node(w.name)
	if err != nil || n.alive() {
		return err
	}
	return e.lastError(w.name)
}

func (w *waiter) expired(ctx context.Context) error {
	err := store.Expired(ctx, w.name+" to be ready")
	err.Node, err.Try = w.name, "kvctl cluster logs "+w.name
	if w.lacks != "" {
		err.Msg += ": " + w.lacks
	}
	return err
}

// Destroy ends every node and removes the cluster with its data.
func (p *Procs) Destroy() error {
	e, err := p.Entry()
	if err != nil {
		return err
	}
	if err := p.Close(); err != nil {
		return err
	}
	for _, id := range append(e.ids(), e.Removed...) {
		if err := os.RemoveAll(filepath.Join(e.Dir, id)); err != nil {
			return fmt.Errorf("localcluster: %w", err)
		}
	}
	if err := os.Remove(filepath.Join(e.Dir, entryFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("localcluster: %w", err)
	}
	_ = os.Remove(e.Dir) // somebody may have put something else there
	return p.registry.forget(p.name)
}

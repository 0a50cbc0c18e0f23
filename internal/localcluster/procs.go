package localcluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/store"
)

// faultTimeout is how long one node may take to accept a table of rules.
const faultTimeout = 5 * time.Second

// Procs is a cluster of real processes, each in a session of its own, so that they
// outlive whoever started them. Several Procs, in several processes, may stand for
// the same cluster.
type Procs struct {
	registry *Registry
	name     string
	command  []string

	mu    sync.Mutex
	nodes []string
	conns map[string]*grpc.ClientConn
}

// Procs is a Cluster.
var _ Cluster = (*Procs)(nil)

// Open returns the cluster of that name, whether it runs or not. command is what
// runs a node, if one has to be started: a program and its first arguments.
func (r *Registry) Open(name string, command []string) (*Procs, error) {
	e, err := r.Entry(name)
	if err != nil {
		return nil, err
	}
	return &Procs{registry: r, name: name, nodes: e.ids(), command: command, conns: make(map[string]*grpc.ClientConn)}, nil
}

// Entry is what is written down of the cluster now.
func (p *Procs) Entry() (Entry, error) { return p.registry.Entry(p.name) }

// Nodes names the nodes, in order.
func (p *Procs) Nodes() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.nodes)
}

// Log is the file that a node logs to.
func (p *Procs) Log(name string) (string, error) {
	e, err := p.Entry()
	if err != nil {
		return "", err
	}
	if _, err := e.node(name); err != nil {
		return "", err
	}
	return e.log(name), nil
}

// Outside is how a client over TCP finds the cluster.
func (p *Procs) Outside() (client.Config, error) {
	e, err := p.Entry()
	if err != nil {
		return client.Config{}, err
	}
	var seeds []string
	for _, n := range e.Nodes {
		seeds = append(seeds, n.Listen)
	}
	return client.Config{Seeds: seeds}, nil
}

// Client returns a client over TCP.
func (p *Procs) Client(ctx context.Context, at string) (*client.Client, error) {
	e, err := p.Entry()
	if err != nil {
		return nil, err
	}
	var seeds []string
	for _, n := range e.Nodes {
		if at == "" || at == n.ID {
			seeds = append(seeds, n.Listen)
		}
	}
	if len(seeds) == 0 {
		_, err := e.node(at)
		return nil, err
	}
	return client.Open(ctx, client.Config{Seeds: seeds, At: at})
}

// Knock connects to a node as a client does, whatever the rules of links are.
func (p *Procs) Knock(ctx context.Context, name string) (net.Conn, error) {
	n, err := p.process(name)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", n.Listen)
}

// Admin is the admin API of a node.
func (p *Procs) Admin(name string) (kvpb.AdminClient, error) {
	conn, err := p.conn(name)
	if err != nil {
		return nil, err
	}
	return kvpb.NewAdminClient(conn), nil
}

func (p *Procs) conn(name string) (*grpc.ClientConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if conn := p.conns[name]; conn != nil {
		return conn, nil
	}
	conn, err := p.dial(name)
	if err == nil {
		p.conns[name] = conn
	}
	return conn, err
}

func (p *Procs) dial(name string) (*grpc.ClientConn, error) {
	n, err := p.process(name)
	if err != nil {
		return nil, err
	}
	conn, err := kvpb.Dial(n.Listen, func(ctx context.Context, addr string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	})
	if err != nil {
		return nil, fmt.Errorf("localcluster: %w", err)
	}
	return conn, nil
}

// SetFaults puts rules in force on every node that runs. One that is paused takes
// them when it is resumed, one that is down when it is restarted.
func (p *Procs) SetFaults(ctx context.Context, rules []link.Rule) error {
	var running []Process
	err := p.registry.update(p.name, func(e *Entry) error {
		if e.Bare && len(rules) > 0 {
			return &store.Error{
				Code: store.Denied, Op: "faults", Msg: "cluster " + e.Name + " was started with nodes that take no fault rules",
				Try: "kvctl cluster stop, then kvctl cluster start without --no-faults",
			}
		}
		e.Faults = rules
		for _, n := range e.Nodes {
			if n.State() == "up" {
				running = append(running, n)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	errs := make([]error, len(running))
	var all sync.WaitGroup
	for i, n := range running {
		all.Go(func() {
			if err := p.push(ctx, n.ID, rules); err != nil && n.alive() {
				errs[i] = err
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (p *Procs) push(ctx context.Context, name string, rules []link.Rule) error {
	admin, err := p.Admin(name)
	if err != nil {
		return err
	}
	return push(ctx, admin, rules)
}

func push(ctx context.Context, admin kvpb.AdminClient, rules []link.Rule) error {
	ctx, cancel := context.WithTimeout(ctx, faultTimeout)
	defer cancel()
	_, err := admin.SetFaults(ctx, &kvpb.SetFaultsRequest{Rules: linkRules(rules)})
	return kvpb.FromStatus(err)
}

func linkRules(rules []link.Rule) []*kvpb.LinkRule {
	out := make([]*kvpb.LinkRule, len(rules))
	for i, r := range rules {
		out[i] = &kvpb.LinkRule{
			From: r.From, To: r.To, Action: r.Action.String(),
			DelayNs: int64(r.Delay), JitterNs: int64(r.Jitter), Loss: r.Loss,
			Duplicate: r.Duplicate, Reorder: r.Reorder, Bandwidth: uint64(r.Bandwidth),
		}
	}
	return out
}

// Faults is the table that was last set.
func (p *Procs) Faults() ([]link.Rule, error) {
	e, err := p.Entry()
	return e.Faults, err
}

func (p *Procs) process(name string) (Process, error) {
	e, err := p.Entry()
	if err != nil {
		return Process{}, err
	}
	n, err := e.node(name)
	if err != nil {
		return Process{}, err
	}
	return *n, nil
}

// Data returns where a node keeps its data, and the State of its process.
func (p *Procs) Data(name string) (dir, state string, err error) {
	e, err := p.Entry()
	if err != nil {
		return "", "", err
	}
	n, err := e.node(name)
	if err != nil {
		return "", "", err
	}
	return e.data(name), n.State(), nil
}

// Kill ends a node by SIGKILL. One that is down stays so.
func (p *Procs) Kill(_ context.Context, name string) error {
	n, err := p.process(name)
	if err != nil {
		return err
	}
	return n.kill()
}

// Pause sends SIGSTOP, and returns when the process has stopped.
func (p *Procs) Pause(ctx context.Context, name string) error {
	return p.turn(ctx, name, sigPause, "paused")
}

// Resume sends SIGCONT, and gives the node the rules it has missed.
func (p *Procs) Resume(ctx context.Context, name string) error {
	if err := p.turn(ctx, name, sigResume, "up"); err != nil {
		return err
	}
	e, err := p.Entry()
	if err != nil {
		return err
	}
	return p.push(ctx, name, e.Faults)
}

func (p *Procs) turn(ctx context.Context, name string, sig syscall.Signal, into string) error {
	n, err := p.process(name)
	if err != nil {
		return err
	}
	if err := n.signal(sig); err != nil {
		return err
	}
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for n.State() != into {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return store.Expired(ctx, name+" to be "+into)
		}
	}
	return nil
}

// Restart starts a node again on what its disk holds; one that runs is ended first,
// in an orderly way. The rules in force hold for it before it is ready.
func (p *Procs) Restart(ctx context.Context, name string) error {
	n, err := p.process(name)
	if err != nil {
		return err
	}
	if err := n.end(); err != nil {
		return err
	}
	var faults []link.Rule
	err = p.registry.update(p.name, func(e *Entry) error {
		n, err := e.node(name)
		if err != nil || n.alive() {
			return err
		}
		faults = e.Faults
		return e.spawn(p.command, n)
	})
	if err != nil {
		return err
	}
	return p.await(ctx, name, 0, faults)
}

// Stop ends every node in an orderly way, and kills those that take too long.
func (p *Procs) Stop() error {
	e, err := p.Entry()
	if err != nil {
		return err
	}
	errs := make([]error, len(e.Nodes))
	var all sync.WaitGroup
	for i, n := range e.Nodes {
		all.Go(func() { errs[i] = n.end() })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return p.registry.update(p.name, func(e *Entry) error {
		e.Faults = nil
		return nil
	})
}

// Close stops every node and lets go of the cluster.
func (p *Procs) Close() error { return errors.Join(p.Stop(), p.Release()) }

// Release lets go of the cluster, whose nodes run on.
func (p *Procs) Release() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, conn := range p.conns {
		errs = append(errs, conn.Close())
	}
	clear(p.conns)
	return errors.Join(errs...)
}

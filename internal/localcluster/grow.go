package localcluster

import (
	"context"
	"errors"
	"slices"

	"github.com/dialkv/dialkv/store"
)

// Add starts one more process. If it does not become ready it stays, and so does the
// cluster's record of it: whether it was let in nobody knows by then.
func (p *Procs) Add(ctx context.Context, name string) (string, error) {
	var added Process
	err := p.registry.update(p.name, func(e *Entry) error {
		if !e.Founded || !slices.ContainsFunc(e.Nodes, Process.alive) {
			return &store.Error{Code: store.Unavailable, Msg: "cluster " + e.Name + " does not run", Try: "kvctl cluster start --name " + e.Name}
		}
		if name == "" {
			name = nextName(append(e.ids(), e.Removed...))
		}
		if err := checkNew(name, e.ids(), e.Removed); err != nil {
			return err
		}
		ports, err := freePorts(portsOfNode)
		if err != nil {
			return err
		}
		e.Nodes = append(e.Nodes, processAt(name, ports))
		added = e.Nodes[len(e.Nodes)-1]
		if err := e.spawn(p.command, &added); err != nil {
			return err
		}
		e.Nodes[len(e.Nodes)-1] = added
		return e.keepCopy()
	})
	if err != nil {
		return "", err
	}
	p.mu.Lock()
	p.nodes = append(p.nodes, name)
	p.mu.Unlock()
	e, err := p.Entry()
	if err != nil {
		return "", err
	}
	if err := p.await(ctx, name, 0, e.Faults); err != nil {
		advised := store.AsError(err)
		advised.Try = "kvctl cluster logs " + name + "; then kvctl node restart " + name + ", or kvctl cluster remove " + name + " --dead"
		return "", advised
	}
	return name, awaitVote(ctx, p, name)
}

// Remove takes a node out, ends its process, and strikes it from the record. Its
// directory stays.
func (p *Procs) Remove(ctx context.Context, name string, dead bool, progress func(string)) ([]string, error) {
	n, err := p.process(name)
	if err != nil {
		return nil, err
	}
	moved, err := retire(ctx, p, name, dead, progress)
	if err != nil && !errors.Is(err, store.NotFound) { // one that was never let in is out
		return nil, err
	}
	if err := n.end(); err != nil {
		return moved, err
	}
	err = p.registry.update(p.name, func(e *Entry) error {
		e.Nodes = slices.DeleteFunc(e.Nodes, func(n Process) bool { return n.ID == name })
		e.Removed = append(e.Removed, name)
		return e.keepCopy()
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nodes = slices.DeleteFunc(p.nodes, func(id string) bool { return id == name })
	if conn := p.conns[name]; conn != nil {
		_ = conn.Close() // says only that it was closed before
		delete(p.conns, name)
	}
	return moved, err
}

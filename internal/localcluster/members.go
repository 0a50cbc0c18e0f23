package localcluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/store"
)

// nextName is the first of n1, n2, … above all that were ever used.
func nextName(used []string) string {
	last := 0
	for _, name := range used {
		var n int
		if _, err := fmt.Sscanf(name, "n%d", &n); err == nil {
			last = max(last, n)
		}
	}
	return fmt.Sprintf("n%d", last+1)
}

// checkNew refuses a name that cannot be that of a new node.
func checkNew(name string, nodes, removed []string) error {
	if err := store.CheckName("node", name); err != nil {
		return err
	}
	switch {
	case slices.Contains(nodes, name):
		return &store.Error{Code: store.AlreadyExists, Node: name, Msg: "there is a node " + name, Try: "another name, or kvctl node restart " + name}
	case slices.Contains(removed, name):
		return &store.Error{
			Code: store.AlreadyExists, Node: name, Msg: "there was a node " + name + ", and a name is not used again",
			Try: nextName(append(slices.Clone(nodes), removed...)),
		}
	case len(nodes) >= MaxNodes:
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("there are %d nodes, on one machine there can be %d", len(nodes), MaxNodes), Try: "kvctl cluster remove NODE"}
	}
	return nil
}

// retire has the others take a node out. A node that is not dead gives away what it
// leads and holds first.
func retire(ctx context.Context, c Cluster, name string, dead bool, progress func(string)) ([]string, error) {
	if !slices.Contains(c.Nodes(), name) {
		_, err := c.Admin(name)
		return nil, err
	}
	stop := report(ctx, c, name, progress)
	defer stop()
	var last error = &store.Error{Code: store.Unavailable, Op: "remove", Node: name, Msg: "no other node answers; nothing was changed", Try: "kvctl cluster status"}
	others := slices.DeleteFunc(c.Nodes(), func(n string) bool { return n == name })
	if len(others) == 0 {
		others = []string{name} // which will say why it cannot go
	}
	for _, at := range others {
		admin, err := c.Admin(at)
		if err != nil || !there(ctx, admin) {
			continue
		}
		resp, err := admin.RemoveNode(ctx, &kvpb.RemoveNodeRequest{Node: name, Dead: dead})
		if err == nil {
			return resp.GetMoved(), nil
		}
		// One that cannot be reached is no answer; a refusal is, and so is that the
		// removal goes on.
		if last = kvpb.FromStatus(err); !errors.Is(last, store.Unavailable) || ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

func there(ctx context.Context, admin kvpb.AdminClient) bool {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	_, err := admin.Status(ctx, &kvpb.StatusRequest{})
	return err == nil
}

// report says from time to time how many replicas a node still has, until it is
// stopped.
func report(ctx context.Context, c Cluster, name string, progress func(string)) (stop func()) {
	if progress == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(time.Second); ; {
			select {
			case <-tick.C:
			case <-ctx.Done():
				tick.Stop()
				return
			}
			if admin, err := c.Admin(name); err == nil {
				if s, err := admin.Status(ctx, &kvpb.StatusRequest{}); err == nil {
					progress(fmt.Sprintf("%s still has %d replicas to give away", name, max(0, len(s.GetReplicas())-1)))
				}
			}
		}
	}()
	return func() { cancel(); <-done }
}

// awaitVote waits until some node says that the new one is a voter of the catalog.
func awaitVote(ctx context.Context, c Cluster, name string) error {
	tick := time.NewTicker(askPause)
	defer tick.Stop()
	for !votes(ctx, c, name) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			err := store.Expired(ctx, "the vote of "+name+" in the catalog")
			err.Node, err.Try = name, "kvctl cluster status"
			return err
		}
	}
	return nil
}

func votes(ctx context.Context, c Cluster, name string) bool {
	admin, err := c.Admin(name)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	s, err := admin.Status(ctx, &kvpb.StatusRequest{})
	if err != nil {
		return false
	}
	for _, r := range s.GetReplicas() {
		if r.GetKeyspace() == store.CatalogName {
			return slices.Contains(r.GetMembers(), name) && !slices.Contains(r.GetNonVoters(), name)
		}
	}
	return false
}

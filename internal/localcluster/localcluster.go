// Package localcluster runs a cluster on one machine: [Memory] in this process, on
// an in-memory network and in-memory disks, or [Procs] as real processes on real
// sockets and disks. Both run the same node.
package localcluster

import (
	"context"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
)

// Cluster is what both kinds can do. Names are those of nodes; an unknown one is
// store.Invalid.
type Cluster interface {
	// Nodes names the nodes, in order.
	Nodes() []string
	// Client returns a client that enters at the named node or, if at is empty,
	// finds its own way. The caller closes it.
	Client(ctx context.Context, at string) (*client.Client, error)
	// Outside is how a client finds the cluster that is opened by the caller.
	Outside() (client.Config, error)
	// Admin is the admin API of a node. The cluster owns the connection, which no
	// fault cuts.
	Admin(name string) (kvpb.AdminClient, error)
	// SetFaults replaces the whole table of link rules, on every node that runs,
	// and gives it to those that are restarted later.
	SetFaults(ctx context.Context, rules []link.Rule) error
	// Kill ends a node as kill -9 does.
	Kill(ctx context.Context, name string) error
	// Restart starts a node again, on what its disk holds, and returns when it is
	// ready. One that runs is ended first, in an orderly way.
	Restart(ctx context.Context, name string) error
	// Pause stops a node's clock and Resume lets it go on, as SIGSTOP and SIGCONT
	// do. Nodes in this process cannot be paused: Unsupported.
	Pause(ctx context.Context, name string) error
	Resume(ctx context.Context, name string) error
	// Add starts one more node, which joins the cluster, and returns its name when it
	// is ready and the catalog counts its vote. No name takes the next free one; one
	// that a node had before is AlreadyExists.
	Add(ctx context.Context, name string) (string, error)
	// Remove takes a node out of the cluster for good: its leaderships and replicas
	// go to others first, unless it is dead. It returns the groups that another node
	// took over. progress, if it is not nil, hears of each step. What a node kept
	// stays where it is.
	Remove(ctx context.Context, name string, dead bool, progress func(string)) (moved []string, err error)
	// Close ends every node in an orderly way.
	Close() error
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// remote is a cluster that nobody has written down here: the addresses of some of its
// nodes are known, and what those say. Its processes are somebody else's.
type remote struct {
	seeds []string
	shard.Topology
	conns map[string]*grpc.ClientConn
}

var _ localcluster.Cluster = (*remote)(nil)

// checkSeeds refuses what is no address of a node.
func checkSeeds(seeds []string) error {
	for _, seed := range seeds {
		if host, port, err := net.SplitHostPort(seed); err != nil || host == "" || port == "" {
			return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("--seeds: %.80q is not HOST:PORT", seed), Try: "--seeds 10.0.0.1:7400,10.0.0.2:7400: what the nodes were told to --listen at"}
		}
	}
	return nil
}

// openRemote asks the seeds who else there is. The caller releases it.
func openRemote(ctx context.Context, seeds []string) (*remote, error) {
	r := &remote{seeds: seeds, conns: make(map[string]*grpc.ClientConn)}
	c, err := r.Client(ctx, "")
	if err != nil {
		return nil, err
	}
	r.Topology, err = c.Topology(ctx)
	if err = errors.Join(err, c.Close()); err != nil {
		return nil, err
	}
	for _, n := range r.Topology.Nodes {
		r.conns[n.Name], err = kvpb.Dial(n.Addr, func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}) // connects when it is used
		if err != nil {
			return nil, fmt.Errorf("node %s at %s: %w", n.Name, n.Addr, err)
		}
	}
	return r, nil
}

func (r *remote) Nodes() []string {
	var names []string
	for _, n := range r.Topology.Nodes {
		names = append(names, n.Name)
	}
	return names
}

func (r *remote) Outside() (client.Config, error) { return client.Config{Seeds: r.seeds}, nil }

func (r *remote) Client(ctx context.Context, at string) (*client.Client, error) {
	return client.Open(ctx, client.Config{Seeds: r.seeds, At: at})
}

func (r *remote) Admin(name string) (kvpb.AdminClient, error) {
	conn := r.conns[name]
	if conn == nil {
		return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("there is no node %q", name), Try: "kvctl cluster status"}
	}
	return kvpb.NewAdminClient(conn), nil
}

// Release ends the connections, and nothing else.
func (r *remote) Release() (err error) {
	for _, conn := range r.conns {
		err = errors.Join(err, conn.Close())
	}
	return err
}

// elsewhere is why processes and their links are out of reach.
func elsewhere() error {
	return &store.Error{Code: store.Unsupported, Msg: "the nodes of --seeds are not processes of kvctl", Try: "where they run; kvctl cluster start makes nodes that can be killed, cut and added"}
}

func (r *remote) SetFaults(context.Context, []link.Rule) error { return elsewhere() }
func (r *remote) Kill(context.Context, string) error           { return elsewhere() }
func (r *remote) Restart(context.Context, string) error        { return elsewhere() }
func (r *remote) Pause(context.Context, string) error          { return elsewhere() }
func (r *remote) Resume(context.Context, string) error         { return elsewhere() }
func (r *remote) Close() error                                 { return elsewhere() }

func (r *remote) Add(context.Context, string) (string, error) { return "", elsewhere() }

func (r *remote) Remove(context.Context, string, bool, func(string)) ([]string, error) {
	return nil, elsewhere()
}

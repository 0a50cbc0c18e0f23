package maelstrom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/node"
	"github.com/dialkv/dialkv/store"
)

const (
	maxNodes    = 9
	maxReplicas = 7 // of a keyspace
	// settle is how long a node is silent after its init. Maelstrom adds the nodes to its
	// network side by side, and stops reading one for good that writes to a node which is
	// not there yet.
	settle = 300 * time.Millisecond
	// again is the pause before a step of the beginning that failed.
	again = 100 * time.Millisecond
)

// member is this process as a node of the cluster, and a client of its own that enters
// there and nowhere else.
type member struct {
	name    string
	others  []string
	carrier *link.Carrier
	cancel  context.CancelFunc
	done    chan struct{} // closed when nothing of it runs any more
	ended   chan error    // why it ended by itself

	client   *client.Client
	keyspace *client.Keyspace
	at       client.Option
}

// begin is init. The reply comes when the cluster is there.
func (s *server) begin(ctx context.Context, m message, msgID int64) error {
	var body struct {
		NodeID  string   `json:"node_id"`
		NodeIDs []string `json:"node_ids"`
	}
	err := json.Unmarshal(m.Body, &body)
	if err == nil {
		err = checkInit(s.member, body.NodeID, body.NodeIDs)
	}
	if err != nil {
		s.reply(m, msgID, failure(codeMalformed, err.Error()))
		return nil
	}
	n := &member{name: body.NodeID, done: make(chan struct{}), ended: make(chan error, 1)}
	n.others = slices.DeleteFunc(slices.Sorted(slices.Values(body.NodeIDs)), func(other string) bool { return other == n.name })
	n.carrier, err = link.Carry(link.CarryConfig{Node: n.name, Send: func(to string, frame []byte) {
		s.out.write(n.name, to, frameBody{frameType, frame})
	}})
	if err != nil {
		s.reply(m, msgID, failure(codeMalformed, err.Error()))
		return nil
	}
	ctx, n.cancel = context.WithCancel(ctx)
	s.member = n
	go func() {
		defer close(n.done)
		n.ended <- n.live(ctx, s, func(a answer) { s.reply(m, msgID, a) })
	}()
	return nil
}

func checkInit(already *member, self string, nodes []string) error {
	switch {
	case already != nil:
		return fmt.Errorf("this is node %s already", already.name)
	case !slices.Contains(nodes, self):
		return fmt.Errorf("node_id is %q, which is not one of node_ids", self)
	case len(nodes) > maxNodes:
		return fmt.Errorf("%d nodes, the limit is %d", len(nodes), maxNodes)
	case len(slices.Compact(slices.Sorted(slices.Values(nodes)))) != len(nodes):
		return errors.New("node_ids has a name twice")
	}
	for _, name := range nodes {
		if err := store.CheckName("node", name); err != nil {
			return err
		}
	}
	return nil
}

// live runs the node until ctx ends, and replies to init.
func (n *member) live(ctx context.Context, s *server, reply func(answer)) error {
	starting, cancel := context.WithTimeout(ctx, initWait)
	defer cancel()
	if err := pause(starting, settle); err != nil {
		return err
	}
	running, err := n.open()
	if err != nil {
		return err
	}
	over := make(chan error, 1)
	go func() { over <- running.Run(ctx) }()
	err = n.join(starting, running, s)
	if err == nil {
		s.ready.Store(true)
		reply(answer{"type": "init_ok"})
	} else if ctx.Err() == nil {
		reply(failure(codeUnavailable, err.Error()))
	}
	err = <-over
	if n.client != nil {
		err = errors.Join(err, n.client.Close())
	}
	return err
}

func (n *member) stop() {
	n.cancel()
	<-n.done
}

// open makes the node. The first by name founds the cluster.
func (n *member) open() (*node.Node, error) {
	cfg := node.Config{
		Node: n.name, Data: "/" + n.name, Expect: len(n.others) + 1, Timing: node.Classroom,
		Network: node.Network{Endpoint: n.carrier.Endpoint(), DialSeed: n.dial},
		Storage: node.Storage{FS: vfs.NewMem()},
	}
	if len(n.others) > 0 && n.others[0] < n.name {
		cfg.Join = n.others
	}
	return node.Open(cfg)
}

// dial goes to another node through Maelstrom, and to this one without.
func (n *member) dial(ctx context.Context, name string) (net.Conn, error) {
	return n.carrier.Endpoint().Dial(ctx, name, link.RPC)
}

// join waits until the cluster and its keyspace are there.
func (n *member) join(ctx context.Context, running *node.Node, s *server) (err error) {
	select {
	case <-running.Ready():
	case <-ctx.Done():
		return store.Expired(ctx, "the other nodes")
	}
	n.client, err = client.Open(ctx, client.Config{
		Seeds: []string{n.name}, At: n.name, Timeout: s.cfg.Timeout,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return n.dial(ctx, n.name) },
	})
	if err != nil {
		return err
	}
	n.keyspace, n.at = n.client.Keyspace(s.workload.keyspace.GetName()), client.At(s.level)
	own, err := kvpb.Dial(n.name, n.dial)
	if err != nil {
		return err
	}
	defer own.Close()
	if err := insist(ctx, func() error { return n.create(ctx, own, s.workload) }); err != nil {
		return err
	}
	return insist(ctx, func() error {
		_, err := n.keyspace.Get(ctx, shared, n.at)
		return err
	})
}

// create makes the keyspace, unless another node has: each tries.
func (n *member) create(ctx context.Context, own *grpc.ClientConn, w *workload) error {
	request := proto.CloneOf(w.keyspace)
	request.Replicas = uint32(min(len(n.others)+1, maxReplicas))
	_, err := kvpb.NewAdminClient(own).CreateKeyspace(ctx, request)
	if err = kvpb.FromStatus(err); errors.Is(err, store.AlreadyExists) {
		return nil
	}
	return err
}

// insist tries until it works, or can never work.
func insist(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil || !store.AsError(err).Retryable() && !errors.Is(err, store.NoSuchKeyspace) {
			return err
		}
		if pause(ctx, again) != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// Cluster is what experiments play on. What else it can do, such as nemesis.Disks and
// nemesis.Clocks, is asked for when an experiment wants it.
type Cluster interface {
	Nodes() []string
	// Client returns a client that enters at the named node or, if at is empty, finds
	// its own way. The caller closes it.
	Client(ctx context.Context, at string) (*client.Client, error)
	// Admin is the admin API of a node, which no fault cuts.
	Admin(name string) (kvpb.AdminClient, error)
	// SetFaults replaces the whole table of link rules; nil heals.
	SetFaults(ctx context.Context, rules []link.Rule) error
	Kill(ctx context.Context, name string) error
	Restart(ctx context.Context, name string) error
	Pause(ctx context.Context, name string) error
	Resume(ctx context.Context, name string) error
}

// How long the cluster may take for what is not an operation on data, and how long to
// wait between two looks at it.
const (
	makeLimit   = 30 * time.Second
	lookTimeout = time.Second
	lookPause   = 20 * time.Millisecond
)

// world is the cluster of a run, and what the run keeps of it.
type world struct {
	cluster Cluster
	rec     *history.Recorder
	tape    *tape

	keyspaces map[string]shard.Keyspace // not changed once the run begins

	mu       sync.Mutex
	clients  map[string]*client.Client // by the node they enter at
	sessions map[string]*session
	last     int // number given to a process of the history
	rules    []link.Rule
	faults   []openFault
	locks    map[string]*client.Lock // by session and name
}

// openFault is one in force. Its heal is the end of it in the history.
type openFault struct{ name, detail string }

// session is one of the experiment's, carried from node to node as its token.
type session struct {
	name    string
	process int

	mu       sync.Mutex
	token    string
	contexts map[string][]byte   // of the last read of a key
	covers   map[string][]string // what that read showed
}

// firstProcess is above those of a load.
const firstProcess = 1000

func newWorld(c Cluster) *world {
	t := &tape{}
	return &world{
		cluster: c, tape: t, rec: history.NewRecorder(t), last: firstProcess,
		keyspaces: map[string]shard.Keyspace{}, clients: map[string]*client.Client{}, sessions: map[string]*session{},
		locks: map[string]*client.Lock{},
	}
}

// tape is where the history is written.
type tape struct {
	mu   sync.Mutex
	text []byte // it only grows
}

func (t *tape) Write(line []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, line...)
	return len(line), nil
}

func (t *tape) read() (*history.History, error) {
	t.mu.Lock()
	text := t.text
	t.mu.Unlock()
	return history.Read(bytes.NewReader(text))
}

// create makes the keyspaces and waits until they serve.
func (w *world) create(ctx context.Context, needs *Needs) error {
	nodes := w.cluster.Nodes()
	if len(nodes) != needs.Nodes {
		return &store.Error{Code: store.Invalid, Op: "lab", Msg: fmt.Sprintf("the experiment needs %d nodes, and the cluster has %d", needs.Nodes, len(nodes))}
	}
	ctx, cancel := context.WithTimeout(ctx, makeLimit)
	defer cancel()
	admin, err := w.cluster.Admin(nodes[0])
	if err != nil {
		return err
	}
	for _, k := range needs.Keyspaces {
		replicas := k.Replicas
		if replicas == 0 {
			replicas = len(nodes)
		}
		made, err := admin.CreateKeyspace(ctx, &kvpb.CreateKeyspaceRequest{
			Name: k.Name, Mode: k.Mode, Replicas: uint32(replicas), Groups: uint32(k.Groups),
			Conflict: k.Conflict, W: k.W, Durability: k.Durability,
		})
		if err != nil {
			return fmt.Errorf("create %s: %w", k.Name, kvpb.FromStatus(err))
		}
		if w.keyspaces[k.Name], err = kvpb.FromKeyspace(made.GetKeyspace()); err != nil {
			return fmt.Errorf("create %s: %w", k.Name, err)
		}
	}
	if why := w.await(ctx, makeLimit, w.lacks); why != "" {
		return &store.Error{Code: store.Unavailable, Op: "lab", Msg: "the keyspaces do not serve: " + why}
	}
	return nil
}

// await looks again and again until nothing is found wrong, and returns what is.
func (w *world) await(ctx context.Context, limit time.Duration, look func(context.Context) string) string {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		why := look(ctx)
		if why == "" {
			return ""
		}
		select {
		case <-time.After(lookPause):
		case <-ctx.Done():
			return why
		}
	}
}

// lacks says what some node lacks.
func (w *world) lacks(ctx context.Context) string {
	for _, node := range w.cluster.Nodes() {
		s, err := w.status(ctx, node)
		if err != nil {
			return fmt.Sprintf("%s does not answer: %v", node, err)
		}
		if !s.GetReady() {
			return node + " is not ready: " + strings.Join(s.GetReasons(), ", ")
		}
		for name, k := range w.keyspaces {
			if why := serves(s, node, name, k); why != "" {
				return why
			}
		}
	}
	return ""
}

// serves says which replica that the node should have does not serve.
func serves(s *kvpb.StatusResponse, node, name string, k shard.Keyspace) string {
	for i := range k.Groups {
		if !slices.Contains(k.Members(i), node) {
			continue
		}
		group := store.GroupID{Keyspace: k.ID, Shard: i}.String()
		serving := slices.ContainsFunc(s.GetReplicas(), func(r *kvpb.ReplicaStatus) bool {
			return r.GetGroup() == group && r.GetReady() && (k.Mode == store.AP || r.GetLeader() != "")
		})
		if !serving {
			return fmt.Sprintf("%s does not serve %s", node, name)
		}
	}
	return ""
}

func (w *world) status(ctx context.Context, node string) (*kvpb.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	admin, err := w.cluster.Admin(node)
	if err != nil {
		return nil, err
	}
	s, err := admin.Status(ctx, &kvpb.StatusRequest{})
	return s, kvpb.FromStatus(err)
}

// leader is who leads all groups of a keyspace, of those asked, in the latest term; ""
// if nobody does or different nodes do.
func (w *world) leader(ctx context.Context, keyspace string, among []string) string {
	type led struct {
		node string
		term uint64
	}
	groups := map[string]led{}
	for _, node := range among {
		s, err := w.status(ctx, node)
		if err != nil {
			continue
		}
		for _, r := range s.GetReplicas() {
			if r.GetKeyspace() == keyspace && r.GetRole() == "leader" && r.GetTerm() > groups[r.GetGroup()].term {
				groups[r.GetGroup()] = led{node, r.GetTerm()}
			}
		}
	}
	leader := ""
	for _, g := range groups {
		if leader != "" && g.node != leader {
			return ""
		}
		leader = g.node
	}
	return leader
}

// nodes reads names of nodes and leader:KEYSPACE.
func (w *world) nodes(ctx context.Context, words []string) ([]string, error) {
	var out []string
	for _, word := range words {
		if keyspace, ok := strings.CutPrefix(word, "leader:"); ok {
			leader := w.leader(ctx, keyspace, w.cluster.Nodes())
			if leader == "" {
				return nil, &store.Error{Code: store.Unavailable, Keyspace: keyspace, Msg: "no node leads " + keyspace, Try: "a probe leader before this, which waits for one"}
			}
			word = leader
		}
		if !slices.Contains(w.cluster.Nodes(), word) {
			return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("there is no node %q", word)}
		}
		out = append(out, word)
	}
	return out, nil
}

// client returns the one that enters at a node.
func (w *world) client(ctx context.Context, at string) (*client.Client, error) {
	w.mu.Lock()
	c := w.clients[at]
	w.mu.Unlock()
	if c != nil {
		return c, nil
	}
	// It outlives the activity that is the first to need it.
	c, err := w.cluster.Client(context.WithoutCancel(ctx), at)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if other := w.clients[at]; other != nil {
		return other, c.Close()
	}
	w.clients[at] = c
	return c, nil
}

// session returns the one of that name; without a name, one of its own.
func (w *world) session(name string) *session {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.sessions[name]; s != nil && name != "" {
		return s
	}
	w.last++
	s := &session{name: name, process: w.last, contexts: map[string][]byte{}, covers: map[string][]string{}}
	if name == "" {
		s.name = fmt.Sprintf("once-%d", w.last)
	} else {
		w.sessions[name] = s
	}
	return s
}

func (w *world) close() error {
	w.mu.Lock()
	clients := w.clients
	w.clients = map[string]*client.Client{}
	w.mu.Unlock()
	var errs []error
	for _, c := range clients {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

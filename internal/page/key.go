package page

import (
	"context"
	"net/http"
	"slices"
	"sync"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// topologies is what the page knows of keyspaces; it asks again for one it does not know.
type topologies struct {
	mu  sync.Mutex
	was shard.Topology
}

// space is the keyspace that has the name. One that was deleted and made again is found
// out by the first operation on it, whose error says so.
func (p *Page) space(ctx context.Context, name string) (shard.Keyspace, error) {
	if err := store.CheckName("keyspace", name); err != nil {
		return shard.Keyspace{}, err
	}
	if k, ok := p.topology.get().Keyspace(name); ok {
		return k, nil
	}
	c, err := p.clients.at(ctx, p.cfg.From)
	if err != nil {
		return shard.Keyspace{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	t, err := c.Topology(ctx)
	if err != nil {
		return shard.Keyspace{}, err
	}
	p.topology.set(t)
	if k, ok := t.Keyspace(name); ok {
		return k, nil
	}
	return shard.Keyspace{}, &store.Error{Code: store.NoSuchKeyspace, Keyspace: name, Msg: "there is no keyspace " + name, Try: "kvctl keyspace list"}
}

func (t *topologies) get() shard.Topology {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.was
}

func (t *topologies) set(now shard.Topology) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.was = now
}

// keyRequest asks what every replica holds of a key.
type keyRequest struct {
	Keyspace string `json:"keyspace"`
	Key      string `json:"key"`
}

// keyView is what one replica holds, and what it answers by itself.
type keyView struct {
	Node     string         `json:"node"`
	Answers  bool           `json:"answers"`
	Why      string         `json:"why,omitempty"`
	Values   []shown        `json:"values"`
	Revision uint64         `json:"revision,omitempty"`
	Version  uint64         `json:"version,omitempty"`
	Siblings []shownSibling `json:"siblings,omitempty"`
	Vector   string         `json:"vector,omitempty"`
}

type shownSibling struct {
	Dot   string `json:"dot"`
	Field string `json:"field,omitempty"`
	shown
}

// inspect asks each member of the key's group by itself; nothing is routed.
func (p *Page) inspect(r *http.Request, in keyRequest) (any, error) {
	if err := store.CheckKey(in.Key); err != nil {
		return nil, err
	}
	k, err := p.space(r.Context(), in.Keyspace)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	members := slices.Sorted(slices.Values(k.Members(k.Shard(in.Key))))
	views := make([]keyView, len(members))
	var asking sync.WaitGroup
	for i, node := range members {
		asking.Go(func() { views[i] = p.holds(ctx, k, node, in.Key) })
	}
	asking.Wait()
	return map[string]any{"keyspace": k.Name, "key": in.Key, "mode": k.Mode.String(), "conflict": policyOf(k), "group": k.Group(in.Key).String(), "replicas": views}, nil
}

func policyOf(k shard.Keyspace) string {
	if k.Mode == store.CP {
		return ""
	}
	return k.Policy.String()
}

func (p *Page) holds(ctx context.Context, k shard.Keyspace, node, key string) keyView {
	view := keyView{Node: node, Values: []shown{}}
	fail := func(err error) keyView {
		view.Why = store.AsError(err).Error()
		return view
	}
	api, err := p.cfg.Cluster.KV(node)
	if err != nil {
		return fail(err)
	}
	q := kvpb.ToQuery(store.Query{Key: key, Level: store.Eventual, Siblings: k.Mode == store.AP})
	q.Keyspace, q.KeyspaceId, q.Shard = k.Name, k.ID, k.Shard(key)
	response, err := api.Read(ctx, q)
	if err != nil {
		return fail(kvpb.FromStatus(err))
	}
	page, err := kvpb.FromPage(response)
	if err != nil {
		return fail(err)
	}
	view.Answers, view.Vector, view.Revision = true, page.Proof.Vector, page.Revision
	for _, item := range page.Items {
		view.Values, view.Revision, view.Version = showAll(item.Values), item.Revision, item.Version
		for _, s := range item.Siblings {
			view.Siblings = append(view.Siblings, shownSibling{s.Dot, s.Field, show(s.Value)})
		}
	}
	return view
}

package catalog

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// Limits of what a keyspace may ask for.
const (
	maxReplicas     = 7
	defaultReplicas = 5
	maxGroups       = 16
	idAttempts      = 8 // concurrent creations one may lose to before giving up
)

// Spec is what CreateKeyspace is asked for. Zero values take defaults.
type Spec struct {
	Name       string
	Mode       store.Mode
	Replicas   int // 0: as many as there are nodes, at most 5
	Groups     int // 0: 1
	Policy     store.Policy
	W          store.W
	Durability store.Durability
}

// CreateKeyspace places the keyspace's groups on nodes and records it. It
// returns when a majority of the catalog has the record, not when the groups serve.
func (c *Catalog) CreateKeyspace(ctx context.Context, s Spec) (shard.Keyspace, error) {
	nodes := members(c.Topology().Nodes)
	s = s.withDefaults(len(nodes))
	if err := s.check(); err != nil {
		return shard.Keyspace{}, err
	}
	placement, err := shard.Place(nodes, s.Replicas, s.Groups)
	if err != nil {
		return shard.Keyspace{}, err
	}
	id, err := c.nextID(ctx)
	if err != nil {
		return shard.Keyspace{}, err
	}
	k := shard.Keyspace{
		ID: id, Name: s.Name, Mode: s.Mode, Groups: uint32(s.Groups),
		Policy: s.Policy, W: s.W, Durability: s.Durability, Placement: placement, Replicas: s.Replicas,
	}
	value, err := encodeKeyspace(k)
	if err != nil {
		return shard.Keyspace{}, err
	}
	err = c.remote.Put(ctx, keyspacePrefix+k.Name, value, store.Condition{Kind: store.IfAbsent})
	if errors.Is(err, store.Conflict) {
		return shard.Keyspace{}, &store.Error{
			Code: store.AlreadyExists, Keyspace: k.Name, Msg: "there is a keyspace " + k.Name,
			Try: "another name, or kvctl keyspace delete " + k.Name,
		}
	}
	return k, err
}

func (s Spec) withDefaults(nodes int) Spec {
	if s.Replicas == 0 {
		s.Replicas = min(nodes, defaultReplicas)
	}
	if s.Groups == 0 {
		s.Groups = 1
	}
	if s.Mode == store.AP {
		if s.Policy == 0 {
			s.Policy = store.LWW
		}
		if s.W == store.WDefault {
			s.W = store.WLocal
		}
		if s.Durability == 0 {
			s.Durability = store.Fsync
		}
	}
	return s
}

func (s Spec) check() error {
	if err := store.CheckName("keyspace", s.Name); err != nil {
		return err
	}
	invalid := func(format string, args ...any) error {
		return &store.Error{Code: store.Invalid, Keyspace: s.Name, Msg: fmt.Sprintf(format, args...)}
	}
	switch {
	case s.Mode != store.CP && s.Mode != store.AP:
		return &store.Error{Code: store.Invalid, Keyspace: s.Name, Msg: "the keyspace has no mode", Try: "--mode cp or --mode ap"}
	case s.Mode == store.CP && (s.Policy != 0 || s.W != 0 || s.Durability != 0):
		return &store.Error{
			Code: store.Unsupported, Keyspace: s.Name,
			Msg: "a conflict policy, w and a durability belong to ap keyspaces: cp has no conflicts, always a majority, and always fsync",
			Try: "without those flags, or --mode ap",
		}
	case s.Replicas < 1 || s.Replicas > maxReplicas:
		return invalid("%d replicas, it must be between 1 and %d", s.Replicas, maxReplicas)
	case s.Groups < 1 || s.Groups > maxGroups:
		return invalid("%d groups, it must be between 1 and %d", s.Groups, maxGroups)
	}
	return nil
}

// AlterKeyspace records how many members each group of a keyspace shall have. The
// catalog's leader then plans the changes, one member of a group at a time.
func (c *Catalog) AlterKeyspace(ctx context.Context, name string, replicas int) (shard.Keyspace, error) {
	for range idAttempts {
		k, revision, err := c.recordOf(ctx, name)
		if err != nil {
			return k, err
		}
		if err := c.checkAlter(k, replicas); err != nil || k.Replicas == replicas {
			return k, err
		}
		k.Replicas = replicas
		value, err := encodeKeyspace(k)
		if err != nil {
			return k, err
		}
		err = c.remote.Put(ctx, keyspacePrefix+name, value, store.Condition{Kind: store.IfRevision, Revision: revision})
		if !errors.Is(err, store.Conflict) {
			return k, err
		}
	}
	return shard.Keyspace{}, &store.Error{Code: store.Unavailable, Keyspace: name, Msg: "others changed the keyspace's record at the same moment"}
}

func (c *Catalog) checkAlter(k shard.Keyspace, replicas int) error {
	nodes := len(members(c.Topology().Nodes))
	switch {
	case replicas < 1 || replicas > maxReplicas:
		return &store.Error{Code: store.Invalid, Op: "alter", Keyspace: k.Name, Msg: fmt.Sprintf("%d replicas, it must be between 1 and %d", replicas, maxReplicas), Try: "--replicas 3"}
	case replicas > nodes:
		return &store.Error{
			Code: store.Invalid, Op: "alter", Keyspace: k.Name, Msg: fmt.Sprintf("%d replicas were asked for, the cluster has %d nodes", replicas, nodes),
			Try: "kvctl cluster add first, or fewer replicas",
		}
	}
	return nil
}

// idsOfEpoch is how many keyspace ids an epoch of the catalog has to itself.
const idsOfEpoch = 1 << 20

// nextID takes the next keyspace id. One that is taken and then not used is lost,
// which is cheaper than one that is used twice: a catalog that was forced to go on
// without its majority may lack keyspaces of which other nodes still have data.
func (c *Catalog) nextID(ctx context.Context) (uint64, error) {
	for range idAttempts {
		b, revision, err := c.remote.Get(ctx, nextIDKey)
		if err != nil {
			return 0, err
		}
		id, err := decodeID(b)
		if err != nil {
			return 0, err
		}
		id = max(id, c.local.Status().Epoch*idsOfEpoch+store.CatalogKeyspace+1)
		cond := store.Condition{Kind: store.IfAbsent}
		if b != nil {
			cond = store.Condition{Kind: store.IfRevision, Revision: revision}
		}
		err = c.remote.Put(ctx, nextIDKey, strconv.AppendUint(nil, id+1, 10), cond)
		if err == nil || !errors.Is(err, store.Conflict) {
			return id, err
		}
	}
	return 0, &store.Error{Code: store.Unavailable, Msg: fmt.Sprintf("%d others created keyspaces at the same moment", idAttempts)}
}

// decodeID reads the id that is next; the first is the one after the catalog's own.
func decodeID(b []byte) (uint64, error) {
	if b == nil {
		return store.CatalogKeyspace + 1, nil
	}
	id, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil {
		return 0, &store.Error{Code: store.Corrupt, Msg: fmt.Sprintf("the catalog's next keyspace id is %q", b)}
	}
	return id, nil
}

// DeleteKeyspace removes the record. Each node drops its replicas when it hears.
func (c *Catalog) DeleteKeyspace(ctx context.Context, name string) error {
	if err := store.CheckName("keyspace", name); err != nil {
		return err
	}
	b, revision, err := c.remote.Get(ctx, keyspacePrefix+name)
	if err != nil {
		return err
	}
	if b == nil {
		return noSuch(name)
	}
	err = c.remote.Delete(ctx, keyspacePrefix+name, revision)
	if errors.Is(err, store.Conflict) {
		return noSuch(name) // it went, and if another has the name now, that is not the one that was meant
	}
	return err
}

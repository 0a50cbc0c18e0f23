package clienttest

import (
	"context"
	"fmt"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/store"
)

// Keyspace describes a keyspace. All but the name and the mode may be zero: then it is what
// kvctl keyspace create makes without a flag.
type Keyspace struct {
	Name       string
	Mode       store.Mode
	Groups     uint32           // 1 if zero
	Replicas   uint32           // of each group; as many as there are nodes, 5 at most, if zero
	Policy     store.Policy     // ap: LWW if zero
	W          store.W          // ap: WLocal if zero
	Durability store.Durability // ap: Fsync if zero
}

func (k Keyspace) request() *kvpb.CreateKeyspaceRequest {
	r := &kvpb.CreateKeyspaceRequest{Name: k.Name, Groups: k.Groups, Replicas: k.Replicas}
	if k.Mode != 0 {
		r.Mode = k.Mode.String()
	}
	if k.Policy != 0 {
		r.Conflict = k.Policy.String()
	}
	if k.W != store.WDefault {
		r.W = k.W.String()
	}
	if k.Durability != 0 {
		r.Durability = k.Durability.String()
	}
	return r
}

// Create makes a keyspace and returns Client's handle on it.
func (c *Cluster) Create(k Keyspace) *client.Keyspace {
	c.t.Helper()
	ctx, cancel := c.patient()
	defer cancel()
	for _, admin := range c.up() {
		_, err := admin.CreateKeyspace(ctx, k.request())
		c.must(kvpb.FromStatus(err))
		return c.client.Keyspace(k.Name)
	}
	c.t.Fatalf("clienttest: no node runs that could make keyspace %s", k.Name)
	return nil
}

// up is the admin API of each node that runs, in the order of the nodes.
func (c *Cluster) up() (out []kvpb.AdminClient) {
	for _, node := range c.Nodes() {
		if admin, err := c.nodes.Admin(node); err == nil {
			out = append(out, admin)
		}
	}
	return out
}

// Leader names the node that leads the group of the key in a cp keyspace, as soon as one
// does. After a cut that may still be the one that led before, until it notices.
func (c *Cluster) Leader(keyspace, key string) string {
	c.t.Helper()
	ctx, cancel := c.patient()
	defer cancel()
	mode, err := c.client.Keyspace(keyspace).Mode(ctx)
	c.must(err)
	if mode != store.CP {
		c.t.Fatalf("clienttest: %s is not a cp keyspace, and nobody leads it", keyspace)
	}
	t, err := c.client.Topology(ctx)
	c.must(err)
	ks, _ := t.Keyspace(keyspace)
	leader := ""
	c.await("a leader of "+keyspace, func(ctx context.Context) string {
		term := uint64(0)
		for _, r := range c.replicas(ctx) {
			if r.GetGroup() == ks.Group(key).String() && r.GetRole() == "leader" && r.GetTerm() > term {
				leader, term = r.node, r.GetTerm()
			}
		}
		if leader == "" {
			return "no node says that it leads"
		}
		return ""
	})
	return leader
}

// Settle waits until all nodes that run hold the same: what was written on either side of
// a cut has come to the other, and no follower lags. With a cut there is, or while the test
// goes on writing, that never comes, and the test fails.
func (c *Cluster) Settle() {
	c.t.Helper()
	c.await("all replicas to hold the same", func(ctx context.Context) string {
		first := map[string]replica{}
		for _, r := range c.replicas(ctx) {
			if !r.GetReady() {
				return fmt.Sprintf("%s of %s at %s: %s", r.GetGroup(), r.GetKeyspace(), r.node, r.GetDetail())
			}
			other, known := first[r.GetGroup()]
			if !known {
				first[r.GetGroup()] = r
			} else if r.holds() != other.holds() {
				return fmt.Sprintf("%s has %s of %s, and %s has %s", r.node, r.holds(), r.GetKeyspace(), other.node, other.holds())
			}
		}
		return ""
	})
}

// replica is what a node says of one of its own.
type replica struct {
	*kvpb.ReplicaStatus
	node string
}

// holds is the state of a replica, in short.
func (r replica) holds() string {
	if r.GetMode() == store.AP.String() {
		return fmt.Sprintf("epoch %d, %s", r.GetEpoch(), r.GetVector())
	}
	return fmt.Sprintf("epoch %d, revision %d, led by %s", r.GetEpoch(), r.GetRevision(), r.GetLeader())
}

// replicas lists those of the nodes that run.
func (c *Cluster) replicas(ctx context.Context) (out []replica) {
	for _, node := range c.Nodes() {
		admin, err := c.nodes.Admin(node)
		if err != nil {
			continue // it is down
		}
		s, err := admin.Status(ctx, &kvpb.StatusRequest{})
		if err != nil {
			return []replica{{&kvpb.ReplicaStatus{Detail: kvpb.FromStatus(err).Error()}, node}}
		}
		for _, r := range s.GetReplicas() {
			out = append(out, replica{r, node})
		}
	}
	return out
}

// await looks again and again until nothing is lacking.
func (c *Cluster) await(what string, lacks func(ctx context.Context) string) {
	c.t.Helper()
	ctx, cancel := c.patient()
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for last := lacks(ctx); last != ""; last = lacks(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatalf("clienttest: %s did not come in %v: %s", what, patience, last)
		}
	}
}

package lab

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/jepsen-lite/workload"
	"github.com/dialkv/dialkv/store"
)

// waitLimit is how long a probe waits unless it says otherwise.
const waitLimit = 10 * time.Second

func ready(ctx context.Context, c *call) (any, error) {
	return c.world.await(ctx, c.time("within", waitLimit), c.world.lacks) == "", nil
}

func converged(ctx context.Context, c *call) (any, error) {
	k, err := c.keyspace(c.text("keyspace"))
	if err != nil {
		return nil, err
	}
	_, equal, err := workload.Dump(ctx, c.world.cluster, []shard.Keyspace{k}, c.time("within", waitLimit), history.NewRecorder(io.Discard))
	return equal, err
}

func leader(ctx context.Context, c *call) (any, error) {
	among := c.world.cluster.Nodes()
	if words := listed(c.given["among"]); len(words) > 0 {
		var err error
		if among, err = c.world.nodes(ctx, words); err != nil {
			return nil, err
		}
	}
	found, not := "", c.text("not")
	c.world.await(ctx, c.time("within", waitLimit), func(ctx context.Context) string {
		if found = c.world.leader(ctx, c.text("keyspace"), among); found == "" || found == not {
			found = ""
			return "nobody leads"
		}
		return ""
	})
	return found, nil
}

// replicas is what every node's own copy holds; a node that does not answer is left out.
func replicas(ctx context.Context, c *call) (any, error) {
	o, err := c.op(history.Get)
	if err != nil {
		return nil, err
	}
	k, err := c.keyspace(o.call.Keyspace)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	for _, node := range k.Members(k.Shard(o.call.Key)) {
		admin, err := c.world.cluster.Admin(node)
		if err != nil {
			continue
		}
		if values, err := valuesAt(ctx, admin, k, o.call.Key); err == nil {
			out[node] = values
		}
	}
	return out, nil
}

// valuesAt looks through a replica, page by page, until it comes to the key.
func valuesAt(ctx context.Context, admin kvpb.AdminClient, k shard.Keyspace, key string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	values := []string{}
	for from, begun := "", false; from != "" || !begun; begun = true {
		page, err := admin.Dump(ctx, &kvpb.DumpRequest{KeyspaceId: k.ID, Shard: k.Shard(key), From: from, Limit: store.MaxPage})
		if err != nil {
			return nil, kvpb.FromStatus(err)
		}
		for _, item := range page.GetItems() {
			if item.GetKey() != key {
				continue
			}
			for _, v := range item.GetValues() {
				values = append(values, string(v))
			}
			return values, nil
		}
		from = page.GetNext()
	}
	return values, nil
}

func status(ctx context.Context, c *call) (any, error) {
	nodes, err := c.targets(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.world.status(ctx, nodes[0])
	if err != nil {
		_, told := proved(store.Proof{}, err)
		return told, nil
	}
	var alive []string
	for _, m := range s.GetMembers() {
		if m.GetState() == "alive" {
			alive = append(alive, m.GetName())
		}
	}
	slices.Sort(alive)
	leads := []string{}
	for _, r := range s.GetReplicas() {
		if r.GetRole() == "leader" && r.GetKeyspace() != store.CatalogName {
			leads = append(leads, r.GetKeyspace())
		}
	}
	return map[string]any{"outcome": "ok", "node": nodes[0], "ready": s.GetReady(), "reasons": s.GetReasons(), "hears": alive, "leads": leads}, nil
}

func elapsed(_ context.Context, c *call) (any, error) {
	ended, ok := c.endOf(c.text("since"))
	if !ok {
		return nil, &store.Error{Code: store.Invalid, Op: "elapsed", Msg: fmt.Sprintf("no activity %q has ended", c.text("since"))}
	}
	return milliseconds(time.Since(ended)), nil
}

func await(ctx context.Context, c *call) (any, error) {
	b := c.inBackground(c.text("activity"))
	if b == nil {
		return nil, &store.Error{Code: store.Invalid, Op: "await", Msg: fmt.Sprintf("no activity %q is in the background", c.text("activity"))}
	}
	ctx, cancel := context.WithTimeout(ctx, c.time("within", waitLimit))
	defer cancel()
	select {
	case <-b.done:
	case <-ctx.Done():
		return nil, store.Expired(ctx, c.text("activity"))
	}
	if b.result.Status == failed {
		return nil, fmt.Errorf("%s: %s", c.text("activity"), b.result.Exception)
	}
	return b.result.Output, nil
}

func load(ctx context.Context, c *call) (any, error) {
	k, err := c.keyspace(c.text("keyspace"))
	if err != nil {
		return nil, err
	}
	stats, err := workload.Run(ctx, c.world.cluster, workload.Config{
		Workload: c.text("workload"), Keyspaces: []shard.Keyspace{k}, Duration: c.time("for", 0),
		Clients: int(c.number("clients", 10)), Rate: c.number("rate", 100), Seed: 1,
	}, c.world.rec)
	return map[string]any{"ok": stats.OK, "failed": stats.Failed, "unknown": stats.Unknown, "dropped": stats.Dropped}, err
}

// judge has the checkers look at all that was recorded, however little it is: in a lesson
// few operations are made, and each counts.
func judge(ctx context.Context, c *call) (any, error) {
	if c.yes("dump") {
		var all []shard.Keyspace
		for _, name := range sortedNames(c.world.keyspaces) {
			all = append(all, c.world.keyspaces[name])
		}
		if _, _, err := workload.Dump(ctx, c.world.cluster, all, makeLimit, c.world.rec); err != nil {
			return nil, err
		}
	}
	h, err := c.world.tape.read()
	if err != nil {
		return nil, err
	}
	none := 0
	rep := check.Run(h, check.Options{Claims: listed(c.given["claims"]), Floor: &none})
	verdicts, sentences := map[string]any{}, []string{}
	for _, r := range rep.Checkers {
		verdicts[r.Name] = string(r.Verdict)
		if r.Verdict != check.Pass {
			sentences = append(sentences, r.Name+": "+r.Sentence)
		}
	}
	return map[string]any{"verdict": string(rep.Verdict), "checkers": verdicts, "operations": len(h.Ops), "sentences": sentences}, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

func (a *app) keyspaceCommand() *cobra.Command {
	return group("keyspace", "make and look at keyspaces",
		a.createCommand(), a.keyspaceListCommand(), a.keyspaceShowCommand(), a.alterCommand(), a.scrubCommand(), a.keyspaceDeleteCommand())
}

// keyspaceJSON describes a keyspace with -o json.
type keyspaceJSON struct {
	ID         uint64            `json:"id"`
	Name       string            `json:"name"`
	Mode       string            `json:"mode"`
	Conflict   string            `json:"conflict,omitempty"`
	W          string            `json:"w,omitempty"`
	Durability string            `json:"durability,omitempty"`
	Replicas   int               `json:"replicas"`
	Groups     []groupMembers    `json:"groups"`
	PACELC     map[string]string `json:"pacelc"` // by level
}

type groupMembers struct {
	ID      string   `json:"id"`
	Members []string `json:"members"`
}

func keyspaceOf(k shard.Keyspace) keyspaceJSON {
	out := keyspaceJSON{ID: k.ID, Name: k.Name, Mode: k.Mode.String(), PACELC: map[string]string{}}
	if k.Mode == store.AP {
		out.Conflict, out.W, out.Durability = k.Policy.String(), k.W.String(), k.Durability.String()
	}
	for i, members := range k.Placement {
		out.Replicas = len(members)
		out.Groups = append(out.Groups, groupMembers{store.GroupID{Keyspace: k.ID, Shard: uint32(i)}.String(), members})
	}
	for _, level := range levelsOf(k.Mode) {
		out.PACELC[level.String()] = level.PACELC(k.Mode)
	}
	return out
}

// levelsOf are the levels that a mode serves, strongest first.
func levelsOf(mode store.Mode) []store.Level {
	levels := []store.Level{store.Strong, store.Quorum, store.Bounded, store.Causal, store.ReadYourWrites, store.Monotonic, store.Eventual}
	if mode == store.AP {
		return levels[1:]
	}
	return levels
}

func (a *app) createCommand() *cobra.Command {
	var r kvpb.CreateKeyspaceRequest
	var replicas, groups int
	var patience time.Duration
	cmd := &cobra.Command{
		Use: "create NAME --mode cp|ap", Short: "make a keyspace, and wait until it serves", Args: takes(1, 1),
		Example: `  kvctl keyspace create orders --mode cp
  kvctl keyspace create carts --mode ap --conflict siblings --w majority
  kvctl keyspace create likes --mode ap --conflict counter
  kvctl keyspace create cache --mode ap --durability memory`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Name = args[0]
			if err := checkCreate(cmd, &r, replicas, groups); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), patience)
			defer cancel()
			return a.with(func(c localcluster.Cluster) error {
				k, err := create(ctx, c, &r)
				if err != nil {
					return err
				}
				return a.show(keyspaceOf(k), func() { a.created(k) })
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.Mode, "mode", "", "cp (Raft, linearizable) or ap (always writable, causal)")
	f.IntVar(&replicas, "replicas", 0, "nodes that hold each group (default: all, at most 5)")
	f.IntVar(&groups, "groups", 1, "shards; fixed for good")
	f.StringVar(&r.Conflict, "conflict", "", "ap: "+strings.Join(store.PolicyNames, ", ")+" (default lww)")
	a.complete(cmd, "conflict", func(context.Context) []string { return store.PolicyNames })
	f.StringVar(&r.W, "w", "", "ap: replicas that must hold a write: local, majority or all (default local)")
	f.StringVar(&r.Durability, "durability", "", "ap: "+strings.Join(store.DurabilityNames, ", ")+" (default fsync); in memory tokens grow by 12 bytes with each start of a node, and at about 400 are too large")
	a.complete(cmd, "durability", func(context.Context) []string { return store.DurabilityNames })
	f.DurationVar(&patience, "timeout", 20*time.Second, "how long to wait until every group serves")
	return cmd
}

// checkCreate refuses what cannot be sent; the rest is the catalog's to refuse.
func checkCreate(cmd *cobra.Command, r *kvpb.CreateKeyspaceRequest, replicas, groups int) error {
	if err := store.CheckName("keyspace", r.Name); err != nil {
		return err
	}
	if _, err := store.ParseMode(r.Mode); err != nil {
		return err
	}
	if cmd.Flags().Changed("replicas") && replicas < 1 || groups < 1 {
		return &store.Error{Code: store.Invalid, Keyspace: r.Name, Msg: fmt.Sprintf("%d replicas of %d groups, both must be at least 1", replicas, groups), Try: "--replicas 3 --groups 1"}
	}
	r.Replicas, r.Groups = uint32(replicas), uint32(groups)
	return nil
}

func (a *app) created(k shard.Keyspace) {
	fmt.Fprintf(a.out, "%s keyspace %s: %s, %s on %s\n", a.green("✓"), k.Name, k.Mode, count(int(k.Groups), "group"), count(len(k.Members(0)), "node"))
	if k.Mode == store.CP && len(k.Members(0)) == 2 {
		fmt.Fprintln(a.out, "with two replicas every write needs both; three survive the loss of one")
	}
	if k.Durability == store.Memory {
		fmt.Fprintln(a.out, inMemoryNote(len(k.Members(0))))
	}
}

func inMemoryNote(replicas int) string {
	if replicas == 1 {
		return "it is in the memory of one node: when that is started again, everything is gone"
	}
	return "it is in memory only: a node that is started again is filled by the others, one at a time; if all are, everything is gone"
}

// create makes a keyspace and waits until every member of every group serves it.
func create(ctx context.Context, c localcluster.Cluster, r *kvpb.CreateKeyspaceRequest) (shard.Keyspace, error) {
	var made *kvpb.CreateKeyspaceResponse
	err := somewhere(ctx, c, func(admin kvpb.AdminClient) (err error) {
		made, err = admin.CreateKeyspace(ctx, r)
		return err
	})
	if err != nil {
		return shard.Keyspace{}, err
	}
	k, err := kvpb.FromKeyspace(made.GetKeyspace())
	if err != nil {
		return shard.Keyspace{}, err
	}
	return k, awaitServing(ctx, c, k)
}

// somewhere asks one node after the other, until one answers anything but that it
// certainly could not.
func somewhere(ctx context.Context, c localcluster.Cluster, ask func(kvpb.AdminClient) error) error {
	var last error = &store.Error{Code: store.Unavailable, Msg: "no node answers", Try: "kvctl cluster status, kvctl cluster start"}
	for i, s := range answers(ctx, c) {
		if s == nil {
			continue
		}
		admin, err := c.Admin(c.Nodes()[i])
		if err != nil {
			return err
		}
		last = ask(admin)
		if own := (*store.Error)(nil); last != nil && !errors.As(last, &own) {
			last = kvpb.FromStatus(last)
		}
		if last == nil || !errors.Is(last, store.Unavailable) && !errors.Is(last, store.NotLeader) {
			return last
		}
	}
	return last
}

func awaitServing(ctx context.Context, c localcluster.Cluster, k shard.Keyspace) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		waiting := idle(c, answers(ctx, c), k)
		if len(waiting) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return &store.Error{
				Code: store.NotReplicated, Keyspace: k.Name, Cause: context.Cause(ctx),
				Msg: "the keyspace exists, but does not serve yet on " + strings.Join(waiting, ", "), Try: "kvctl cluster status",
			}
		}
	}
}

// idle are the members that do not serve a group of theirs yet.
func idle(c localcluster.Cluster, statuses []*kvpb.StatusResponse, k shard.Keyspace) []string {
	var waiting []string
	for i, node := range c.Nodes() {
		holds, serves := 0, 0
		for _, members := range k.Placement {
			if slices.Contains(members, node) {
				holds++
			}
		}
		for _, r := range statuses[i].GetReplicas() {
			if r.GetKeyspace() == k.Name && r.GetReady() && (k.Mode == store.AP || r.GetLeader() != "") {
				serves++
			}
		}
		if serves < holds {
			waiting = append(waiting, node)
		}
	}
	return waiting
}

// topology asks the cluster what there is.
func topology(ctx context.Context, c localcluster.Cluster) (shard.Topology, error) {
	cl, err := c.Client(ctx, "")
	if err != nil {
		return shard.Topology{}, err
	}
	defer cl.Close()
	return cl.Topology(ctx)
}

func (a *app) keyspaceListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "the keyspaces of the cluster", Args: takes(0, 0),
		Example: `  kvctl keyspace list
  kvctl keyspace list -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(func(c localcluster.Cluster) error {
				t, err := topology(cmd.Context(), c)
				if err != nil {
					return err
				}
				list := []keyspaceJSON{}
				for _, k := range t.Keyspaces {
					if k.ID != store.CatalogKeyspace {
						list = append(list, keyspaceOf(k))
					}
				}
				return a.show(map[string]any{"keyspaces": list}, func() { a.keyspaceTable(list) })
			})
		},
	}
}

func (a *app) keyspaceTable(list []keyspaceJSON) {
	if len(list) == 0 {
		fmt.Fprintln(a.out, "no keyspaces; kvctl keyspace create NAME --mode cp makes one")
		return
	}
	rows := [][]string{{"KEYSPACE", "MODE", "REPLICAS", "GROUPS", "CONFLICT", "W", "DURABILITY"}}
	for _, k := range list {
		rows = append(rows, []string{k.Name, k.Mode, strconv.Itoa(k.Replicas), strconv.Itoa(len(k.Groups)), dash(k.Conflict), dash(k.W), dash(k.Durability)})
	}
	a.table(rows)
}

func (a *app) keyspaceShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "one keyspace: placement, and its PACELC class per level", Args: takes(1, 1),
		Example: `  kvctl keyspace show orders
  kvctl keyspace show orders -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(func(c localcluster.Cluster) error {
				t, err := topology(cmd.Context(), c)
				if err != nil {
					return err
				}
				k, ok := t.Keyspace(args[0])
				if !ok {
					return &store.Error{Code: store.NoSuchKeyspace, Keyspace: args[0], Msg: "there is no keyspace " + args[0]}
				}
				return a.show(keyspaceOf(k), func() { a.describeKeyspace(k) })
			})
		},
	}
}

func (a *app) describeKeyspace(k shard.Keyspace) {
	a.keyspaceTable([]keyspaceJSON{keyspaceOf(k)})
	fmt.Fprintln(a.out)
	rows := [][]string{{"GROUP", "NODES"}}
	for _, g := range keyspaceOf(k).Groups {
		rows = append(rows, []string{g.ID, strings.Join(g.Members, ",")})
	}
	a.table(rows)
	fmt.Fprintln(a.out)
	rows = [][]string{{"LEVEL", "PACELC"}}
	for _, level := range levelsOf(k.Mode) {
		name := level.String()
		if level == store.LevelDefault.Or(k.Mode) {
			name += " (default)"
		}
		rows = append(rows, []string{name, level.PACELC(k.Mode)})
	}
	a.table(rows)
}

func (a *app) keyspaceDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "delete a keyspace and everything in it", Args: takes(1, 1),
		Example: `  kvctl keyspace delete orders`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
			defer cancel()
			return a.with(func(c localcluster.Cluster) error {
				err := somewhere(ctx, c, func(admin kvpb.AdminClient) error {
					_, err := admin.DeleteKeyspace(ctx, &kvpb.DeleteKeyspaceRequest{Name: args[0]})
					return err
				})
				if err != nil {
					return err
				}
				awaitGone(ctx, c, args[0])
				return a.show(map[string]string{"deleted": args[0]}, func() {
					fmt.Fprintf(a.out, "keyspace %s is deleted; an ap replica that is cut off takes writes to it until it hears, and they go with it\n", args[0])
				})
			})
		},
	}
}

// awaitGone waits until every node that answers has heard that the keyspace is
// deleted. Those that do not answer hear later.
func awaitGone(ctx context.Context, c localcluster.Cluster, keyspace string) {
	tick := time.NewTicker(glance / 20)
	defer tick.Stop()
	for slices.ContainsFunc(keyspacesOf(answers(ctx, c)), func(k keyspaceView) bool { return k.Name == keyspace }) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/internal/backup"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

const (
	chunkBytes = 256 << 10
	// again is how long a restore waits until it asks a second time who leads.
	again = 100 * time.Millisecond
)

// restoring is a restore, as the command line describes it.
type restoring struct {
	app           *app
	path          string
	anywhere, yes bool
	timeout       time.Duration

	cluster  localcluster.Cluster
	file     *os.File
	saved    backup.File
	keyspace shard.Keyspace
	progress func(string, int64)
}

// restoredJSON is what it prints.
type restoredJSON struct {
	Outcome  store.Outcome   `json:"outcome"`
	File     string          `json:"file"`
	Keyspace string          `json:"keyspace"`
	Keys     uint64          `json:"keys"`
	Groups   []restoredGroup `json:"groups"`
}

type restoredGroup struct {
	Group    string `json:"group"`
	Keys     uint64 `json:"keys"`
	Revision uint64 `json:"revision"`
	Epoch    uint64 `json:"epoch"`
}

func (a *app) restoreCommand() *cobra.Command {
	r := &restoring{app: a}
	cmd := &cobra.Command{
		Use: "restore FILE [KEYSPACE]", Short: "replace a keyspace by what was saved", Args: takes(1, 2),
		Long: `restore replaces everything in a cp keyspace by what a file holds: each group whole or not at
all. The whole file is verified before anything is changed. The keyspace must have as many
groups as the one that was saved; by default it is the one of the same name. It asks first;
where there is no terminal to ask on it refuses, unless it was told --yes.

A restore begins a new epoch: session tokens of before get TokenMismatch, watches Compacted,
and a write that was under way SessionExpired.`,
		Example: `  kvctl snapshot restore orders.snap
  kvctl snapshot restore orders.snap orders-copy --from-anywhere --yes`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !r.yes && !terminal(a.in) {
				return &store.Error{Code: store.Invalid, Msg: "a restore replaces a whole keyspace, and there is no terminal to ask on", Try: "the same with --yes"}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), r.timeout)
			defer cancel()
			r.path = args[0]
			var err error
			if r.saved, err = inspectFile(r.path); err != nil {
				return err
			}
			name := r.saved.Keyspace
			if len(args) == 2 {
				name = args[1]
			}
			if err := store.CheckName("keyspace", name); err != nil {
				return err
			}
			return a.with(func(c localcluster.Cluster) error {
				r.cluster = c
				return r.run(ctx, name)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&r.anywhere, "from-anywhere", false, "also if it was saved from another cluster, or another keyspace")
	f.BoolVar(&r.yes, "yes", false, "do not ask; needed where there is no terminal")
	f.DurationVar(&r.timeout, "timeout", snapshotPatience, "how long it may take")
	return cmd
}

func (r *restoring) run(ctx context.Context, name string) (err error) {
	var t shard.Topology
	if r.keyspace, t, err = cpKeyspace(ctx, r.cluster, name); err != nil {
		return r.missing(name, err)
	}
	if err := r.fits(t.Cluster); err != nil {
		return err
	}
	a := r.app
	question := fmt.Sprintf("replace everything in keyspace %s by %s of %s?", name, contents(r.saved), r.saved.Groups[0].Saved.Format(time.RFC3339))
	if !r.yes && !a.confirm(question) {
		return &store.Error{Code: store.Denied, Msg: "nothing was changed", Try: "--yes"}
	}
	if r.file, err = os.Open(r.path); err != nil {
		return cannot("read", err)
	}
	defer r.file.Close()
	r.progress = a.ticking()
	out := restoredJSON{Outcome: store.OK, File: r.path, Keyspace: name, Groups: []restoredGroup{}}
	for n, g := range r.saved.Groups {
		done, err := r.group(ctx, uint32(n), g)
		if err != nil {
			return r.incomplete(n, err)
		}
		out.Keys += done.Keys
		out.Groups = append(out.Groups, done)
	}
	return a.show(out, func() {
		fmt.Fprintf(a.out, "%s keyspace %s holds what was saved at %s: %s\n", a.green("✓"), name, r.saved.Groups[0].Saved.Format(time.RFC3339), contents(r.saved))
		a.progress("(a new epoch: tokens, watches and sessions of before have ended)")
	})
}

// missing says how to make the keyspace if there is none.
func (r *restoring) missing(name string, err error) error {
	if !errors.Is(err, store.NoSuchKeyspace) {
		return err
	}
	e := *store.AsError(err)
	e.Try = fmt.Sprintf("kvctl keyspace create %s --mode cp --groups %d, and then the same", name, len(r.saved.Groups))
	return &e
}

// fits refuses a file of something else before the first group is touched.
func (r *restoring) fits(cluster string) error {
	k := r.keyspace
	if groups := len(r.saved.Groups); groups != int(k.Groups) {
		return &store.Error{
			Code: store.Invalid, Keyspace: k.Name, Msg: fmt.Sprintf("the file holds %s, keyspace %s has %d: in which group a key is depends on their number", count(groups, "group"), k.Name, k.Groups),
			Try: fmt.Sprintf("kvctl keyspace create NAME --mode cp --groups %d, and that keyspace", groups),
		}
	}
	const try = "--from-anywhere, if that is what you mean"
	switch {
	case r.anywhere:
		return nil
	case r.saved.Cluster != cluster:
		return &store.Error{Code: store.Invalid, Keyspace: k.Name, Msg: fmt.Sprintf("the file was saved from cluster %.8s, this is %.8s", r.saved.Cluster, cluster), Try: try}
	case r.saved.Keyspace != k.Name:
		return &store.Error{Code: store.Invalid, Keyspace: k.Name, Msg: fmt.Sprintf("the file was saved from keyspace %s, not %s", r.saved.Keyspace, k.Name), Try: try}
	}
	return nil
}

// incomplete says of a restore that broke off which groups it has replaced.
func (r *restoring) incomplete(done int, err error) error {
	e := *store.AsError(err)
	switch {
	case done == 0 && !e.MaybeApplied():
		e.Msg += "; nothing was changed"
	case done > 0:
		e = store.Error{
			Code: store.Unknown, Op: "restore", Keyspace: r.keyspace.Name, Cause: err,
			Msg: fmt.Sprintf("%d of %s were replaced, the others were not, or it is not known", done, count(len(r.saved.Groups), "group")),
		}
	}
	if done > 0 || e.MaybeApplied() {
		e.Try = "the same once more: a restore can be repeated"
	}
	return &e
}

// group hands one group to whoever leads it, as long as it is certain that nothing was
// changed.
func (r *restoring) group(ctx context.Context, n uint32, g backup.Group) (restoredGroup, error) {
	id := store.GroupID{Keyspace: r.keyspace.ID, Shard: n}
	leader := ""
	for {
		if leader == "" {
			leader = whoLeads(ctx, r.cluster, id)
		}
		var done restoredGroup
		var err error = &store.Error{Code: store.Unavailable, Keyspace: r.keyspace.Name, Group: id, Msg: fmt.Sprintf("group %v has no leader now", id)}
		if leader != "" {
			done, err = r.send(ctx, leader, id, g)
		}
		if !errors.Is(err, store.NotLeader) && !errors.Is(err, store.Unavailable) {
			return done, err
		}
		leader = store.AsError(err).Leader
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return done, err
		}
	}
}

// whoLeads asks every node who leads the group, and believes the latest term.
func whoLeads(ctx context.Context, c localcluster.Cluster, id store.GroupID) string {
	for _, k := range keyspacesOf(answers(ctx, c)) {
		if i := slices.IndexFunc(k.Groups, func(g groupView) bool { return g.ID == id.String() }); i >= 0 {
			return k.Groups[i].Leader
		}
	}
	return ""
}

// send streams the group's part of the file to a node.
func (r *restoring) send(ctx context.Context, node string, id store.GroupID, g backup.Group) (restoredGroup, error) {
	admin, err := r.cluster.Admin(node)
	if err != nil {
		return restoredGroup{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := admin.RestoreSnapshot(ctx)
	if err != nil {
		return restoredGroup{}, kvpb.FromStatus(err)
	}
	err = stream.Send(&kvpb.SnapshotChunk{KeyspaceId: id.Keyspace, Shard: id.Shard, AnyCluster: r.anywhere})
	in := io.NewSectionReader(r.file, g.Offset, g.Bytes)
	buffer := make([]byte, chunkBytes)
	for err == nil {
		n, reading := in.Read(buffer)
		if n > 0 {
			err = stream.Send(&kvpb.SnapshotChunk{Data: buffer[:n]})
			r.progress(fmt.Sprintf("group %d of %d, to %s", id.Shard+1, len(r.saved.Groups), node), g.Offset+sent(in))
		}
		if reading == io.EOF {
			break
		}
		if reading != nil {
			return restoredGroup{}, cannot("read", reading)
		}
	}
	// That a Send failed says only that the node has answered.
	done, err := stream.CloseAndRecv()
	if err != nil {
		return restoredGroup{}, kvpb.FromStatus(err)
	}
	return restoredGroup{id.String(), done.GetKeys(), done.GetRevision(), done.GetEpoch()}, nil
}

// sent is how far the section has been read.
func sent(in *io.SectionReader) int64 {
	n, _ := in.Seek(0, io.SeekCurrent) // a section has no error for this
	return n
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/internal/backup"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// snapshotPatience is how long a save or a restore may take unless it says otherwise.
const snapshotPatience = 10 * time.Minute

// snapshotJSON describes a file, and after a restore what came of it.
type snapshotJSON struct {
	Outcome  store.Outcome `json:"outcome"`
	File     string        `json:"file"`
	Cluster  string        `json:"cluster"` // that it was saved from
	Keyspace string        `json:"keyspace"`
	Keys     uint64        `json:"keys"`
	Bytes    int64         `json:"bytes"`
	Groups   []savedGroup  `json:"groups"`
}

type savedGroup struct {
	Shard    int       `json:"shard"`
	Keys     uint64    `json:"keys"`
	Leases   uint64    `json:"leases"`
	Bytes    int64     `json:"bytes"`
	Revision uint64    `json:"revision"`
	Epoch    uint64    `json:"epoch"`
	Node     string    `json:"node"`
	SavedAt  time.Time `json:"saved_at"`
}

func (a *app) snapshotCommand() *cobra.Command {
	return group("snapshot", "save, restore and verify a keyspace (cp)", a.saveCommand(), a.restoreCommand(), a.verifyCommand())
}

func (a *app) saveCommand() *cobra.Command {
	var overwrite bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "save KEYSPACE FILE", Short: "save a keyspace while it is in use", Args: takes(2, 2),
		Long: `save writes what a cp keyspace holds into a file: each group as it is at one revision, which
is at least that of every write acknowledged before. Groups are not aligned with each other.
The file appears whole, verified and synced, or not at all.`,
		Example: `  kvctl snapshot save orders orders.snap
  kvctl snapshot save orders "orders-$(date +%F).snap" -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			if err := store.CheckName("keyspace", args[0]); err != nil {
				return err
			}
			if _, err := os.Stat(args[1]); err == nil && !overwrite {
				return &store.Error{Code: store.AlreadyExists, Msg: args[1] + " is there already", Try: "another name, or --overwrite"}
			}
			return a.with(func(c localcluster.Cluster) error { return a.save(ctx, c, args[0], args[1]) })
		},
	}
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "replace the file if it is there")
	cmd.Flags().DurationVar(&timeout, "timeout", snapshotPatience, "how long it may take")
	cmd.ValidArgsFunction = a.keyspaceFirst("")
	return cmd
}

func (a *app) save(ctx context.Context, c localcluster.Cluster, keyspace, path string) error {
	k, _, err := cpKeyspace(ctx, c, keyspace)
	if err != nil {
		return err
	}
	part := path + ".part"
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return cannot("written", err)
	}
	saved, err := a.fill(ctx, c, k, f)
	if err = errors.Join(err, f.Close()); err == nil {
		err = publish(part, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return a.show(describeFile(path, saved), func() {
		fmt.Fprintf(a.out, "%s %s: keyspace %s, %s\n", a.green("✓"), path, keyspace, contents(saved))
	})
}

// fill writes every group, and reads the whole back.
func (a *app) fill(ctx context.Context, c localcluster.Cluster, k shard.Keyspace, f *os.File) (backup.File, error) {
	progress := a.ticking()
	for n := range k.Groups {
		if err := saveGroup(ctx, c, k, n, f, progress); err != nil {
			return backup.File{}, err
		}
	}
	if err := errors.Join(backup.End(f, int(k.Groups)), f.Sync()); err != nil {
		return backup.File{}, cannot("written", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return backup.File{}, cannot("read back", err)
	}
	return inspect(f.Name(), f)
}

// saveGroup asks the group's members, one after the other, until one has sent all.
func saveGroup(ctx context.Context, c localcluster.Cluster, k shard.Keyspace, n uint32, f *os.File, progress func(string, int64)) error {
	begin, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return cannot("written", err)
	}
	var last error = &store.Error{Code: store.Unavailable, Keyspace: k.Name, Msg: fmt.Sprintf("group %d has no members", n)}
	for _, node := range k.Members(n) {
		admin, err := c.Admin(node)
		if err != nil {
			return err
		}
		last = receive(ctx, admin, &kvpb.SaveSnapshotRequest{KeyspaceId: k.ID, Shard: n}, f, func(bytes int64) {
			progress(fmt.Sprintf("group %d of %d, from %s", n+1, k.Groups, node), begin+bytes)
		})
		if last == nil || ctx.Err() != nil || errors.Is(last, errDisk) {
			return last
		}
		if _, err := f.Seek(begin, io.SeekStart); err != nil {
			return cannot("written", err)
		}
		if err := f.Truncate(begin); err != nil {
			return cannot("written", err)
		}
	}
	return last
}

// errDisk marks what another node would not do better.
var errDisk = errors.New("the file")

func receive(ctx context.Context, admin kvpb.AdminClient, r *kvpb.SaveSnapshotRequest, f *os.File, progress func(int64)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := admin.SaveSnapshot(ctx, r)
	if err != nil {
		return kvpb.FromStatus(err)
	}
	n := int64(0)
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return notDone(kvpb.FromStatus(err))
		}
		if _, err := f.Write(chunk.GetData()); err != nil {
			return errors.Join(errDisk, cannot("written", err))
		}
		n += int64(len(chunk.GetData()))
		progress(n)
	}
}

// notDone says of a read that broke off that it changed nothing.
func notDone(err error) error {
	e := *store.AsError(err)
	if e.Code == store.Unknown {
		e.Code = store.Unavailable
	}
	return &e
}

// publish gives the file its name, for good.
func publish(part, path string) error {
	if err := os.Rename(part, path); err != nil {
		return cannot("written", err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return cannot("written", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return cannot("written", err)
	}
	return nil
}

// cannot is an error of the file system here, not of the cluster.
func cannot(what string, err error) error {
	return &store.Error{Code: store.Denied, Msg: "the file cannot be " + what, Cause: err, Try: "another FILE; the disk and its permissions"}
}

// cpKeyspace is the keyspace of that name, and the cluster as a node knows it.
func cpKeyspace(ctx context.Context, c localcluster.Cluster, name string) (shard.Keyspace, shard.Topology, error) {
	cl, err := c.Client(ctx, "")
	if err != nil {
		return shard.Keyspace{}, shard.Topology{}, err
	}
	defer cl.Close()
	mode, err := cl.Keyspace(name).Mode(ctx)
	if err != nil {
		return shard.Keyspace{}, shard.Topology{}, err
	}
	if mode != store.CP {
		return shard.Keyspace{}, shard.Topology{}, &store.Error{Code: store.Unsupported, Keyspace: name, Msg: "this release saves and restores cp keyspaces only, " + name + " is ap", Try: "kvctl scan " + name + " -o json"}
	}
	t, err := cl.Topology(ctx)
	if err != nil {
		return shard.Keyspace{}, t, err
	}
	k, ok := t.Keyspace(name)
	if !ok {
		return k, t, &store.Error{Code: store.Unavailable, Keyspace: name, Msg: "the node that was asked has not heard of the keyspace yet", Try: "again in a moment"}
	}
	return k, t, nil
}

func (a *app) verifyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "verify FILE", Short: "read a saved file to its end, without a cluster", Args: takes(1, 1),
		Example: `  kvctl snapshot verify orders.snap
  kvctl snapshot verify orders.snap -o json`,
		RunE: func(_ *cobra.Command, args []string) error {
			saved, err := inspectFile(args[0])
			if err != nil {
				return err
			}
			return a.show(describeFile(args[0], saved), func() { a.fileTable(args[0], saved) })
		},
	}
}

func inspectFile(path string) (backup.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return backup.File{}, &store.Error{Code: store.Invalid, Msg: "the file cannot be read", Cause: err, Try: "a file that kvctl snapshot save has written"}
	}
	defer f.Close()
	return inspect(path, f)
}

func inspect(path string, in io.Reader) (backup.File, error) {
	saved, err := backup.Inspect(bufio.NewReader(in))
	if errors.Is(err, backup.ErrDamaged) {
		return saved, &store.Error{Code: store.Corrupt, Msg: path + " is damaged", Cause: err, Try: "another file; this one is not restored, not even in part"}
	}
	if err != nil {
		return saved, cannot("read", err)
	}
	return saved, nil
}

func describeFile(path string, f backup.File) snapshotJSON {
	out := snapshotJSON{Outcome: store.OK, File: path, Cluster: f.Cluster, Keyspace: f.Keyspace, Keys: f.Keys(), Groups: []savedGroup{}}
	for n, g := range f.Groups {
		out.Bytes += g.Bytes
		out.Groups = append(out.Groups, savedGroup{n, g.Keys, g.Leases, g.Bytes, g.Revision, g.Epoch, g.Node, g.Saved.UTC()})
	}
	return out
}

func (a *app) fileTable(path string, f backup.File) {
	fmt.Fprintf(a.out, "%s %s is sound: keyspace %s of cluster %.8s, %s\n", a.green("✓"), path, f.Keyspace, f.Cluster, contents(f))
	rows := [][]string{{"GROUP", "KEYS", "LEASES", "BYTES", "REVISION", "SAVED", "BY"}}
	for n, g := range f.Groups {
		rows = append(rows, []string{
			strconv.Itoa(n), strconv.FormatUint(g.Keys, 10), strconv.FormatUint(g.Leases, 10), strconv.FormatInt(g.Bytes, 10),
			strconv.FormatUint(g.Revision, 10), g.Saved.UTC().Format(time.RFC3339), g.Node,
		})
	}
	a.table(rows)
}

// contents says how much is in it.
func contents(f backup.File) string {
	return fmt.Sprintf("%s in %s", count(int(f.Keys()), "key"), count(len(f.Groups), "group"))
}

// ticking returns what says, once a second, how far something has come.
func (a *app) ticking() func(what string, bytes int64) {
	next := time.Now().Add(time.Second)
	return func(what string, bytes int64) {
		if now := time.Now(); now.After(next) {
			next = now.Add(time.Second)
			a.progress("%s: %.1f MiB", what, float64(bytes)/(1<<20))
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/client"
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
			return a.client(ctx, "", func(c *client.Client) error { return a.save(ctx, c.Keyspace(args[0]), args[1]) })
		},
	}
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "replace the file if it is there")
	cmd.Flags().DurationVar(&timeout, "timeout", snapshotPatience, "how long it may take")
	cmd.ValidArgsFunction = a.keyspaceFirst("")
	return cmd
}

func (a *app) save(ctx context.Context, k *client.Keyspace, path string) error {
	part := path + ".part"
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return cannot("written", err)
	}
	saved, err := fill(ctx, k, a.ticking(f))
	if err = errors.Join(err, f.Close()); err == nil {
		err = publish(part, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return a.show(describeFile(path, saved), func() {
		fmt.Fprintf(a.out, "%s %s: keyspace %s, %s\n", a.green("✓"), path, k.Name(), contents(saved))
	})
}

// fill writes the file, and reads the whole back.
func fill(ctx context.Context, k *client.Keyspace, f *ticking) (client.Snapshot, error) {
	if err := k.Save(ctx, f); err != nil {
		return client.Snapshot{}, err
	}
	if err := f.Sync(); err != nil {
		return client.Snapshot{}, cannot("written", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return client.Snapshot{}, cannot("read back", err)
	}
	return client.VerifySnapshot(f)
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

func (a *app) verifyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "verify FILE", Short: "read a saved file to its end, without a cluster", Args: takes(1, 1),
		Example: `  kvctl snapshot verify orders.snap
  kvctl snapshot verify orders.snap -o json`,
		RunE: func(_ *cobra.Command, args []string) error {
			f, saved, err := openSnapshot(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			return a.show(describeFile(args[0], saved), func() { a.fileTable(args[0], saved) })
		},
	}
}

// openSnapshot opens a file that save has written, and verifies it.
func openSnapshot(path string) (*os.File, client.Snapshot, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, client.Snapshot{}, &store.Error{Code: store.Invalid, Msg: "the file cannot be read", Cause: err, Try: "a file that kvctl snapshot save has written"}
	}
	saved, err := client.VerifySnapshot(f)
	if err != nil {
		return nil, saved, errors.Join(err, f.Close())
	}
	return f, saved, nil
}

func describeFile(path string, f client.Snapshot) snapshotJSON {
	out := snapshotJSON{Outcome: store.OK, File: path, Cluster: f.Cluster, Keyspace: f.Keyspace, Keys: f.Keys(), Groups: []savedGroup{}}
	for n, g := range f.Groups {
		out.Bytes += g.Bytes
		out.Groups = append(out.Groups, savedGroup{n, g.Keys, g.Leases, g.Bytes, g.Revision, g.Epoch, g.Node, g.Saved.UTC()})
	}
	return out
}

func (a *app) fileTable(path string, f client.Snapshot) {
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
func contents(f client.Snapshot) string {
	return fmt.Sprintf("%s in %s", count(int(f.Keys()), "key"), count(len(f.Groups), "group"))
}

// ticking is a file that says, once a second, how much of it has moved.
type ticking struct {
	*os.File
	app   *app
	bytes int64
	next  time.Time
}

func (a *app) ticking(f *os.File) *ticking {
	return &ticking{File: f, app: a, next: time.Now().Add(time.Second)}
}

func (t *ticking) Read(b []byte) (int, error) {
	n, err := t.File.Read(b)
	t.moved(n)
	return n, err
}

func (t *ticking) Write(b []byte) (int, error) {
	n, err := t.File.Write(b)
	t.moved(n)
	return n, err
}

func (t *ticking) moved(n int) {
	t.bytes += int64(n)
	if now := time.Now(); now.After(t.next) {
		t.next = now.Add(time.Second)
		t.app.progress("%.1f MiB", float64(t.bytes)/(1<<20))
	}
}

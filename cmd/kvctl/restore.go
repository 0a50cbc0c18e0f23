package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// restoring is a restore, as the command line describes it.
type restoring struct {
	app           *app
	path          string
	keyspace      string // "": the one that was saved
	anywhere, yes bool
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
	var timeout time.Duration
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
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			r.path = args[0]
			if len(args) == 2 {
				r.keyspace = args[1]
				if err := store.CheckName("keyspace", r.keyspace); err != nil {
					return err
				}
			}
			return r.run(ctx)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&r.anywhere, "from-anywhere", false, "also if it was saved from another cluster, or another keyspace")
	f.BoolVar(&r.yes, "yes", false, "do not ask; needed where there is no terminal")
	f.DurationVar(&timeout, "timeout", snapshotPatience, "how long it may take")
	return cmd
}

func (r *restoring) run(ctx context.Context) error {
	f, saved, err := openSnapshot(r.path)
	if err != nil {
		return err
	}
	defer f.Close()
	a, at := r.app, saved.Groups[0].Saved.Format(time.RFC3339)
	name := cmp.Or(r.keyspace, saved.Keyspace)
	if !r.yes && !a.confirm(fmt.Sprintf("replace everything in keyspace %s by %s of %s?", name, contents(saved), at)) {
		return &store.Error{Code: store.Denied, Msg: "nothing was changed", Try: "--yes"}
	}
	var opts []client.Option
	if r.anywhere {
		opts = append(opts, client.FromAnywhere())
	}
	return a.client(ctx, "", func(c *client.Client) error {
		done, err := c.Keyspace(name).Restore(ctx, a.ticking(f), opts...)
		if err != nil {
			return err
		}
		out := restoredJSON{Outcome: store.OK, File: r.path, Keyspace: name, Keys: done.Keys, Groups: []restoredGroup{}}
		for _, g := range done.Groups {
			out.Groups = append(out.Groups, restoredGroup{g.Group.String(), g.Keys, g.Revision, g.Epoch})
		}
		return a.show(out, func() {
			fmt.Fprintf(a.out, "%s keyspace %s holds what was saved at %s: %s\n", a.green("✓"), name, at, contents(saved))
			a.progress("(a new epoch: tokens, watches and sessions of before have ended)")
		})
	})
}

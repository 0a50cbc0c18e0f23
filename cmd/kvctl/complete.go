package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/store"
)

// completion is how long a shell waits for the words that may follow.
const completion = time.Second

// complete offers words for a flag's value.
func (a *app) complete(cmd *cobra.Command, flag string, words func(context.Context) []string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return words(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic("kvctl: " + err.Error()) // a flag that the command does not have
	}
}

// keyspaceFirst offers the cluster's keyspaces for the first argument, each with the
// suffix.
func (a *app) keyspaceFirst(suffix string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		directive := cobra.ShellCompDirectiveNoFileComp
		if suffix != "" {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.keyspaceNames(cmd.Context(), suffix), directive
	}
}

// keyspaceNames asks the cluster, and offers nothing if that does not answer.
func (a *app) keyspaceNames(ctx context.Context, suffix string) (names []string) {
	ctx, cancel := context.WithTimeout(ctx, completion)
	defer cancel()
	_ = a.with(func(c localcluster.Cluster) error {
		t, err := topology(ctx, c)
		for _, k := range t.Keyspaces {
			if k.ID != store.CatalogKeyspace {
				names = append(names, k.Name+suffix)
			}
		}
		return err
	}) // a shell shows no errors
	return names
}

func (a *app) nodeNames(context.Context) (names []string) {
	_ = a.with(func(c localcluster.Cluster) error {
		names = c.Nodes()
		return nil
	}) // a shell shows no errors
	return names
}

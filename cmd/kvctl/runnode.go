package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/internal/nodeflags"
)

// runNode is the hidden command that is kvnode, for where there is no kvnode beside
// kvctl.
const runNode = "run-node"

func (a *app) runNodeCommand() *cobra.Command {
	return &cobra.Command{
		Use: runNode, Hidden: true, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return nodeflags.Run(cmd.Context(), slices.Clone(args), a.getenv, a.out, a.err)
		},
	}
}

package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) useCommand() *cobra.Command {
	return &cobra.Command{
		Use: "use CLUSTER", Short: "make a cluster the current one", Args: takes(1, 1),
		Example: `  kvctl use test`,
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := a.registry()
			if err != nil {
				return err
			}
			if err := r.Use(args[0]); err != nil {
				return err
			}
			return a.show(map[string]string{"current": args[0]}, func() { fmt.Fprintf(a.out, "the current cluster is %s\n", args[0]) })
		},
	}
}

package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/client"
)

func (a *app) deleteCommand() *cobra.Command {
	o := &operation{door: door{app: a}}
	cmd := o.command(&cobra.Command{
		Use: "delete KEYSPACE/KEY", Short: "remove a key", Args: takes(1, 1),
		Example: `  kvctl delete orders/42
  kvctl delete orders/42 --if-revision 17`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.conditional = cmd.Flags().Changed("if-revision")
			return o.write(cmd.Context(), args[0], func(ctx context.Context, k *client.Keyspace, opts []client.Option) (client.Result, error) {
				return k.Delete(ctx, o.key, opts...)
			}, o.wrote)
		},
	})
	o.writeFlags(cmd)
	o.apFlags(cmd)
	return cmd
}

package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/client"
)

func (a *app) casCommand() *cobra.Command {
	o := &operation{door: door{app: a}}
	cmd := o.command(&cobra.Command{
		Use: "cas KEYSPACE/KEY EXPECT VALUE", Short: "set a key if it holds the expected value (cp)", Args: takes(3, 3),
		Example: `  kvctl cas orders/42 open paid
  kvctl cas orders/42 open paid -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.write(cmd.Context(), args[0], func(ctx context.Context, k *client.Keyspace, opts []client.Option) (client.Result, error) {
				return k.CompareAndSwap(ctx, o.key, []byte(args[1]), []byte(args[2]), opts...)
			}, o.wrote)
		},
	})
	cmd.Flags().StringVar(&o.fence, "fence", "", "only while this lock or leadership is held: KEY:REVISION, as KV_FENCE has it")
	return cmd
}

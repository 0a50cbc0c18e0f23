package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

func (a *app) incrCommand() *cobra.Command {
	o := &operation{door: door{app: a}}
	cmd := o.command(&cobra.Command{
		Use: "incr KEYSPACE/KEY [DELTA]", Short: "add to a number, once, however often it is sent (cp, and ap counters)", Args: takes(1, 2),
		Example: `  kvctl incr orders/next-id
  kvctl incr accounts/alice 30
  kvctl incr accounts/alice -- -30
  kvctl incr likes/post-17 --w majority`,
		RunE: func(cmd *cobra.Command, args []string) error {
			delta := int64(1)
			if len(args) == 2 {
				var err error
				if delta, err = strconv.ParseInt(args[1], 10, 64); err != nil {
					return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("%.40q is not a whole number of 64 bits", args[1]), Try: cmd.UseLine()}
				}
			}
			o.conditional = cmd.Flags().Changed("if-revision")
			return o.incr(cmd.Context(), args[0], delta)
		},
	})
	o.writeFlags(cmd)
	o.wFlag(cmd)
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &store.Error{Code: store.Invalid, Msg: err.Error(), Try: cmd.CommandPath() + " KEYSPACE/KEY -- -30 for what is below zero; " + cmd.CommandPath() + " --help"}
	})
	return cmd
}

func (o *operation) incr(ctx context.Context, place string, delta int64) error {
	return o.write(ctx, place, func(ctx context.Context, k *client.Keyspace, opts []client.Option) (client.Result, error) {
		sum, r, err := k.Increment(ctx, o.key, delta, opts...)
		if err == nil {
			r.Value = strconv.AppendInt(nil, sum, 10)
		}
		return r, noNumber(err, o.name())
	}, func(r *reply) { fmt.Fprintln(o.app.out, *r.Value) })
}

// noNumber says what to do about a value that cannot be added to.
func noNumber(err error, where string) error {
	var e *store.Error
	if !errors.As(err, &e) || e.Code != store.Invalid || e.Try != "" {
		return err
	}
	out := *e
	out.Try = "kvctl get " + where + "; what is added to must be a whole number of 64 bits, and so must the sum"
	return &out
}

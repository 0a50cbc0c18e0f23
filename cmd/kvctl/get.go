package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/client"
)

func (a *app) getCommand() *cobra.Command {
	o := &operation{door: door{app: a}}
	cmd := o.command(&cobra.Command{
		Use: "get KEYSPACE/KEY…", Short: "read a key, or several at the same time", Args: takes(1, client.MaxBatch),
		Long: `Read a key, or several of one keyspace at the same time. Each of several is a read of its
own: there is no instant at which all of them were so, and during a partition some may be
answered and others not. Then a line has the key and what it holds, a tab between them.`,
		Example: `  kvctl get orders/42
  kvctl get orders/42 orders/43 orders/44
  kvctl get orders/42 --level bounded:2s --explain
  kvctl get orders/42 --level eventual --at n1 -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return o.getMany(cmd.Context(), args)
			}
			return o.get(cmd.Context(), args[0])
		},
	})
	a.levelFlag(cmd, &o.level)
	return cmd
}

func (o *operation) get(ctx context.Context, place string) error {
	if err := o.place(place); err != nil {
		return err
	}
	level, err := atLevel(o.level)
	if err != nil {
		return err
	}
	found := false
	err = o.call(ctx, func(k *client.Keyspace, opts []client.Option) (*reply, []byte, error) {
		item, err := k.Get(ctx, o.key, append(opts, level...)...)
		found = item.Found
		if err == nil {
			o.policy, err = k.Policy(ctx)
		}
		return readReply(item, err), item.Context, err
	}, o.found)
	if err == nil && !found {
		return errAbsent
	}
	return err
}

// found prints what a key holds, one value a line.
func (o *operation) found(r *reply) {
	a := o.app
	switch {
	case !*r.Found:
		fmt.Fprintf(a.err, "%s is absent\ntry: %s\n", o.name(), o.filling())
	case o.policy.Fields():
		o.foundFields(r)
	case r.Value != nil:
		fmt.Fprintln(a.out, *r.Value)
	case r.ValueBase64 != nil:
		fmt.Fprintln(a.out, *r.ValueBase64)
		a.progress("(base64: the value is not UTF-8)")
	case len(r.ValuesBase64) > 0:
		fmt.Fprintln(a.out, strings.Join(r.ValuesBase64, "\n"))
		a.progress("(%d concurrent values, in base64: one is not UTF-8)", len(r.Values))
	default:
		fmt.Fprintln(a.out, strings.Join(r.Values, "\n"))
		a.progress("(%d concurrent values; a put with --context %s replaces them)", len(r.Values), r.Context)
	}
	for i, left := range r.RemainingMS {
		if left > 0 {
			a.progress("(value %d of %d goes in %s unless it is put again)", i+1, len(r.Values), rough(time.Duration(left*float64(time.Millisecond))))
		}
	}
}

package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

func (a *app) putCommand() *cobra.Command {
	o := &operation{door: door{app: a}}
	cmd := o.command(&cobra.Command{
		Use: "put KEYSPACE/KEY VALUE | put KEYSPACE/KEY --file FILE", Short: "set a key", Args: takes(1, 2),
		Example: `  kvctl put orders/42 paid
  kvctl put pictures/cat --file cat.png
  kvctl put orders/42 paid --if-revision 17
  kvctl put config/alive yes --ttl 10s`,
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := o.value(args[1:])
			if err != nil {
				return err
			}
			o.conditional, o.expires = cmd.Flags().Changed("if-revision"), cmd.Flags().Changed("ttl")
			return o.write(cmd.Context(), args[0], func(ctx context.Context, k *client.Keyspace, opts []client.Option) (client.Result, error) {
				return k.Put(ctx, o.key, value, opts...)
			}, o.put)
		},
	})
	o.writeFlags(cmd)
	o.apFlags(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.valueFile, "file", "f", "", "the value is what this file holds, - for standard input")
	f.BoolVar(&o.blind, "blind", false, "ap, siblings: stand beside whatever the key holds")
	f.BoolVar(&o.create, "create", false, "cp: only if the key is absent")
	f.DurationVar(&o.ttl, "ttl", 0, "the value goes unless the key is put again within this time")
	f.Uint64Var(&o.lease, "lease", 0, "cp: the key goes when this lease ends")
	return cmd
}

// value is the value to put. Of a file no more is read than shows that it is too large.
func (o *operation) value(args []string) ([]byte, error) {
	if (o.valueFile == "") == (len(args) == 0) {
		return nil, unclear("the value is either an argument or --file", "kvctl put KEYSPACE/KEY VALUE")
	}
	if len(args) > 0 {
		return []byte(args[0]), nil
	}
	in := io.NopCloser(o.app.in)
	if o.valueFile != "-" {
		f, err := os.Open(o.valueFile)
		if err != nil {
			return nil, &store.Error{Code: store.Invalid, Msg: "the value cannot be read", Cause: err, Try: "--file with a file that is there, or -"}
		}
		in = f
	}
	defer in.Close()
	value, err := io.ReadAll(io.LimitReader(in, store.MaxValue+1))
	if err != nil {
		return nil, &store.Error{Code: store.Invalid, Msg: "the value cannot be read", Cause: err, Try: "another --file"}
	}
	return value, store.CheckValue(value)
}

func (o *operation) put(r *reply) {
	text := done(r)
	switch {
	case o.ttl > 0 && r.Lease == 0:
		text += fmt.Sprintf(", gone in %v unless it is put again", o.ttl)
	case o.ttl > 0:
		text += fmt.Sprintf(", gone in %v unless it is put again (lease %d)", o.ttl, r.Lease)
	case o.lease > 0:
		text += fmt.Sprintf(", gone when lease %d ends", o.lease)
	}
	fmt.Fprintln(o.app.out, text)
}

// write is what all writes of one key have in common.
func (o *operation) write(
	ctx context.Context, place string, do func(context.Context, *client.Keyspace, []client.Option) (client.Result, error), table func(*reply),
) error {
	if err := o.place(place); err != nil {
		return err
	}
	if _, err := addFence(nil, o.fence); err != nil {
		return err
	}
	return o.call(ctx, func(k *client.Keyspace, opts []client.Option) (*reply, []byte, error) {
		more, err := o.writeOptions(k)
		if err != nil {
			return nil, nil, err
		}
		result, err := do(ctx, k, append(opts, more...))
		return writeReply(result, err), result.Context, err
	}, table)
}

// wrote prints what a write did.
func (o *operation) wrote(r *reply) { fmt.Fprintln(o.app.out, done(r)) }

// done says what a write did.
func done(r *reply) string {
	if r.Revision == nil {
		return fmt.Sprintf("ok, held by %d of the %d replicas asked for", *r.Acked, *r.Wanted)
	}
	if *r.Replaced == 0 {
		return fmt.Sprintf("ok, revision %d", *r.Revision)
	}
	return fmt.Sprintf("ok, revision %d, replaced %d", *r.Revision, *r.Replaced)
}

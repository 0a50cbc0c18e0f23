package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

func (a *app) setCommand() *cobra.Command {
	return group("set", "members of a set (ap, keyspaces with --conflict set)",
		a.fieldCommand(fieldCommand{
			use: "add KEYSPACE/KEY MEMBER", short: "add a member", args: 2, example: "  kvctl set add tags/house-4 blue",
			do: func(ctx context.Context, k *client.Keyspace, key string, args []string, opts ...client.Option) (client.Result, error) {
				return k.Add(ctx, key, args[0], opts...)
			},
		}),
		a.fieldCommand(fieldCommand{
			use: "remove KEYSPACE/KEY MEMBER", short: "remove a member; an add made elsewhere meanwhile stays", args: 2,
			example: "  kvctl set remove tags/house-4 blue", removes: true,
			do: func(ctx context.Context, k *client.Keyspace, key string, args []string, opts ...client.Option) (client.Result, error) {
				return k.Remove(ctx, key, args[0], opts...)
			},
		}),
		a.showFieldsCommand("the members, one a line, in byte order", "  kvctl set show tags/house-4 --level quorum"))
}

func (a *app) mapCommand() *cobra.Command {
	return group("map", "fields of a map (ap, keyspaces with --conflict map)",
		a.fieldCommand(fieldCommand{
			use: "put KEYSPACE/KEY FIELD VALUE", short: "set a field", args: 3, example: "  kvctl map put profiles/u1 town London",
			do: func(ctx context.Context, k *client.Keyspace, key string, args []string, opts ...client.Option) (client.Result, error) {
				return k.PutField(ctx, key, args[0], []byte(args[1]), opts...)
			},
		}),
		a.fieldCommand(fieldCommand{
			use: "remove KEYSPACE/KEY FIELD", short: "remove a field; a put of it made elsewhere meanwhile stays", args: 2,
			example: "  kvctl map remove profiles/u1 town", removes: true,
			do: func(ctx context.Context, k *client.Keyspace, key string, args []string, opts ...client.Option) (client.Result, error) {
				return k.RemoveField(ctx, key, args[0], opts...)
			},
		}),
		a.showFieldsCommand("the fields, one a line with a tab before the value, in byte order", "  kvctl map show profiles/u1 -o json"))
}

// fieldCommand is a write of a member or a field.
type fieldCommand struct {
	use, short, example string
	args                int // KEYSPACE/KEY included
	removes             bool
	do                  func(ctx context.Context, k *client.Keyspace, key string, args []string, opts ...client.Option) (client.Result, error)
}

// fieldCommand has no --context: what it writes follows what the session has seen, and
// what its replica has.
func (a *app) fieldCommand(c fieldCommand) *cobra.Command {
	o := &operation{door: door{app: a}}
	cmd := o.command(&cobra.Command{
		Use: c.use, Short: c.short, Args: takes(c.args, c.args), Example: c.example,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.place(args[0]); err != nil {
				return err
			}
			w, err := store.ParseW(o.w)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			return o.call(ctx, func(k *client.Keyspace, opts []client.Option) (*reply, []byte, error) {
				result, err := c.do(ctx, k, o.key, args[1:], append(opts, client.WithW(w))...)
				r := writeReply(result, err)
				if err == nil {
					r.Found = &result.Found
				}
				return r, nil, err
			}, func(r *reply) { o.wroteField(r, c.removes) })
		},
	})
	o.wFlag(cmd)
	return cmd
}

func (o *operation) wroteField(r *reply, removes bool) {
	text := done(r)
	switch {
	case removes && !*r.Found:
		text += "; it was not there"
	case !removes && *r.Found:
		text += "; it was there before"
	}
	fmt.Fprintln(o.app.out, text)
}

func (a *app) showFieldsCommand(short, example string) *cobra.Command {
	cmd := a.getCommand()
	cmd.Use, cmd.Short, cmd.Example = "show KEYSPACE/KEY", short, example
	return cmd
}

// filling is a command that puts something under the key.
func (o *operation) filling() string {
	switch o.policy {
	case store.Counter:
		return "kvctl incr " + o.name()
	case store.Set:
		return "kvctl set add " + o.name() + " MEMBER"
	case store.Map:
		return "kvctl map put " + o.name() + " FIELD VALUE"
	}
	return "kvctl put " + o.name() + " VALUE"
}

// foundFields prints members, or fields with their values, one a line.
func (o *operation) foundFields(r *reply) {
	for i, v := range r.Values {
		line := shown([]byte(v))
		if i < len(r.Fields) {
			line = shown([]byte(r.Fields[i])) + "\t" + line
		}
		fmt.Fprintln(o.app.out, line)
	}
}

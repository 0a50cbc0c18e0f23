package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// conflicts lists, or resolves, what was written concurrently.
type conflicts struct {
	operation
	prefix, field string
	limit         int
}

// conflictLine is a key, or a field of a map, with more than one concurrent value.
type conflictLine struct {
	Key   string `json:"key"`
	Field string `json:"field,omitempty"`
	held         // all values, in dot order; of lww and map, value is the one that reads show
}

// conflictsEnd is the last line.
type conflictsEnd struct {
	Outcome store.Outcome `json:"outcome"`
	Count   int           `json:"count"`
	Keys    int           `json:"keys"` // looked at
	Error   *errorJSON    `json:"error,omitempty"`
}

func (a *app) conflictsCommand() *cobra.Command {
	c := &conflicts{operation: operation{door: door{app: a}}}
	cmd := &cobra.Command{
		Use: "conflicts KEYSPACE", Short: "list what was written concurrently (ap), or resolve it", Args: takes(1, 1),
		Long: `conflicts lists the keys of an ap keyspace that hold more than one concurrent value: on
siblings what reads show, on lww also what they hide, on map the fields. A counter and a
set have none: nothing that was written concurrently excludes the rest.`,
		Example: `  kvctl conflicts carts --prefix user-
  kvctl conflicts resolve carts/user-7 "milk, eggs"`,
		RunE: func(cmd *cobra.Command, args []string) error { return c.list(cmd.Context(), args[0]) },
	}
	c.flags(cmd, patience, "how long to try each page")
	cmd.Flags().StringVar(&c.prefix, "prefix", "", "only keys that begin so")
	cmd.Flags().IntVar(&c.limit, "limit", 0, "end after so many conflicts (default: all)")
	a.levelFlag(cmd, &c.level)
	cmd.ValidArgsFunction = a.keyspaceFirst("")
	cmd.AddCommand(a.resolveCommand())
	return cmd
}

// has refuses a keyspace in which nothing conflicts.
func (c *conflicts) has(ctx context.Context, k *client.Keyspace) error {
	mode, err := k.Mode(ctx)
	if err != nil {
		return err
	}
	if c.policy, err = k.Policy(ctx); err != nil {
		return err
	}
	if mode == store.CP {
		return &store.Error{Code: store.Unsupported, Keyspace: k.Name(), Msg: "a cp keyspace has no conflicts: it orders all writes of a key", Try: "kvctl get, or kvctl scan"}
	}
	if c.policy == store.Counter || c.policy == store.Set {
		return &store.Error{Code: store.Unsupported, Keyspace: k.Name(), Msg: "a " + c.policy.String() + " has no conflicts: all that was written concurrently counts", Try: "kvctl get, or kvctl scan"}
	}
	return nil
}

func (c *conflicts) list(ctx context.Context, place string) error {
	if c.limit < 0 {
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("--limit %d must not be below 0", c.limit), Try: "--limit 100"}
	}
	keyspace, key, err := split(place)
	if err == nil && key != "" {
		err = &store.Error{Code: store.Invalid, Msg: place + " names a key", Try: "kvctl conflicts " + keyspace + " --prefix " + key}
	}
	level, levelErr := atLevel(c.level)
	if err = errors.Join(err, levelErr, c.checkTimeout(false)); err != nil {
		return err
	}
	return c.enter(ctx, keyspace, func(cl *client.Client, k *client.Keyspace, opts []client.Option) error {
		end := &conflictsEnd{}
		err := c.has(ctx, k)
		if err == nil {
			err = c.groups(ctx, cl, k, append(opts, level...), end)
		}
		c.settle()
		return c.end(end, err)
	})
}

// groups goes through the keyspace, a group at a time.
func (c *conflicts) groups(ctx context.Context, cl *client.Client, k *client.Keyspace, opts []client.Option, end *conflictsEnd) error {
	t, err := cl.Topology(ctx)
	if err != nil {
		return err
	}
	space, _ := t.Keyspace(k.Name())
	for shard := range max(1, space.Groups) {
		q := store.Query{Prefix: c.prefix, Limit: scanPage, Siblings: true}
		in := append(opts[:len(opts):len(opts)], client.InGroup(shard))
		for first := true; first || q.Page != ""; first = false {
			page, err := k.Read(ctx, q, in...)
			if err != nil {
				return err
			}
			for _, item := range page.Items {
				end.Keys++
				for _, line := range conflicting(item, c.policy) {
					if c.limit > 0 && end.Count == c.limit {
						return nil
					}
					end.Count++
					c.show(line)
				}
			}
			q.Page = page.Next
		}
	}
	return nil
}

// conflicting finds where an item has more than one concurrent value.
func conflicting(item store.Item, policy store.Policy) (lines []conflictLine) {
	fields := []string{""}
	if policy == store.Map {
		fields = item.Fields
	}
	for i, field := range fields {
		var values [][]byte
		for _, s := range item.Siblings {
			if s.Field == field {
				values = append(values, s.Value)
			}
		}
		if len(values) < 2 {
			continue
		}
		line := conflictLine{Key: item.Key, Field: field}
		line.values(values)
		if policy != store.Siblings && i < len(item.Values) {
			line.value(item.Values[i])
		}
		lines = append(lines, line)
	}
	return lines
}

func (c *conflicts) show(line conflictLine) {
	a := c.app
	if a.output == "json" {
		a.json(line)
		return
	}
	text := shown([]byte(line.Key))
	if line.Field != "" {
		text += "\t" + shown([]byte(line.Field))
	}
	winner, marked := "", false
	if line.held.Value != nil {
		winner = *line.held.Value
	}
	for _, v := range line.Values {
		text += "\t" + shown([]byte(v))
		if line.held.Value != nil && v == winner && !marked {
			text, marked = text+" (shown)", true
		}
	}
	fmt.Fprintln(a.out, text)
}

func (c *conflicts) end(end *conflictsEnd, err error) error {
	a := c.app
	end.Outcome, end.Error = outcomeOf(err), describe(err)
	switch {
	case a.output == "json":
		a.json(end)
	case err != nil:
		a.report(err)
	default:
		a.progress("(%s in %s)", count(end.Count, "conflict"), count(end.Keys, "key"))
	}
	if err != nil {
		return errors.Join(errReported, err)
	}
	return nil
}

func (a *app) resolveCommand() *cobra.Command {
	c := &conflicts{operation: operation{door: door{app: a}}}
	cmd := c.command(&cobra.Command{
		Use: "resolve KEYSPACE/KEY VALUE", Short: "put one value in place of all that a read shows or hides", Args: takes(2, 2),
		Long: `resolve reads the key, and puts the value with the context of that read: it takes the
place of exactly what was there, also of what lww hides. What is written concurrently
stays, and is the next conflict. Where there is one value only, nothing is written.`,
		Example: `  kvctl conflicts resolve carts/user-7 "milk, eggs"
  kvctl conflicts resolve profiles/u1 --field town London`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.resolve(cmd.Context(), args[0], []byte(args[1]))
		},
	})
	c.wFlag(cmd)
	a.levelFlag(cmd, &c.level)
	cmd.Flags().StringVar(&c.field, "field", "", "of a map: the field to resolve")
	return cmd
}

func (c *conflicts) resolve(ctx context.Context, place string, value []byte) error {
	if err := c.place(place); err != nil {
		return err
	}
	level, err := atLevel(c.level)
	if err != nil {
		return err
	}
	w, err := store.ParseW(c.w)
	if err != nil {
		return err
	}
	written := false
	return c.call(ctx, func(k *client.Keyspace, opts []client.Option) (*reply, []byte, error) {
		if err := c.has(ctx, k); err != nil {
			return writeReply(client.Result{}, err), nil, err
		}
		page, err := k.Read(ctx, store.Query{Key: c.key, Siblings: true}, append(opts[:len(opts):len(opts)], level...)...)
		if err == nil {
			err = c.resolvable(page)
		}
		if err != nil {
			return writeReply(client.Result{}, err), nil, err
		}
		if alone(page, c.field) {
			found := true
			return &reply{Outcome: store.OK, Found: &found}, nil, nil
		}
		written = true
		cmd := store.Command{Op: store.Put, Key: c.key, Field: c.field, Value: value, Context: page.Context, W: w}
		r, err := k.Write(ctx, cmd, opts...)
		result := client.Result{Found: r.Found, Context: r.Context, Acked: r.Acked, Wanted: r.Wanted, Proof: r.Proof}
		return writeReply(result, err), result.Context, err
	}, func(r *reply) {
		if !written {
			fmt.Fprintln(c.app.out, "one value is there, and stays; nothing was written")
			return
		}
		c.wrote(r)
	})
}

// resolvable refuses a key that holds nothing, and a map without a field named.
func (c *conflicts) resolvable(page store.Page) error {
	switch {
	case (c.field != "") != (c.policy == store.Map):
		return &store.Error{Code: store.Invalid, Keyspace: c.keyspace, Msg: "a map is resolved field by field, and nothing else has fields", Try: "--field FIELD with a map, and only there"}
	case len(page.Items) == 0:
		return &store.Error{Code: store.NotFound, Keyspace: c.keyspace, Msg: c.name() + " is absent", Try: c.filling()}
	}
	return nil
}

// alone reports whether nothing conflicts.
func alone(page store.Page, field string) bool {
	n := 0
	for _, s := range page.Items[0].Siblings {
		if s.Field == field {
			n++
		}
	}
	return n < 2
}

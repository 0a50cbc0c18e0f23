package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// gotJSON is one key of several that were read.
type gotJSON struct {
	Key string `json:"key"`
	*reply
}

// gotEnd is the last line of a read of several keys.
type gotEnd struct {
	Outcome store.Outcome `json:"outcome"` // ok if every key was answered
	Count   int           `json:"count"`   // of the keys that are there
	Failed  int           `json:"failed"`  // keys that nobody has answered
	Error   *errorJSON    `json:"error,omitempty"`
}

// getMany reads several keys of one keyspace, each by itself.
func (o *operation) getMany(ctx context.Context, places []string) error {
	var keys []string
	for _, place := range places {
		before := o.keyspace
		if err := o.place(place); err != nil {
			return err
		}
		if before != "" && before != o.keyspace {
			return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("the keys are in two keyspaces, %s and %s", before, o.keyspace), Try: "a get for each keyspace"}
		}
		keys = append(keys, o.key)
	}
	level, err := atLevel(o.level)
	if err == nil {
		err = o.checkTimeout(false)
	}
	if err != nil {
		return err
	}
	return o.enter(ctx, o.keyspace, func(_ *client.Client, k *client.Keyspace, opts []client.Option) error {
		got, err := k.GetMulti(ctx, keys, append(opts, level...)...)
		if err != nil {
			return err
		}
		for i, g := range got {
			if o.file != nil && g.Err == nil {
				o.file.keep(o.keyspace+"/"+keys[i], g.Context)
			}
		}
		if o.policy, err = k.Policy(ctx); err != nil {
			return err
		}
		o.settle()
		return o.showMany(got)
	})
}

// showMany prints a line for each key, and returns what the exit status is to say: the first
// error or, if there is none, that a key is absent.
func (o *operation) showMany(got []client.Got) error {
	a := o.app
	end := gotEnd{Outcome: store.OK}
	var first error
	for _, g := range got {
		if g.Found {
			end.Count++
		}
		if g.Err != nil {
			end.Failed++
			if first == nil {
				first = g.Err
			}
		}
		if a.output == "json" {
			a.json(gotJSON{g.Key, readReply(g.Item, g.Err)})
		} else {
			o.showOne(g)
		}
	}
	end.Outcome, end.Error = outcomeOf(first), describe(first)
	switch {
	case a.output == "json":
		a.json(end)
	case first != nil:
		a.progress("(%d of %d keys were not answered)\ntry: %s", end.Failed, len(got), advice(first))
	case end.Count < len(got):
		o.key = got[slices.IndexFunc(got, func(g client.Got) bool { return !g.Found })].Key
		a.progress("try: %s", o.filling())
	}
	switch {
	case first != nil:
		return errors.Join(errReported, first)
	case end.Count < len(got):
		return errAbsent
	}
	return nil
}

// showOne prints a key and what it holds, as a scan does, or what was wrong.
func (o *operation) showOne(g client.Got) {
	a := o.app
	key := shown([]byte(g.Key))
	switch {
	case g.Err != nil:
		fmt.Fprintf(a.err, "%s: %s %s\n", key, a.red("error:"), sentence(g.Err))
	case !g.Found:
		fmt.Fprintf(a.err, "%s is absent\n", key)
	default:
		fmt.Fprintf(a.out, "%s\t%s\n", key, columns(g.Values, g.Fields))
	}
	if r := readReply(g.Item, g.Err); o.explain {
		fmt.Fprintln(a.err, r.explain())
	}
}

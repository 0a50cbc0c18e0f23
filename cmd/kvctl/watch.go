package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// watching is a watch, as the command line describes it, and how far it has come.
type watching struct {
	door
	keyspace string
	q        store.WatchQuery
	progress bool
	group    int // shard, -1 for all
	most     int // changes, 0 for no end
	since    string
	goesOn   bool // since was given
	mode     store.Mode

	count int
	last  client.Change
	seen  map[store.GroupID]bool
}

// changed is a line of its result: what one revision, or one write on ap, changed.
type changed struct {
	Revision uint64  `json:"revision"`
	Group    string  `json:"group"`
	Events   []event `json:"events"`          // none: a notice of progress
	Token    string  `json:"token,omitempty"` // ap: for --since
}

type event struct {
	Key string `json:"key"`
	held
	Gone     bool    `json:"gone,omitempty"`     // deleted
	Expired  bool    `json:"expired,omitempty"`  // because its lease or, on ap, a TTL ended
	Replaced *uint64 `json:"replaced,omitempty"` // cp; 0: the key was created
	Version  uint64  `json:"version,omitempty"`
	Lease    uint64  `json:"lease,omitempty"`
	Dot      string  `json:"dot,omitempty"` // ap: the write's name
}

// watchEnd is the last line.
type watchEnd struct {
	Outcome  store.Outcome `json:"outcome"`
	Count    int           `json:"count"`
	Revision uint64        `json:"revision,omitempty"` // that was seen last, of one group
	Token    string        `json:"token,omitempty"`    // ap: for --since
	Error    *errorJSON    `json:"error,omitempty"`
}

func (a *app) watchCommand() *cobra.Command {
	w := &watching{door: door{app: a}}
	cmd := &cobra.Command{
		Use: "watch KEYSPACE/KEY | KEYSPACE --prefix P | KEYSPACE --all", Short: "follow changes, each once and in order", Args: takes(1, 1),
		Long: `watch prints every change of a key, of a prefix or of a keyspace, once and in order, until
it is interrupted, has seen --count changes, or --timeout has passed. It survives the loss
of nodes by itself.

Without --from it begins behind the present. With --from 17 it begins at revision 17, for
one who has seen all before it. A group keeps the changes of the last while only: what is
not there any more is Compacted. Then read what there is (kvctl scan says its revision) and
watch from the revision behind it.

An ap keyspace has no revisions; there each write comes once, in the order in which the
replica has applied it, and the key is shown as it was after it. With --since it goes on
behind the token that a line of another watch has, or the last line of a scan (-o json).
With --from 1 it begins with the first write that is still in the log.`,
		Example: `  kvctl watch config/flags
  kvctl watch config --prefix service/ --from 1 --count 10 -o json
  kvctl watch carts --all --since "$TOKEN"
  kvctl watch config --all --progress`,
		RunE: func(cmd *cobra.Command, args []string) error {
			w.goesOn = cmd.Flags().Changed("since")
			return w.run(cmd.Context(), args[0])
		},
	}
	w.flags(cmd, 0, "end after this time (default: never)")
	f := cmd.Flags()
	f.StringVar(&w.q.Prefix, "prefix", "", "keys that begin so")
	f.BoolVar(&w.q.All, "all", false, "every key")
	f.Uint64Var(&w.q.From, "from", 0, "begin at this revision (default: behind the present)")
	f.StringVar(&w.since, "since", "", "ap: go on behind what this token has seen")
	f.BoolVar(&w.progress, "progress", false, "also say how far the watch has come while nothing changes")
	f.IntVar(&w.most, "count", 0, "end after so many changes")
	f.IntVar(&w.group, "group", -1, "only this group, by its number (default: all)")
	cmd.ValidArgsFunction = a.keyspaceFirst("")
	return cmd
}

func (w *watching) run(ctx context.Context, place string) (err error) {
	if w.keyspace, w.q.Key, err = split(place); err == nil {
		err = w.check()
	}
	if err != nil {
		return err
	}
	if w.timeout > 0 {
		bounded, cancel := context.WithTimeout(ctx, w.timeout)
		defer cancel()
		ctx, w.timeout = bounded, 0
	}
	return w.enter(ctx, w.keyspace, func(_ *client.Client, k *client.Keyspace, opts []client.Option) error {
		if w.progress {
			opts = append(opts, client.Progress())
		}
		if w.group >= 0 {
			opts = append(opts, client.InGroup(uint32(w.group)))
		}
		if w.goesOn {
			opts = append(opts, client.Since(w.since))
		}
		var stream *client.Watch
		w.mode, err = k.Mode(ctx)
		if err == nil {
			stream, err = k.Watch(ctx, w.q, opts...)
		}
		if err == nil {
			err = w.follow(ctx, stream)
			stream.Close()
		}
		w.settle()
		return w.end(w.advise(err))
	})
}

func (w *watching) check() error {
	if err := w.checkTimeout(true); err != nil {
		return err
	}
	switch {
	case w.most < 0:
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("--count %d must not be below 0", w.most), Try: "--count 10"}
	case w.app.shell != nil && w.most == 0 && w.timeout == 0:
		return &store.Error{Code: store.Invalid, Msg: "in this shell a watch must end by itself", Try: "--count 10, --timeout 10s, or --from 1 to see what was"}
	}
	if err := w.q.Check(); err != nil {
		e := *store.AsError(err)
		e.Try = "kvctl watch KEYSPACE/KEY, or KEYSPACE with --prefix P or with --all"
		return &e
	}
	return nil
}

// follow shows changes until there are enough, or somebody ends it, which is no error.
func (w *watching) follow(ctx context.Context, stream *client.Watch) error {
	w.seen = make(map[store.GroupID]bool)
	for w.most == 0 || w.count < w.most {
		change, err := stream.Next(ctx)
		switch {
		case err != nil && ctx.Err() != nil && w.most > 0 && errors.Is(ctx.Err(), context.DeadlineExceeded):
			return &store.Error{Code: store.Unavailable, Op: "watch", Msg: fmt.Sprintf("%d of %d changes came in time", w.count, w.most), Try: "a longer --timeout"}
		case err != nil && ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		w.seen[change.Group], w.last = true, change
		if len(change.Events) > 0 {
			w.count++
		}
		w.show(change)
	}
	return nil
}

func (w *watching) show(change client.Change) {
	a := w.app
	if a.output == "json" {
		line := changed{Revision: change.Revision, Group: change.Group.String(), Events: []event{}, Token: change.Resume}
		for _, e := range change.Events {
			line.Events = append(line.Events, w.event(e))
		}
		a.json(line)
		return
	}
	if len(change.Events) == 0 {
		fmt.Fprintf(a.out, "%d\t(all up to here was seen, of group %v)\n", change.Revision, change.Group)
	}
	for _, e := range change.Events {
		switch {
		case e.Expired && e.Deleted:
			fmt.Fprintf(a.out, "%d\t%s\texpired\n", change.Revision, shown([]byte(e.Key)))
		case e.Deleted:
			fmt.Fprintf(a.out, "%d\t%s\tgone\n", change.Revision, shown([]byte(e.Key)))
		default:
			fmt.Fprintf(a.out, "%d\t%s\t= %s\n", change.Revision, shown([]byte(e.Key)), w.values(e))
		}
	}
}

// event is an event with the fields of its mode.
func (w *watching) event(e store.Event) event {
	out := event{Key: e.Key, Gone: e.Deleted, Expired: e.Expired, Version: e.Version, Lease: e.Lease, Dot: e.Dot}
	if w.mode == store.AP {
		out.values(e.Values)
		out.Fields = e.Fields
	} else {
		out.Replaced = &e.Replaced
	}
	if !e.Deleted && (w.mode == store.CP || len(e.Values) == 1) {
		out.value(e.Value)
	}
	return out
}

// values are what the key holds, one behind the other.
func (w *watching) values(e store.Event) string {
	if w.mode == store.CP {
		return shown(e.Value)
	}
	return columns(e.Values, e.Fields)
}

// columns are values, and the fields that they are the values of, one behind the other.
func columns(values [][]byte, fields []string) string {
	var list []string
	for i, v := range values {
		text := shown(v)
		if i < len(fields) {
			text = shown([]byte(fields[i])) + "=" + text
		}
		list = append(list, text)
	}
	return strings.Join(list, "\t")
}

// end prints the last line.
func (w *watching) end(err error) error {
	a := w.app
	end := watchEnd{Outcome: outcomeOf(err), Count: w.count, Error: describe(err)}
	if w.mode == store.AP {
		end.Token = w.last.Resume
	} else if len(w.seen) == 1 {
		end.Revision = w.last.Revision
	}
	switch {
	case a.output == "json":
		a.json(end)
	case err != nil:
		a.report(err)
	case end.Revision > 0:
		a.progress("(%s; what follows is --from %d)", count(w.count, "change"), end.Revision+1)
	case end.Token != "":
		a.progress("(%s; what follows is --since %s)", count(w.count, "change"), end.Token)
	default:
		a.progress("(%s)", count(w.count, "change"))
	}
	if err != nil {
		return errors.Join(errReported, err)
	}
	return nil
}

// advise says in kvctl's words what the client says in its own.
func (w *watching) advise(err error) error {
	var e *store.Error
	if !errors.As(err, &e) {
		return err
	}
	out := *e
	switch {
	case e.Code == store.Compacted && w.mode == store.AP:
		out.Try = fmt.Sprintf("kvctl scan %s -o json, of which the last line has a token, and kvctl watch with --since it", w.keyspace)
	case e.Code == store.Invalid && w.mode == store.AP && w.q.From > 0:
		out.Try = "--since with a token that a watch or a scan gave, or --from 1"
	case e.Code == store.Compacted:
		out.Try = fmt.Sprintf("kvctl scan %s, which says its revision, and kvctl watch with --from the one behind it", w.keyspace)
	case e.Code == store.Invalid && w.q.From > 0 && e.Node == "":
		out.Try = "--group N, or a --prefix with a {tag}: a revision belongs to one group"
	case e.Code == store.Invalid && w.q.From > 0:
		out.Try = "without --from, to begin behind the present"
	}
	return &out
}

// slowly says what a command waits for once that takes more than a second. The function
// it returns ends that.
func (a *app) slowly(what string) func() {
	over, said := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(said)
		t := time.NewTimer(time.Second)
		defer t.Stop()
		select {
		case <-t.C:
			a.progress("%s", what)
		case <-over:
		}
	}()
	return func() { close(over); <-said }
}

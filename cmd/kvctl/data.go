package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// errAbsent says that a get found nothing, which is an answer and exit status 3.
var errAbsent = fmt.Errorf("%w: the key is absent", errReported)

// operation is one get or write, as the command line describes it.
type operation struct {
	door
	keyspace, key string
	level         string       // of reads
	policy        store.Policy // of the keyspace, once it has answered a read
	writing
}

// writing is what only writes have.
type writing struct {
	context, w    string // ap
	blind, create bool
	ifRevision    uint64
	conditional   bool // --if-revision was given
	ttl           time.Duration
	expires       bool   // --ttl was given
	valueFile     string // of a put
	lease         uint64
	fence         string
}

// dataCommands are the commands on keys, and on what the keys carry.
func (a *app) dataCommands() []*cobra.Command {
	commands := []*cobra.Command{
		a.putCommand(), a.getCommand(), a.deleteCommand(), a.casCommand(), a.incrCommand(),
		a.scanCommand(), a.watchCommand(), a.txnCommand(), a.leaseCommand(), a.snapshotCommand(),
		a.setCommand(), a.mapCommand(), a.conflictsCommand(),
	}
	if a.shell == nil { // they last until somebody ends them, and run other programs
		commands = append(commands, a.lockCommand(), a.electCommand())
	}
	return commands
}

// command makes a command of a keyed operation out of what is its own.
func (o *operation) command(cmd *cobra.Command) *cobra.Command {
	o.flags(cmd, patience, "how long to try")
	o.explainFlag(cmd)
	o.traceFlag(cmd)
	cmd.ValidArgsFunction = o.app.keyspaceFirst("/")
	return cmd
}

// writeFlags are those of every write.
func (o *operation) writeFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.fence, "fence", "", "cp: only while this lock or leadership is held: KEY:REVISION, as KV_FENCE has it")
	f.Uint64Var(&o.ifRevision, "if-revision", 0, "cp: only if the key was last written at this revision")
}

// apFlags are those of writes that an ap keyspace takes.
func (o *operation) apFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.context, "context", "", "ap: the context of a read, which this write supersedes")
	o.wFlag(cmd)
}

func (o *operation) wFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.w, "w", "", "ap: replicas that must hold it: local, majority, all (default: the keyspace's)")
	o.app.complete(cmd, "w", func(context.Context) []string { return []string{"local", "majority", "all"} })
}

// place reads KEYSPACE/KEY; the first slash splits.
func (o *operation) place(arg string) error {
	keyspace, key, ok := strings.Cut(arg, "/")
	if !ok || keyspace == "" || key == "" {
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("%.60q is not KEYSPACE/KEY", arg), Try: "orders/k1: a keyspace, a slash, a key"}
	}
	o.keyspace, o.key = keyspace, key
	if err := store.CheckName("keyspace", keyspace); err != nil {
		return err
	}
	return store.CheckKey(key)
}

func (o *operation) name() string { return o.keyspace + "/" + o.key }

func (o *operation) writeOptions(k *client.Keyspace) ([]client.Option, error) {
	opts, err := o.apOptions()
	if err != nil {
		return nil, err
	}
	if o.create && o.conditional {
		return nil, &store.Error{Code: store.Invalid, Msg: "the write has two conditions that exclude each other", Try: "one of --create and --if-revision"}
	}
	if o.create {
		opts = append(opts, client.Create())
	}
	if o.conditional {
		opts = append(opts, client.IfRevision(o.ifRevision))
	}
	if o.expires {
		opts = append(opts, client.WithTTL(o.ttl))
	}
	if o.lease != 0 {
		opts = append(opts, client.WithLease(k.Lease(o.key, o.lease)))
	}
	return addFence(opts, o.fence)
}

func (o *operation) apOptions() (opts []client.Option, err error) {
	w, err := store.ParseW(o.w)
	if err != nil {
		return nil, err
	}
	if w != store.WDefault {
		opts = append(opts, client.WithW(w))
	}
	context, err := o.readContext()
	switch {
	case err != nil:
		return nil, err
	case o.blind && o.context != "":
		return nil, &store.Error{Code: store.Invalid, Msg: "the write says what it has read, and that it is blind", Try: "one of --context and --blind"}
	case o.blind:
		opts = append(opts, client.Blind())
	case len(context) > 0:
		opts = append(opts, client.WithContext(context))
	}
	return opts, nil
}

// readContext is the context that was given, or that the session has read.
func (o *operation) readContext() ([]byte, error) {
	text := o.context
	if text == "" && o.file != nil {
		text = o.file.context(o.name())
	}
	return decodeContext(text)
}

// addFence adds the option for a --fence.
func addFence(opts []client.Option, text string) ([]client.Option, error) {
	if text == "" {
		return opts, nil
	}
	at := strings.LastIndexByte(text, ':')
	revision, err := strconv.ParseUint(text[at+1:], 10, 64)
	if at < 1 || err != nil || revision == 0 {
		return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("--fence %.80q is not KEY:REVISION", text), Try: "what kvctl lock printed, or KV_FENCE in a command that it runs"}
	}
	return append(opts, client.Fenced(client.Fence{Key: text[:at], Revision: revision})), nil
}

// fenceText is what addFence reads.
func fenceText(f client.Fence) string { return f.Key + ":" + strconv.FormatUint(f.Revision, 10) }

// call enters, makes the call, saves the session, and prints the reply.
func (o *operation) call(ctx context.Context, do func(*client.Keyspace, []client.Option) (*reply, []byte, error), table func(*reply)) error {
	if err := o.checkTimeout(false); err != nil {
		return err
	}
	return o.enter(ctx, o.keyspace, func(_ *client.Client, k *client.Keyspace, opts []client.Option) error {
		r, context, err := do(k, opts)
		if r == nil {
			return err
		}
		if o.file != nil {
			o.file.keep(o.name(), context)
		}
		o.settle()
		r.Trace = traceOf(o.echo)
		return o.print(r, err, func() { table(r) })
	})
}

// print shows the reply, or the error in its place, and returns what the exit status
// is to say.
func (d *door) print(r *reply, err error, table func()) error {
	a := d.app
	switch {
	case a.output == "json":
		if err != nil {
			r.fail(err)
		}
		a.json(r)
	case err != nil:
		a.report(err)
	default:
		table()
	}
	if d.explain && a.output != "json" {
		fmt.Fprintln(a.err, r.explain())
	}
	if r.Trace != nil && a.output != "json" {
		r.Trace.print(a.err)
	}
	if err != nil {
		return errors.Join(errReported, err)
	}
	return nil
}

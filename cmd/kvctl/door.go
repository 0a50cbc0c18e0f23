package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/store"
)

// door is how a command on data enters the cluster: where, in whose session, and for
// how long.
type door struct {
	app *app

	at, session string
	timeout     time.Duration // 0: as long as the command lives
	explain     bool
	echo        *spans.Echo // of a call that is traced

	file *sessionFile // nil without --session
	live *client.Session
}

// patience is how long an operation is tried unless it says otherwise.
const patience = 2 * time.Second

// flags are those that every command on data has. The default of --timeout is the
// command's.
func (d *door) flags(cmd *cobra.Command, timeout time.Duration, meaning string) {
	f := cmd.Flags()
	f.StringVar(&d.at, "at", "", "enter at this node and be routed from where it stands")
	f.StringVar(&d.session, "session", "", "file that keeps the session between commands")
	f.DurationVar(&d.timeout, "timeout", timeout, meaning)
	d.app.complete(cmd, "at", d.app.nodeNames)
}

// explainFlag is for what answers once, and so has one proof.
func (d *door) explainFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&d.explain, "explain", false, "say what the answer is worth")
}

// enter opens a client and does something with the keyspace. Whoever has an answer to
// print settles the session before.
func (d *door) enter(ctx context.Context, keyspace string, do func(*client.Client, *client.Keyspace, []client.Option) error) error {
	return d.app.client(ctx, d.at, func(c *client.Client) error {
		opts, err := d.options(c)
		if err != nil {
			return err
		}
		return do(c, c.Keyspace(keyspace), opts)
	})
}

// options are the client's, for what the flags say.
func (d *door) options(c *client.Client) (opts []client.Option, err error) {
	if d.timeout > 0 {
		opts = append(opts, client.WithTimeout(d.timeout))
	}
	if d.session == "" {
		return opts, nil
	}
	if d.file, err = openSession(d.session); err != nil {
		return nil, err
	}
	if err := d.file.writable(); err != nil {
		return nil, err
	}
	if d.live, err = c.ResumeSession(d.file.Token); err != nil {
		return nil, err
	}
	return append(opts, client.In(d.live)), nil
}

// settle saves the session. What the command did stands whether or not that works, so
// its reply is the same; that the file could be written was seen before.
func (d *door) settle() {
	if d.live == nil {
		return
	}
	if err := d.file.save(d.live); err != nil {
		d.app.progress("warning: %s is as it was before this command: %s", d.session, sentence(err))
	}
}

// checkTimeout refuses one that is not above zero; forever says that 0 is no limit.
func (d *door) checkTimeout(forever bool) error {
	if d.timeout > 0 || forever && d.timeout == 0 {
		return nil
	}
	return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("--timeout %v must be above 0", d.timeout), Try: "--timeout 2s"}
}

// split reads KEYSPACE or KEYSPACE/REST; the first slash splits.
func split(arg string) (keyspace, rest string, err error) {
	keyspace, rest, _ = strings.Cut(arg, "/")
	return keyspace, rest, store.CheckName("keyspace", keyspace)
}

const levelUsage = "strong, quorum, causal, read-your-writes, monotonic, bounded:2s or eventual (default: strong on cp, causal on ap)"

// levelFlag adds --level.
func (a *app) levelFlag(cmd *cobra.Command, level *string) {
	cmd.Flags().StringVar(level, "level", "", levelUsage)
	a.complete(cmd, "level", levelWords)
}

// atLevel is the option for a --level, none if it was not given.
func atLevel(text string) ([]client.Option, error) {
	level, bound, err := store.ParseLevelBound(text)
	switch {
	case err != nil:
		return nil, err
	case level == store.LevelDefault:
		return nil, nil
	case level == store.Bounded:
		return []client.Option{client.Bounded(bound)}, nil
	}
	return []client.Option{client.At(level)}, nil
}

// levelWords are what a shell offers.
func levelWords(context.Context) []string {
	words := slices.Clone(store.LevelNames)
	words[slices.Index(words, store.Bounded.String())] = "bounded:2s"
	return words
}

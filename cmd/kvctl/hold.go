package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

const (
	// lastWords is how long a command may take to end once it was asked to.
	lastWords = 5 * time.Second
	// farewell is how long giving back a lock or a leadership may take.
	farewell = 2 * time.Second
)

// holder is a lock or an election, as the command line describes it.
type holder struct {
	door
	what     string // the lock, the leadership
	keyspace string
	name     string
	ttl      time.Duration
	command  []string // that runs while it is held; none: until somebody ends it
	grace    time.Duration
}

// holding is what it got.
type holding struct {
	fence   client.Fence
	lost    <-chan struct{}
	release func(context.Context) error
}

// heldReply is what it prints when it holds.
type heldReply struct {
	Outcome  store.Outcome `json:"outcome"`
	Name     string        `json:"name"`
	Fence    string        `json:"fence"`    // for --fence
	Revision uint64        `json:"revision"` // of the fence; it grows from holder to holder
}

// ended is the exit status of a command that was run.
type ended int

func (e ended) Error() string { return fmt.Sprintf("the command ended with status %d", int(e)) }

// exitStatus is that of a command which was run, if err says so.
func exitStatus(err error) (int, bool) {
	var e ended
	ok := errors.As(err, &e)
	return int(e), ok
}

// errLost is the error of one who cannot be sure any more that he holds what he held.
// No call has failed, so it has none of the codes.
type errLost struct{ what, name string }

func (e errLost) Error() string { return "the " + e.what + " was lost: " + e.name }

func (errLost) advice() string {
	return "again; a longer --ttl bears longer silences, and --fence keeps out those who wake up late"
}

func (h *holder) holderFlags(cmd *cobra.Command) {
	h.flags(cmd, 0, "how long to wait for it (default: for ever)")
	cmd.Flags().DurationVar(&h.ttl, "ttl", 10*time.Second, "how long it stays held when its holder dies")
	cmd.ValidArgsFunction = h.app.keyspaceFirst("")
}

// words splits the arguments at --, behind which a command stands, and refuses fewer or
// more than n before it.
func (h *holder) words(cmd *cobra.Command, args []string, n int) ([]string, error) {
	if dash := cmd.ArgsLenAtDash(); dash >= 0 {
		args, h.command = args[:dash], args[dash:]
		if len(h.command) == 0 {
			return nil, unclear("there is no command behind --", cmd.UseLine())
		}
	}
	if err := takes(n, n)(cmd, args); err != nil {
		return nil, err
	}
	h.keyspace, h.name = args[0], args[1]
	if err := store.CheckName("keyspace", h.keyspace); err != nil {
		return nil, err
	}
	if err := store.CheckTTL(h.ttl); err != nil {
		return nil, err
	}
	if len(h.command) > 0 {
		if _, err := exec.LookPath(h.command[0]); err != nil {
			return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("%.60q cannot be run", h.command[0]), Cause: err, Try: "a program on the path"}
		}
	}
	return args, h.checkTimeout(true)
}

// hold waits until it holds and then until it is over, one way or another.
func (h *holder) hold(ctx context.Context, acquire func(*client.Keyspace, []client.Option) (holding, error)) error {
	return h.enter(ctx, h.keyspace, func(_ *client.Client, k *client.Keyspace, opts []client.Option) error {
		said := h.app.slowly(fmt.Sprintf("waiting for the %s %s", h.what, h.name))
		got, err := acquire(k, opts)
		said()
		h.settle()
		if err != nil {
			return err
		}
		return h.release(ctx, got, h.until(ctx, got))
	})
}

// release gives back what is held. err is how holding it ended.
func (h *holder) release(ctx context.Context, got holding, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	switch released := got.release(ctx); {
	case released == nil || errors.As(err, new(errLost)):
	case errors.Is(released, store.NotFound):
		return errLost{h.what, h.name} // whatever the command made of that
	default:
		h.app.progress("(nobody could be told that the %s is free; it is in %v: %s)", h.what, h.ttl, sentence(released))
	}
	return err
}

// until runs the command or, where there is none, waits for an interrupt.
func (h *holder) until(ctx context.Context, got holding) error {
	if len(h.command) > 0 {
		return h.run(ctx, got)
	}
	a := h.app
	text := fenceText(got.fence)
	_ = a.show(heldReply{store.OK, h.name, text, got.fence.Revision}, func() { fmt.Fprintln(a.out, text) })
	a.progress("(that is its fence: kvctl put %s/KEY VALUE --fence FENCE; Ctrl-C lets go)", h.keyspace)
	select {
	case <-got.lost:
		return errLost{h.what, h.name}
	case <-ctx.Done():
		return nil
	}
}

// run runs the command, and ends it when what it relies on is lost.
func (h *holder) run(ctx context.Context, got holding) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.command[0], h.command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = h.app.in, h.app.out, h.app.err
	cmd.Env = append(os.Environ(),
		"KV_FENCE="+fenceText(got.fence), "KV_FENCE_REVISION="+strconv.FormatUint(got.fence.Revision, 10))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = h.grace
	if err := cmd.Start(); err != nil {
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("%.60q cannot be run", h.command[0]), Cause: err, Try: "a program that can be run"}
	}
	var waited error
	over := make(chan struct{})
	go func() {
		defer close(over)
		waited = cmd.Wait()
	}()
	select {
	case <-got.lost:
		cancel()
		<-over
		return errLost{h.what, h.name}
	case <-over:
		return status(ctx, waited)
	}
}

// status is the exit status of the command, as a shell counts it. One that was asked to
// end and did so well has succeeded.
func status(ctx context.Context, err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil, ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return nil
	case !errors.As(err, &exit):
		return fmt.Errorf("the command: %w", err)
	}
	code := exit.ExitCode()
	if code < 0 {
		code = 1
		if w, ok := exit.Sys().(syscall.WaitStatus); ok && w.Signaled() {
			code = 128 + int(w.Signal())
		}
	}
	return errors.Join(errReported, ended(code))
}

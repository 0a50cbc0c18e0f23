package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// leases is a command on leases, as the command line describes it.
type leases struct {
	door
	keyspace, key string
	id            uint64
	ttl           time.Duration
}

// leaseReply is what grant, keepalive and revoke print.
type leaseReply struct {
	Outcome store.Outcome `json:"outcome"`
	Lease   uint64        `json:"lease,omitempty"`
	TTLMS   float64       `json:"ttl_ms,omitempty"`
	Error   *errorJSON    `json:"error,omitempty"`
}

// leaseLine is a line of list.
type leaseLine struct {
	Lease       uint64  `json:"lease"`
	Group       string  `json:"group"`
	TTLMS       float64 `json:"ttl_ms"`
	RemainingMS float64 `json:"remaining_ms,omitempty"` // as the leader sees it; absent from others
	Keys        uint64  `json:"keys"`
}

func (a *app) leaseCommand() *cobra.Command {
	return group("lease", "promises to delete keys together, unless they are renewed (cp)",
		a.leaseGrantCommand(), a.leaseListCommand(), a.leaseKeepAliveCommand(), a.leaseRevokeCommand())
}

func (l *leases) leaseFlags(cmd *cobra.Command) *cobra.Command {
	l.flags(cmd, patience, "how long to try")
	cmd.ValidArgsFunction = l.app.keyspaceFirst("")
	return cmd
}

func (l *leases) keyFlag(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&l.key, "key", "", "a key, or a {tag}, of the lease's group; needed where there are several groups")
	return l.leaseFlags(cmd)
}

func (a *app) leaseGrantCommand() *cobra.Command {
	l := &leases{door: door{app: a}}
	return l.keyFlag(&cobra.Command{
		Use: "grant KEYSPACE TTL", Short: "make a lease, and print its id", Args: takes(2, 2),
		Example: `  kvctl lease grant config 30s
  kvctl put config/node/n1 10.0.0.1 --lease "$(kvctl lease grant config 30s)"
  kvctl lease grant carts 30s --key '{u42}'`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if l.ttl, err = parseTTL(args[1]); err != nil {
				return err
			}
			return l.do(cmd.Context(), args[0], func(ctx context.Context, k *client.Keyspace, opts []client.Option) (*client.Lease, error) {
				return k.Grant(ctx, l.key, l.ttl, opts...)
			}, func(made *client.Lease) {
				fmt.Fprintln(a.out, made.ID())
				a.progress("(the keys attached to it go in %v, unless: kvctl lease keepalive %s %d)", made.TTL(), args[0], made.ID())
			})
		},
	})
}

func parseTTL(text string) (time.Duration, error) {
	ttl, err := time.ParseDuration(text)
	if err != nil {
		return 0, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("the TTL %.40q is no duration", text), Try: "30s, 5m, 24h"}
	}
	return ttl, store.CheckTTL(ttl)
}

func (a *app) leaseKeepAliveCommand() *cobra.Command {
	l := &leases{door: door{app: a}}
	return l.keyFlag(&cobra.Command{
		Use: "keepalive KEYSPACE ID", Short: "give a lease another TTL from now on", Args: takes(2, 2),
		Example: `  kvctl lease keepalive config 17
  kvctl lease keepalive carts 17 --key '{u42}'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return l.one(cmd.Context(), args, (*client.Lease).KeepAlive, func(lease *client.Lease) {
				fmt.Fprintf(a.out, "lease %d lives for another %v\n", l.id, lease.TTL())
			})
		},
	})
}

func (a *app) leaseRevokeCommand() *cobra.Command {
	l := &leases{door: door{app: a}}
	return l.keyFlag(&cobra.Command{
		Use: "revoke KEYSPACE ID", Short: "end a lease and delete its keys, at one revision", Args: takes(2, 2),
		Example: `  kvctl lease revoke config 17
  kvctl lease revoke carts 17 --key '{u42}'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return l.one(cmd.Context(), args, (*client.Lease).Revoke, func(*client.Lease) {
				fmt.Fprintf(a.out, "lease %d has ended, and its keys are gone\n", l.id)
			})
		},
	})
}

// one does something with the lease that the arguments name.
func (l *leases) one(ctx context.Context, args []string, do func(*client.Lease, context.Context, ...client.Option) error, table func(*client.Lease)) (err error) {
	if l.id, err = strconv.ParseUint(args[1], 10, 64); err != nil || l.id == 0 {
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("%.40q is not the id of a lease", args[1]), Try: "kvctl lease list " + args[0]}
	}
	return l.do(ctx, args[0], func(ctx context.Context, k *client.Keyspace, opts []client.Option) (*client.Lease, error) {
		lease := k.Lease(l.key, l.id)
		return lease, do(lease, ctx, opts...)
	}, table)
}

func (l *leases) do(
	ctx context.Context, keyspace string, call func(context.Context, *client.Keyspace, []client.Option) (*client.Lease, error), table func(*client.Lease),
) error {
	l.keyspace = keyspace
	if err := store.CheckName("keyspace", keyspace); err != nil {
		return err
	}
	if err := l.checkTimeout(false); err != nil {
		return err
	}
	return l.enter(ctx, keyspace, func(_ *client.Client, k *client.Keyspace, opts []client.Option) error {
		lease, err := call(ctx, k, opts)
		l.settle()
		if err = l.advise(err); err != nil {
			return err
		}
		return l.app.show(leaseReply{Outcome: store.OK, Lease: lease.ID(), TTLMS: milliseconds(lease.TTL())}, func() { table(lease) })
	})
}

// advise says in kvctl's words what the client says in its own.
func (l *leases) advise(err error) error {
	var e *store.Error
	if !errors.As(err, &e) {
		return err
	}
	out := *e
	list := "kvctl lease list " + l.keyspace
	switch {
	case e.Code == store.NotFound && e.Op == store.KeepAlive.String():
		out.Try = list + "; one that has ended is granted anew, and its keys are put again"
	case e.Code == store.NotFound:
		out.Try = list + "; if it is not there it has ended, and its keys are gone"
	case e.Code == store.Unknown && e.Op == store.KeepAlive.String():
		out.Try = "the same again: a lease may be kept alive twice"
	case e.Code == store.Unknown && e.Op == store.Revoke.String():
		out.Try = "the same again: NotFound then says that it has ended"
	case e.Code == store.Unknown:
		out.Try = list + "; a lease that nobody keeps alive ends by itself"
	case e.Code == store.Invalid && l.key == "":
		out.Try = "--key with a key, or a {tag}, of what is attached to it"
	}
	return &out
}

func (a *app) leaseListCommand() *cobra.Command {
	l := &leases{door: door{app: a}}
	return l.leaseFlags(&cobra.Command{
		Use: "list KEYSPACE", Short: "the leases that live, those of puts with a TTL too", Args: takes(1, 1),
		Example: `  kvctl lease list config
  kvctl lease list config -o json`,
		RunE: func(cmd *cobra.Command, args []string) error { return l.list(cmd.Context(), args[0]) },
	})
}

func (l *leases) list(ctx context.Context, keyspace string) error {
	if err := store.CheckName("keyspace", keyspace); err != nil {
		return err
	}
	if err := l.checkTimeout(false); err != nil {
		return err
	}
	return l.enter(ctx, keyspace, func(_ *client.Client, k *client.Keyspace, opts []client.Option) error {
		n := 0
		var failed error
		for item, err := range k.Leases(ctx, opts...) {
			if failed = err; err != nil {
				break
			}
			n++
			l.show(n, item)
		}
		l.settle()
		return l.end(n, failed)
	})
}

func (l *leases) show(n int, item client.LeaseItem) {
	a := l.app
	if a.output == "json" {
		a.json(leaseLine{item.ID, item.Group.String(), milliseconds(item.TTL), milliseconds(item.Remaining), item.Keys})
		return
	}
	const columns = "%-12v %-8v %-10v %-10v %v\n"
	if n == 1 {
		fmt.Fprintf(a.out, columns, "LEASE", "GROUP", "TTL", "REMAINING", "KEYS")
	}
	remaining := "-"
	if item.Remaining > 0 {
		remaining = rough(item.Remaining)
	}
	fmt.Fprintf(a.out, columns, item.ID, item.Group, item.TTL, remaining, item.Keys)
}

func (l *leases) end(n int, err error) error {
	a := l.app
	switch {
	case a.output == "json":
		a.json(struct {
			Outcome store.Outcome `json:"outcome"`
			Count   int           `json:"count"`
			Error   *errorJSON    `json:"error,omitempty"`
		}{outcomeOf(err), n, describe(err)})
	case err != nil:
		a.report(err)
	default:
		a.progress("(%s)", count(n, "lease"))
	}
	if err != nil {
		return errors.Join(errReported, err)
	}
	return nil
}

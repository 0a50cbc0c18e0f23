package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

func (a *app) lockCommand() *cobra.Command {
	h := &holder{door: door{app: a}, what: "lock", grace: lastWords}
	try := false
	cmd := &cobra.Command{
		Use: "lock KEYSPACE NAME [-- COMMAND ARGS…]", Short: "hold a lock, alone or while a command runs (cp)",
		Long: `lock waits in a fair queue until the lock is free, and keeps it alive.

With a command it runs that with KV_FENCE in its environment, lets go when it ends, and
ends with its status. If the lock is lost, which a pause or a cut longer than --ttl makes
happen, the command is ended, first with SIGTERM, five seconds later for good, and the
status is 1. Without a command it prints the fence and holds the lock until Ctrl-C.

A process that was paused wakes up late and believes that it still holds the lock. A write
with --fence "$KV_FENCE" is done only while that is true. What it guards must be in the
lock's group: on a keyspace of several groups, keys with {NAME} in them.`,
		Example: `  kvctl lock config deploy -- ./deploy.sh
  kvctl lock config deploy --try -- sh -c 'kvctl put config/version 7 --fence "$KV_FENCE"'
  kvctl lock config deploy`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := h.words(cmd, args, 2); err != nil {
				return err
			}
			ctx := cmd.Context()
			return h.hold(ctx, func(k *client.Keyspace, opts []client.Option) (got holding, err error) {
				acquire := k.Lock
				if try {
					acquire = k.TryLock
				}
				l, err := acquire(ctx, h.name, h.ttl, opts...)
				if err != nil {
					return got, heldByOther(err)
				}
				return holding{l.Fence(), l.Lost(), l.Unlock}, nil
			})
		},
	}
	h.holderFlags(cmd)
	cmd.Flags().BoolVar(&try, "try", false, "do not wait: Conflict if somebody holds it")
	return cmd
}

func heldByOther(err error) error {
	var e *store.Error
	if !errors.As(err, &e) || e.Code != store.Conflict {
		return err
	}
	out := *e
	out.Try = "without --try, which waits for it"
	return &out
}

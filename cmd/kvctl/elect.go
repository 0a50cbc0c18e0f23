package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// leaderLine is who leads, with -o json.
type leaderLine struct {
	Outcome store.Outcome `json:"outcome"`
	Found   bool          `json:"found"` // somebody leads
	held
	Fence    string `json:"fence,omitempty"`
	Revision uint64 `json:"revision,omitempty"` // of the fence
}

func (a *app) electCommand() *cobra.Command {
	h := &holder{door: door{app: a}, what: "leadership", grace: lastWords}
	observe, most := false, 0
	cmd := &cobra.Command{
		Use: "elect KEYSPACE NAME VALUE [-- COMMAND ARGS…]", Short: "lead, alone or while a command runs; or see who does (cp)",
		Long: `elect stands for election under a name, waits until it leads, and keeps leading. VALUE is
what others see: an address perhaps. The rest is as with kvctl lock: with a command, that
runs while it leads, with KV_FENCE in its environment; without, until Ctrl-C.

With --observe it prints who leads, and whoever leads next, until Ctrl-C or --count.`,
		Example: `  kvctl elect config scheduler 10.0.0.7:80 -- ./scheduler
  kvctl elect --observe config scheduler
  kvctl elect --observe config scheduler --count 1 -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if observe {
				if _, err := h.words(cmd, args, 2); err != nil {
					return err
				}
				return h.observe(ctx, most)
			}
			words, err := h.words(cmd, args, 3)
			if err != nil {
				return err
			}
			return h.hold(ctx, func(k *client.Keyspace, opts []client.Option) (got holding, err error) {
				l, err := k.Campaign(ctx, h.name, []byte(words[2]), h.ttl, opts...)
				if err != nil {
					return got, err
				}
				return holding{l.Fence(), l.Lost(), l.Resign}, nil
			})
		},
	}
	h.holderFlags(cmd)
	f := cmd.Flags()
	f.BoolVar(&observe, "observe", false, "do not stand; say who leads")
	f.IntVar(&most, "count", 0, "with --observe: end after so many lines")
	return cmd
}

// observe says who leads until there are enough, or somebody ends it, which is no error.
func (h *holder) observe(ctx context.Context, most int) error {
	if most < 0 || len(h.command) > 0 {
		return unclear("--observe has no command, and a --count above 0", "kvctl elect --observe KEYSPACE NAME --count 1")
	}
	return h.enter(ctx, h.keyspace, func(_ *client.Client, k *client.Keyspace, opts []client.Option) error {
		n := 0
		for leader, err := range k.Observe(ctx, h.name, opts...) {
			if err != nil && ctx.Err() != nil {
				break
			}
			if err != nil {
				h.settle()
				return err
			}
			h.leads(leader)
			if n++; n == most {
				break
			}
		}
		h.settle()
		return nil
	})
}

func (h *holder) leads(l client.Leader) {
	a := h.app
	line := leaderLine{Outcome: store.OK, Found: l.Found}
	if l.Found {
		line.value(l.Value)
		line.Fence, line.Revision = fenceText(l.Fence), l.Fence.Revision
	}
	_ = a.show(line, func() {
		if l.Found {
			fmt.Fprintf(a.out, "%s leads\t%s\n", shown(l.Value), line.Fence)
		} else {
			fmt.Fprintln(a.out, "nobody leads")
		}
	})
}

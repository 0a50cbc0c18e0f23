package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/internal/node"
	"github.com/dialkv/dialkv/store"
)

// recoveredJSON is what node recover prints with -o json.
type recoveredJSON struct {
	Node    string      `json:"node"`
	Cluster string      `json:"cluster"`
	Changed bool        `json:"changed"`
	Groups  []groupHeld `json:"groups"`
}

type groupHeld struct {
	Group    string   `json:"group"`
	Term     uint64   `json:"term"`    // of the last log entry
	Index    uint64   `json:"index"`   // of the last log entry
	Applied  uint64   `json:"applied"` // entry that the state has reached
	Revision uint64   `json:"revision"`
	Epoch    uint64   `json:"epoch"`
	Voters   []string `json:"voters"`
	// CaughtUp is false of a group that the node joined and never served. It has no state
	// to go on with, and the group is left as it is.
	CaughtUp bool `json:"caught_up"`
}

func (a *app) recoverCommand() *cobra.Command {
	var dir string
	var yes bool
	cmd := &cobra.Command{
		Use: "recover NODE | --data DIR", Short: "let a cluster that lost its majority for good go on with one node", Args: takes(0, 1),
		Long: "Make a node that does not run the only voter of every cp group it has, the catalog's included.\n" +
			"It is for a cluster that has lost its majority for good: what was acknowledged without this node\n" +
			"is lost. Without --yes nothing is changed, and you see what the node has: where several nodes\n" +
			"are left, take the one with the highest term and, among those, the last entry.\n\n" +
			"Then start the node, add new ones (kvctl cluster add), and remove those that are gone\n" +
			"(kvctl cluster remove NODE --dead). Tokens, watches and exactly-once sessions of cp keyspaces from\n" +
			"before are refused. Nodes of before must not come back with their data: wipe them.",
		Example: `  kvctl node recover n1
  kvctl node recover n1 --yes
  kvctl node recover --data /var/lib/dialkv --yes`,
		RunE: func(_ *cobra.Command, args []string) error {
			if (dir == "") == (len(args) == 0) {
				return &store.Error{Code: store.Invalid, Msg: "a node of a local cluster or --data is needed, and not both", Try: "kvctl node recover --help"}
			}
			at := dir
			if len(args) > 0 {
				var err error
				if at, err = a.stopped(args[0]); err != nil {
					return err
				}
			}
			do := node.Inspect
			if yes {
				do = node.Recover
			}
			stock, err := do(at, nil)
			if err != nil {
				return err
			}
			out := recoveredJSON{Node: stock.Node, Cluster: stock.Cluster, Changed: yes, Groups: []groupHeld{}}
			for _, h := range stock.Groups {
				out.Groups = append(out.Groups, heldOf(h))
			}
			return a.show(out, func() { a.recovered(out) })
		},
	}
	cmd.Flags().StringVar(&dir, "data", "", "the data directory of the node, where it is of no local cluster")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it; without it, only look")
	cmd.ValidArgsFunction = a.nodesAt(0)
	return cmd
}

func heldOf(h node.Held) groupHeld {
	return groupHeld{h.Group.String(), h.Term, h.Index, h.Applied, h.Revision, h.Epoch, append([]string{}, h.Members...), h.CaughtUp}
}

// stopped returns the data directory of a node of the local cluster. No node of the
// cluster runs: where a majority of a group is left, there is nothing to recover.
func (a *app) stopped(name string) (string, error) {
	if a.shell != nil {
		return "", &store.Error{Code: store.Unsupported, Msg: "the nodes of a demo have no directories", Try: "kvctl cluster start"}
	}
	p, err := a.procs("")
	if err != nil {
		return "", err
	}
	dir, _, err := p.Data(name)
	for _, other := range p.Nodes() {
		if _, state, failed := p.Data(other); err == nil && failed == nil && state != "down" {
			err = &store.Error{
				Code: store.Invalid, Node: other, Msg: other + " is " + state + "; what is left of the cluster must not run meanwhile",
				Try: "kvctl node kill " + other + ", if the majority of the cluster is really gone",
			}
		}
	}
	return dir, errors.Join(err, p.Release())
}

func (a *app) recovered(out recoveredJSON) {
	rows := [][]string{{"GROUP", "TERM", "LAST ENTRY", "APPLIED", "REVISION", "EPOCH", "VOTERS"}}
	n := func(v uint64) string { return strconv.FormatUint(v, 10) }
	fit := 0
	for _, g := range out.Groups {
		name := g.Group
		if name == store.CatalogGroup.String() {
			name += " (catalog)"
		}
		if g.CaughtUp {
			fit++
		} else {
			name += " (never caught up)"
		}
		rows = append(rows, []string{name, n(g.Term), n(g.Index), n(g.Applied), n(g.Revision), n(g.Epoch), strings.Join(g.Voters, ",")})
	}
	a.table(rows)
	if out.Changed {
		fmt.Fprintf(a.out, "%s %s is the only voter of %s; start it, add nodes, and remove those that are gone\n", a.green("✓"), out.Node, count(fit, "group"))
		return
	}
	a.progress("nothing was changed; with --yes %s alone goes on with this, and what others have beyond it is lost", out.Node)
}

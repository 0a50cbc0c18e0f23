package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/store"
)

func (a *app) netCommand() *cobra.Command {
	cmd := group("net", "cut, slow and heal the links between nodes",
		a.ruleCommand("partition SIDES", `"n1,n2|n3,n4,n5"`, `put nodes on sides that do not hear each other, "n1,n2|n3,n4,n5"; replaces all cuts`, 1, partition),
		a.ruleCommand("isolate NODE", "n1", "cut a node off from all others", 1, isolate),
		a.ruleCommand("cut LINKS", `"n1->n2"`, `cut links, one way "n1->n2" or both "n1<->n2"`, 1, cut),
		a.ruleCommand("delay LINKS TIME", `"n1,n2" 80ms±10ms`, `slow links down, "n1,n2" 80ms±10ms`, 2, delay),
		a.ruleCommand("drop LINKS PERCENT", `"n1<->n2" 5%`, `lose packets, and hold bytes back, "n1,n2" 5%`, 2, drop),
		a.healCommand(), a.netShowCommand())
	return cmd
}

// rule makes of what is in force and the arguments what is to be in force.
type rule func(now []link.Rule, args, nodes []string) ([]link.Rule, error)

func (a *app) ruleCommand(use, example, short string, arguments int, change rule) *cobra.Command {
	name, _, _ := strings.Cut(use, " ")
	return &cobra.Command{
		Use: use, Short: short, Args: takes(arguments, arguments),
		Example: "  kvctl net " + name + " " + example,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(func(c localcluster.Cluster) error {
				now, err := faults(cmd.Context(), c)
				if err != nil {
					return err
				}
				rules, err := change(now, args, c.Nodes())
				if err != nil {
					return err
				}
				return a.setFaults(cmd.Context(), c, rules)
			})
		},
	}
}

func (a *app) setFaults(ctx context.Context, c localcluster.Cluster, rules []link.Rule) error {
	if err := c.SetFaults(ctx, rules); err != nil {
		return err
	}
	return a.show(map[string]any{"rules": rulesJSON(rules)}, func() { a.ruleTable(rules) })
}

func partition(now []link.Rule, args, nodes []string) ([]link.Rule, error) {
	rules, err := link.ParsePartition(args[0], nodes)
	now = slices.DeleteFunc(slices.Clone(now), func(r link.Rule) bool { return r.Action == link.Hole })
	return append(now, rules...), err
}

func isolate(now []link.Rule, args, nodes []string) ([]link.Rule, error) {
	if !slices.Contains(nodes, args[0]) {
		return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("there is no node %q", args[0]), Try: "one of " + strings.Join(nodes, ", ")}
	}
	return append(now, link.Isolate(args[0], nodes)...), nil
}

func cut(now []link.Rule, args, nodes []string) ([]link.Rule, error) {
	return each(now, args[0], nodes, link.Rule{Action: link.Hole})
}

func delay(now []link.Rule, args, nodes []string) ([]link.Rule, error) {
	d, jitter, err := parseDelay(args[1])
	if err != nil {
		return nil, err
	}
	return each(now, args[0], nodes, link.Rule{Delay: d, Jitter: jitter})
}

func drop(now []link.Rule, args, nodes []string) ([]link.Rule, error) {
	loss, err := parsePercent(args[1])
	if err != nil {
		return nil, err
	}
	return each(now, args[0], nodes, link.Rule{Loss: loss})
}

// each puts a rule on every link of the spec.
func each(now []link.Rule, spec string, nodes []string, what link.Rule) ([]link.Rule, error) {
	pairs, err := link.ParseLinks(spec, nodes)
	for _, p := range pairs {
		what.From, what.To = p.From, p.To
		now = append(now, what)
	}
	return now, err
}

// parseDelay reads 80ms, 80ms±10ms or 80ms+-10ms.
func parseDelay(s string) (d, jitter time.Duration, err error) {
	const most = time.Minute
	bad := &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("delay %q is not a time of at most %v", s, most), Try: "80ms, 80ms±10ms or 80ms+-10ms"}
	first, second, both := strings.Cut(strings.ReplaceAll(s, "+-", "±"), "±")
	if d, err = time.ParseDuration(first); err != nil || d <= 0 || d > most {
		return 0, 0, bad
	}
	if !both {
		return d, 0, nil
	}
	if jitter, err = time.ParseDuration(second); err != nil || jitter < 0 || jitter > d {
		return 0, 0, bad
	}
	return d, jitter, nil
}

func parsePercent(s string) (float64, error) {
	number, ok := strings.CutSuffix(s, "%")
	percent, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(percent > 0 && percent <= 100) {
		return 0, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("loss %q is not a percentage above 0 and up to 100", s), Try: "5%"}
	}
	return percent / 100, nil
}

func (a *app) healCommand() *cobra.Command {
	return &cobra.Command{
		Use: "heal", Short: "take every rule away", Args: takes(0, 0),
		Example: `  kvctl net heal`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(func(c localcluster.Cluster) error { return a.setFaults(cmd.Context(), c, nil) })
		},
	}
}

// nodeFaults is what one node says its rules have done.
type nodeFaults struct {
	Node    string `json:"node"`
	Rules   int    `json:"rules"`
	Held    uint64 `json:"held"`
	Delayed uint64 `json:"delayed"`
}

func (a *app) netShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "the rules in force, and what they have met", Args: takes(0, 0),
		Example: "  kvctl net show",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(func(c localcluster.Cluster) error {
				rules, err := faults(cmd.Context(), c)
				if err != nil {
					return err
				}
				met := effects(cmd.Context(), c)
				return a.show(map[string]any{"rules": rulesJSON(rules), "nodes": met}, func() {
					a.ruleTable(rules)
					rows := [][]string{{"NODE", "RULES", "HELD", "DELAYED"}}
					for _, n := range met {
						rows = append(rows, []string{n.Node, strconv.Itoa(n.Rules), strconv.FormatUint(n.Held, 10), strconv.FormatUint(n.Delayed, 10)})
					}
					a.table(rows)
				})
			})
		},
	}
}

func effects(ctx context.Context, c localcluster.Cluster) []nodeFaults {
	out := []nodeFaults{}
	for _, name := range c.Nodes() {
		if f, err := askFaults(ctx, c, name); err == nil {
			out = append(out, nodeFaults{name, len(f.GetRules()), f.GetHeld(), f.GetDelayed()})
		}
	}
	return out
}

func askFaults(ctx context.Context, c localcluster.Cluster, name string) (*kvpb.FaultsResponse, error) {
	admin, err := c.Admin(name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	return admin.Faults(ctx, &kvpb.FaultsRequest{})
}

// faults is the table in force: as it was written down or, where nothing is, as the
// first node that answers has it.
func faults(ctx context.Context, c localcluster.Cluster) ([]link.Rule, error) {
	if p, ok := c.(*localcluster.Procs); ok {
		return p.Faults()
	}
	for _, name := range c.Nodes() {
		f, err := askFaults(ctx, c, name)
		if err != nil {
			continue
		}
		return rulesOf(f)
	}
	return nil, &store.Error{Code: store.Unavailable, Msg: "no node answers"}
}

// rulesOf are the rules that a node has.
func rulesOf(f *kvpb.FaultsResponse) (rules []link.Rule, err error) {
	for _, r := range f.GetRules() {
		action, err := link.ParseAction(r.GetAction())
		if err != nil {
			return nil, err
		}
		rules = append(rules, link.Rule{
			From: r.GetFrom(), To: r.GetTo(), Action: action,
			Delay: time.Duration(r.GetDelayNs()), Jitter: time.Duration(r.GetJitterNs()), Loss: r.GetLoss(),
			Duplicate: r.GetDuplicate(), Reorder: r.GetReorder(), Bandwidth: int64(min(r.GetBandwidth(), math.MaxInt64)),
		})
	}
	return rules, nil
}

// ruleJSON is a rule in -o json.
type ruleJSON struct {
	From     string  `json:"from"`
	To       string  `json:"to"`
	Action   string  `json:"action"`
	DelayMS  float64 `json:"delay_ms,omitempty"`
	JitterMS float64 `json:"jitter_ms,omitempty"`
	Loss     float64 `json:"loss,omitempty"`

	Duplicate float64 `json:"duplicate,omitempty"`
	Reorder   float64 `json:"reorder,omitempty"`
	Bandwidth int64   `json:"bandwidth,omitempty"`
}

func rulesJSON(rules []link.Rule) []ruleJSON {
	out := []ruleJSON{}
	for _, r := range rules {
		out = append(out, ruleJSON{r.From, r.To, r.Action.String(), milliseconds(r.Delay), milliseconds(r.Jitter), r.Loss, r.Duplicate, r.Reorder, r.Bandwidth})
	}
	return out
}

func (a *app) ruleTable(rules []link.Rule) {
	if len(rules) == 0 {
		fmt.Fprintln(a.out, "every link is whole")
		return
	}
	rows := [][]string{{"FROM", "TO", "WHAT"}}
	for _, r := range rules {
		rows = append(rows, []string{r.From, r.To, effect(r)})
	}
	a.table(rows)
}

func effect(r link.Rule) string {
	switch {
	case r.Action == link.Hole:
		return "cut"
	case r.Action == link.Reset:
		return "reset"
	case r.Loss > 0:
		return fmt.Sprintf("loses %g%%", r.Loss*100)
	case r.Duplicate > 0:
		return fmt.Sprintf("doubles %g%% of packets", r.Duplicate*100)
	case r.Reorder > 0:
		return fmt.Sprintf("reorders %g%% of packets", r.Reorder*100)
	case r.Bandwidth > 0:
		return fmt.Sprintf("takes %d bytes a second", r.Bandwidth)
	case r.Jitter > 0:
		return fmt.Sprintf("%v±%v late", r.Delay, r.Jitter)
	}
	return fmt.Sprintf("%v late", r.Delay)
}

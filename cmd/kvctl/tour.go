package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

const (
	strongTimeout   = time.Second      // how long the minority may try
	electionTimeout = 15 * time.Second // for the majority to have a leader
	healTimeout     = 30 * time.Second // for all replicas to be equal
	look            = 10 * time.Millisecond
)

// tour is one partition, seen from both of its sides.
type tour struct {
	*demo
	minority, majority []string
	low, high          *client.Client // that enter at a node of each side
	broken             []string       // hypotheses that did not hold
	said               strings.Builder
}

// tour cuts the leader of orders off with a minority, asks both sides, heals, and
// lets the checkers judge a load with more partitions.
func (d *demo) tour(ctx context.Context, up time.Duration) error {
	t := &tour{demo: d}
	t.say("%s", d.greeting(ctx, up))
	if err := t.prepare(ctx); err != nil {
		return err
	}
	defer t.low.Close()
	defer t.high.Close()
	if err := t.probe(ctx); err != nil {
		return err
	}
	if err := t.heal(ctx); err != nil {
		return err
	}
	if err := t.check(ctx); err != nil {
		return err
	}
	if len(t.broken) == 0 {
		return nil
	}
	d.app.progress("did not hold: %s\ntry: kvctl demo --tour --seed %d", strings.Join(t.broken, "; "), d.seed)
	return errFailed
}

// say prints a line, and keeps it for the report.
func (t *tour) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	fmt.Fprintln(&t.said, line)
	if t.app.output == "table" {
		fmt.Fprintln(t.app.out, line)
	}
}

// holds notes a hypothesis, and returns its mark.
func (t *tour) holds(what string, held bool) string {
	if !held {
		t.broken = append(t.broken, what)
	}
	return t.app.mark(held)
}

// prepare chooses the sides, so that the leader is in the minority, and makes sure
// that the minority knows the first value before it is cut off.
func (t *tour) prepare(ctx context.Context) error {
	nodes := t.cluster.Nodes()
	leader, _, err := t.awaitLeader(ctx, nodes)
	if err != nil {
		return err
	}
	t.minority = []string{leader}
	for _, name := range nodes {
		if name != leader && len(t.minority) < (len(nodes)-1)/2 {
			t.minority = append(t.minority, name)
		} else if name != leader {
			t.majority = append(t.majority, name)
		}
	}
	slices.Sort(t.minority)
	if t.low, err = t.cluster.Client(ctx, t.minority[0]); err != nil {
		return err
	}
	if t.high, err = t.cluster.Client(ctx, t.majority[0]); err != nil {
		return err
	}
	if _, err = t.low.Keyspace(orders).Put(ctx, "order", []byte("v1"), client.WithTimeout(electionTimeout)); err != nil {
		return err
	}
	return t.everywhere(ctx, t.orders, func(views []string) bool { return views[0] != "" && alike(views) })
}

// probe cuts, and fills the table.
func (t *tour) probe(ctx context.Context) error {
	cut := strings.Join(t.minority, ",") + "|" + strings.Join(t.majority, ",")
	rules, err := link.ParsePartition(cut, t.cluster.Nodes())
	if err != nil {
		return err
	}
	if err := t.cluster.SetFaults(ctx, rules); err != nil {
		return err
	}
	began := time.Now()
	t.say("✂ %s", strings.Replace(cut, "|", " | ", 1))
	t.row("", strings.Join(t.minority, ",")+" (minority)", strings.Join(t.majority, ",")+" (majority)")
	elected := t.elected(ctx, began)
	t.row("orders  strong", t.strongLow(ctx), t.strongHigh(ctx)+elected)
	t.row("orders  eventual", t.eventual(ctx, t.low, "minority", "v1"), t.eventual(ctx, t.high, "majority", "v2"))
	mine, yours := t.low.NewSession(), t.high.NewSession()
	t.row("carts   put", t.put(ctx, t.low, mine, "minority", "milk"), t.put(ctx, t.high, yours, "majority", "bread"))
	t.row("carts   causal", t.causal(ctx, t.low, mine, "minority", "milk"), t.causal(ctx, t.high, yours, "majority", "bread"))
	return nil
}

func (t *tour) row(what, low, high string) {
	t.say("%s%s%s", pad(what, 18), pad(low, 39), high)
}

// pad fills with spaces up to a width in characters; the escapes of a colour take
// no room.
func pad(s string, width int) string {
	seen := utf8.RuneCountInString(s)
	if strings.Contains(s, "\x1b[") {
		seen -= len("\x1b[32m") + len("\x1b[0m")
	}
	return s + strings.Repeat(" ", max(2, width-seen))
}

// elected waits until the majority has a leader of its own, and writes v2 there. A
// call has little time, so that none waits long for the leader that was.
func (t *tour) elected(ctx context.Context, cut time.Time) string {
	ctx, cancel := context.WithTimeout(ctx, electionTimeout)
	defer cancel()
	leader, term, err := t.awaitLeader(ctx, t.majority)
	took := time.Since(cut)
	if t.holds("the majority elects a leader", err == nil); err != nil {
		return "  (no leader in " + rough(took) + ")"
	}
	for {
		_, err = t.high.Keyspace(orders).Put(ctx, "order", []byte("v2"), client.WithTimeout(strongTimeout))
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	t.holds("the majority goes on writing orders", err == nil)
	return fmt.Sprintf("  (new leader %s, term %d, elected in %s)", leader, term, rough(took))
}

func (t *tour) strongLow(ctx context.Context) string {
	began := time.Now()
	item, err := t.low.Keyspace(orders).Get(ctx, "order", client.At(store.Strong), client.WithTimeout(strongTimeout))
	took := time.Since(began)
	refused := errors.Is(err, store.Unavailable) || errors.Is(err, store.NotLeader)
	t.holds("the minority refuses a strong read", refused)
	if err == nil {
		return fmt.Sprintf("%s read %s in %s", t.app.red("✗"), item.Value, rough(took))
	}
	return fmt.Sprintf("%s %s after %s", t.app.red("✗"), store.AsError(err).Code, rough(took))
}

func (t *tour) strongHigh(ctx context.Context) string {
	began := time.Now()
	item, err := t.high.Keyspace(orders).Get(ctx, "order", client.At(store.Strong), client.WithTimeout(electionTimeout))
	mark := t.holds("the majority serves a strong read of v2", err == nil && string(item.Value) == "v2")
	return fmt.Sprintf("%s %s in %s", mark, readText(item, err), rough(time.Since(began)))
}

func readText(item client.Item, err error) string {
	switch {
	case err != nil:
		return string(store.AsError(err).Code)
	case !item.Found:
		return "nothing"
	}
	return "read " + string(item.Value)
}

func (t *tour) eventual(ctx context.Context, side *client.Client, name, want string) string {
	item, err := side.Keyspace(orders).Get(ctx, "order", client.At(store.Eventual), client.In(side.NewSession()))
	if err != nil {
		return t.holds("the "+name+" answers an eventual read", false) + " " + string(store.AsError(err).Code)
	}
	got := string(item.Value)
	// A replica of the majority may be a moment behind its leader: that is the level.
	held := got == want || name == "majority" && got == "v1"
	s := fmt.Sprintf("%s %s", t.holds("the "+name+" reads "+want+" at eventual", held), got)
	if item.Proof.Fresh {
		s += ", at most " + rough(item.Proof.Staleness) + " old"
	}
	return s
}

func (t *tour) put(ctx context.Context, side *client.Client, s *client.Session, name, value string) string {
	_, err := side.Keyspace(carts).Put(ctx, "cart", []byte(value), client.In(s))
	mark := t.holds("the "+name+" takes a put of carts", err == nil)
	if err != nil {
		return mark + " " + string(store.AsError(err).Code)
	}
	return mark + " accepted"
}

func (t *tour) causal(ctx context.Context, side *client.Client, s *client.Session, name, want string) string {
	item, err := side.Keyspace(carts).Get(ctx, "cart", client.At(store.Causal), client.In(s))
	if err != nil {
		return t.holds("the "+name+" serves its own session", false) + " " + string(store.AsError(err).Code)
	}
	return t.holds("the "+name+"'s session reads its own write", string(item.Value) == want) + " own session served"
}

// heal takes the cut away and waits until all replicas are equal.
func (t *tour) heal(ctx context.Context) error {
	if err := t.cluster.SetFaults(ctx, nil); err != nil {
		return err
	}
	began := time.Now()
	both := func(views []string) bool {
		return alike(views) && strings.Contains(views[0], "milk") && strings.Contains(views[0], "bread")
	}
	v2 := func(views []string) bool { return alike(views) && strings.Contains(views[0], "v2") }
	err := t.everywhere(ctx, t.carts, both)
	conflict := "1 conflict on \"cart\", both values kept"
	mark := t.holds("carts keeps both values of the conflict, on every replica", err == nil)
	if err != nil {
		conflict = "the replicas differ still"
	}
	history := "one history"
	if err := t.everywhere(ctx, t.orders, v2); err != nil {
		mark = t.holds("orders has one history, which ends in v2", false)
		history = "the replicas differ still"
	}
	t.say("%s healed   orders: %s   carts: %s, all replicas equal after %s", mark, history, conflict, rough(time.Since(began)))
	return ctx.Err()
}

// everywhere waits until what the replicas hold satisfies is; it is given, of every
// node, what its own replica holds of the keyspace.
func (t *tour) everywhere(ctx context.Context, k shard.Keyspace, is func(views []string) bool) error {
	ctx, cancel := context.WithTimeout(ctx, healTimeout)
	defer cancel()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		views, err := t.views(ctx, k)
		if err == nil && is(views) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return store.Expired(ctx, "the replicas of "+k.Name+" to be equal")
		}
	}
}

func (t *tour) views(ctx context.Context, k shard.Keyspace) ([]string, error) {
	var views []string
	for _, name := range k.Members(0) {
		admin, err := t.cluster.Admin(name)
		if err != nil {
			return nil, err
		}
		dump, err := admin.Dump(ctx, &kvpb.DumpRequest{KeyspaceId: k.ID, Limit: store.MaxPage})
		if err != nil {
			return nil, kvpb.FromStatus(err)
		}
		var view strings.Builder
		for _, item := range dump.GetItems() {
			fmt.Fprintf(&view, "%s@%d=%q", item.GetKey(), item.GetRevision(), item.GetValues())
			for _, s := range item.GetSiblings() {
				fmt.Fprintf(&view, " %s:%q", s.GetDot(), s.GetValue())
			}
		}
		views = append(views, view.String())
	}
	return views, nil
}

func alike(views []string) bool {
	return !slices.ContainsFunc(views, func(v string) bool { return v != views[0] })
}

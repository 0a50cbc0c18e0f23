package link

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dialkv/dialkv/store"
)

// Action is what a rule does with a link. Later ones win over earlier ones.
type Action uint8

const (
	Pass  Action = iota // let through, perhaps late or not at all: Delay, Jitter, Loss
	Hole                // silence: nobody is told, and held bytes go on when it heals
	Reset               // an error on both ends; what it met stays broken
)

var actionNames = [...]string{Pass: "pass", Hole: "hole", Reset: "reset"}

func (a Action) String() string {
	if a <= Reset {
		return actionNames[a]
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// ParseAction reads the name that String gives.
func ParseAction(name string) (Action, error) {
	if i := slices.Index(actionNames[:], name); i >= 0 {
		return Action(i), nil
	}
	return 0, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("the link action %q is not known", name), Try: "pass, hole or reset"}
}

// Any in a rule stands for every node.
const Any = "*"

// Rule is one fault on one direction of a link.
type Rule struct {
	From, To string // a node's name, or Any
	Kind     Kind   // zero: every kind
	Action   Action
	Delay    time.Duration // added to each direction it names
	Jitter   time.Duration // Delay ± up to this much, never below zero
	Loss     float64       // 0…1: packets are dropped, stream bytes come 200 ms later
	// Duplicate and Reorder are 0…1 and for packets: so many come twice, or are overtaken by
	// those behind them, within 50 ms. A stream gives its bytes once and in order, whatever
	// the network does.
	Duplicate, Reorder float64
	Bandwidth          int64 // bytes a second of each connection, and of a packet; 0: no limit
}

func (r Rule) matches(from, to string, kind Kind) bool {
	return (r.From == Any || r.From == from) && (r.To == Any || r.To == to) && (r.Kind == 0 || r.Kind == kind)
}

func (r Rule) check() error {
	for _, end := range []string{r.From, r.To} {
		if end == Any {
			continue
		}
		if err := store.CheckName("node", end); err != nil {
			return err
		}
	}
	bad := func(format string, args ...any) error {
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("link rule %s->%s: ", r.From, r.To) + fmt.Sprintf(format, args...)}
	}
	switch {
	case r.Kind > Asking:
		return bad("%s is not known", r.Kind)
	case r.Action > Reset:
		return bad("%s is not known; it is pass, hole or reset", r.Action)
	case r.Delay < 0:
		return bad("the delay is %s, it cannot be negative", r.Delay)
	case r.Jitter < 0:
		return bad("the jitter is %s, it cannot be negative", r.Jitter)
	case r.Bandwidth < 0:
		return bad("the bandwidth is %d bytes a second, it cannot be negative", r.Bandwidth)
	}
	parts := map[string]float64{"loss": r.Loss, "duplicate": r.Duplicate, "reorder": r.Reorder}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		if part := parts[name]; !(part >= 0 && part <= 1) { // so that NaN is refused too
			return bad("the %s is %g, it must be between 0 and 1", name, part)
		}
	}
	return nil
}

// Verdict is what all rules together say about one direction of a link. The zero
// Verdict lets everything pass.
type Verdict struct {
	Action        Action
	Delay, Jitter time.Duration
	Loss          float64

	Duplicate, Reorder float64
	Bandwidth          int64
}

// Rules is a table of faults. The zero Rules has none. All methods may be called by
// several goroutines; a nil *Rules lets everything pass.
type Rules struct {
	sealed        bool // faults are not allowed here
	now           atomic.Pointer[table]
	held, delayed atomic.Uint64
}

// table is immutable, but that changed is closed when another takes its place.
type table struct {
	rules   []Rule
	changed chan struct{}
}

// Set puts rules in place of all that were there and lets everybody who waits look
// again; Set(nil) heals. On an error nothing changed.
func (r *Rules) Set(rules []Rule) error {
	if r.sealed && len(rules) > 0 {
		return &store.Error{Code: store.Denied, Msg: "this node does not allow fault injection", Try: "start it with --allow-faults"}
	}
	for _, rule := range rules {
		if err := rule.check(); err != nil {
			return err
		}
	}
	before := r.now.Swap(newTable(slices.Clone(rules)))
	if before != nil {
		close(before.changed)
	}
	return nil
}

func newTable(rules []Rule) *table { return &table{rules: rules, changed: make(chan struct{})} }

// table makes the first one only when it is asked for: its channel then belongs to
// the bubble that uses it.
func (r *Rules) table() *table {
	if t := r.now.Load(); t != nil {
		return t
	}
	r.now.CompareAndSwap(nil, newTable(nil))
	return r.now.Load()
}

// List returns the rules in force; the slice is the caller's.
func (r *Rules) List() []Rule { return slices.Clone(r.table().rules) }

// Check says what the rules make of bytes from one node to another, and returns a
// channel that is closed when that may have changed. Rules on the same link
// combine: the harshest action, the sum of the delays, the least bandwidth, and each
// loss, duplicate and reorder on its own. A node always reaches itself.
func (r *Rules) Check(from, to string, kind Kind) (Verdict, <-chan struct{}) {
	if r == nil {
		return Verdict{}, nil
	}
	t := r.table()
	return t.verdict(from, to, kind), t.changed
}

func (t *table) verdict(from, to string, kind Kind) Verdict {
	var v Verdict
	if from == to {
		return v
	}
	arrive, once, ordered := 1.0, 1.0, 1.0
	for _, rule := range t.rules {
		if rule.matches(from, to, kind) {
			v.Action = max(v.Action, rule.Action)
			v.Delay += rule.Delay
			v.Jitter += rule.Jitter
			arrive *= 1 - rule.Loss
			once *= 1 - rule.Duplicate
			ordered *= 1 - rule.Reorder
			if v.Bandwidth == 0 || rule.Bandwidth > 0 && rule.Bandwidth < v.Bandwidth {
				v.Bandwidth = rule.Bandwidth
			}
		}
	}
	v.Loss, v.Duplicate, v.Reorder = 1-arrive, 1-once, 1-ordered
	return v
}

// await returns when both directions of a link are open: a dial needs an answer.
func (r *Rules) await(ctx context.Context, link route) error {
	for counted := false; ; counted = true {
		t := r.table()
		action := max(t.verdict(link.from, link.to, link.kind).Action, t.verdict(link.to, link.from, link.kind).Action)
		if action == Pass {
			return nil
		}
		if !counted {
			r.noteHeld()
		}
		if action == Reset {
			return syscall.ECONNRESET
		}
		select {
		case <-t.changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Counts is the effect probe: how many reads, writes, packets and dials the rules
// held back, refused or dropped, and how many they delayed, or sent once more. A fault
// that moved neither number met no traffic.
func (r *Rules) Counts() (held, delayed uint64) { return r.held.Load(), r.delayed.Load() }

func (r *Rules) noteHeld() { r.held.Add(1) }

func (r *Rules) noteTwice() { r.delayed.Add(1) }

func (r *Rules) noteDelay(v Verdict) {
	if v.Delay > 0 || v.Jitter > 0 {
		r.delayed.Add(1)
	}
}

// takes is how long so many bytes are under way beside the latency.
func (v Verdict) takes(bytes int) time.Duration {
	if v.Bandwidth == 0 {
		return 0
	}
	return time.Duration(float64(bytes) / float64(v.Bandwidth) * float64(time.Second))
}

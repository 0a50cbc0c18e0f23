package ap

import (
	"fmt"
	"math/big"
	"slices"

	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// maxCounting is how many siblings of a counter a coordinator adds one to: one for each
// start of a node that counted since the key was deleted.
const maxCounting = 4096

// suits refuses what the conflict policy has no meaning for.
func suits(p store.Policy, c store.Command) error {
	unsupported := func(msg, try string) error {
		return &store.Error{Code: store.Unsupported, Msg: msg, Try: try}
	}
	switch {
	case c.Op == store.Increment && p != store.Counter:
		return unsupported("a keyspace with the policy "+p.String()+" has no increments", "a keyspace with --conflict counter, or a cp keyspace")
	case c.Op == store.Put && p == store.Counter:
		return unsupported("a counter is not put: a put would undo increments that nobody has seen", "an increment, also a negative one; or a delete, then an increment")
	case c.Field != "" && !p.Fields():
		return unsupported("a keyspace with the policy "+p.String()+" has no members or fields", "a keyspace with --conflict set or --conflict map")
	case c.Op == store.Put && c.Field == "" && p == store.Set:
		return unsupported("a set has no value of its own", "kvctl set add: put a member")
	case c.Op == store.Put && c.Field == "" && p == store.Map:
		return unsupported("a map has no value of its own", "kvctl map put: put a field")
	case c.Blind && (p.Fields() || p == store.Counter):
		return unsupported("a keyspace with the policy "+p.String()+" has no blind writes: nothing in it is overwritten unseen", "the write without it")
	case p == store.Set && len(c.Value) > 0:
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("a member of a set has no value, and %d bytes are given", len(c.Value)), Try: "a keyspace with --conflict map"}
	}
	return nil
}

// decide returns what w does to its key, of which these are the siblings, or why it is
// refused. The applier calls it.
func (r *Replica) decide(w *localWrite, siblings []causal.Sibling) (causal.Write, executed, error) {
	if r.cfg.Policy == store.Counter {
		return r.count(w, siblings)
	}
	own := siblings
	if w.cmd.Field != "" {
		own = slices.DeleteFunc(slices.Clone(siblings), func(s causal.Sibling) bool { return s.Field != w.cmd.Field })
	}
	did := executed{found: len(own) > 0}
	supersedes, err := r.superseded(w, own)
	if err == nil && w.cmd.Op == store.Put {
		err = r.room(w, siblings, supersedes)
	}
	return causal.Write{
		Supersedes: supersedes,
		Delete:     w.cmd.Op == store.Delete,
		Field:      w.cmd.Field,
		Value:      w.cmd.Value,
	}, did, err
}

// room refuses a put that would leave more under the key than there may be.
func (r *Replica) room(w *localWrite, siblings []causal.Sibling, supersedes []causal.Dot) error {
	if !r.cfg.Policy.Fields() {
		if len(siblings)-len(supersedes) < maxSiblings {
			return nil
		}
		return &store.Error{
			Code: store.TooManySiblings,
			Msg:  fmt.Sprintf("the key has %d concurrent values, the limit is %d", len(siblings), maxSiblings),
			Try:  "read the key, merge, and put with the context of that read",
		}
	}
	count, size := 1, len(w.cmd.Field)+len(w.cmd.Value)
	for _, s := range siblings {
		if !slices.Contains(supersedes, s.Dot) {
			count, size = count+1, size+len(s.Field)+len(s.Value)
		}
	}
	if count <= store.MaxFields && size <= store.MaxValue {
		return nil
	}
	return &store.Error{
		Code: store.TooLarge,
		Msg: fmt.Sprintf("the %v would have %d members or fields of %d bytes, the limits are %d and %d",
			r.cfg.Policy, count, size, store.MaxFields, store.MaxValue),
		Try: "several keys, or a key for each and a scan of their prefix",
	}
}

// count decides what a write to a counter does. A context only made it wait: a delete
// takes away all that this replica has applied, since of what was added up no part can
// be taken.
func (r *Replica) count(w *localWrite, siblings []causal.Sibling) (causal.Write, executed, error) {
	alive := causal.Alive(siblings)
	did := executed{found: len(alive) > 0}
	c := &causal.Count{Delta: w.cmd.Delta}
	write := causal.Write{Delete: w.cmd.Op == store.Delete, Count: c}
	if write.Delete {
		for _, s := range alive {
			write.Supersedes, c.Totals = append(write.Supersedes, s.Dot), append(c.Totals, s.Sum.Total)
		}
		return write, did, nil
	}
	write.Supersedes, c.Totals = causal.Counted(siblings, r.life())
	if len(write.Supersedes) == 0 && len(siblings) >= maxCounting {
		return write, did, &store.Error{
			Code: store.TooManySiblings,
			Msg:  fmt.Sprintf("%d starts of nodes have counted under this key, the limit is %d", len(siblings), maxCounting),
			Try:  "a delete of the key, and an increment by what it was",
		}
	}
	total := big.NewInt(c.Delta)
	if len(c.Totals) > 0 {
		total.Add(total, big.NewInt(c.Totals[0]))
	}
	sum := causal.Total(alive)
	sum.Add(sum, big.NewInt(c.Delta))
	if !sum.IsInt64() || !total.IsInt64() {
		return write, did, &store.Error{
			Code: store.Invalid,
			Msg:  fmt.Sprintf("%s and %d add up to more than 64 bits hold", causal.Total(alive), c.Delta),
			Try:  "a smaller delta, or a delete first",
		}
	}
	did.value = []byte(sum.String())
	return write, did, nil
}

// fits reports whether siblings that came from a peer are of the keyspace's policy. A
// counter has one of each actor.
func (c Config) fits(siblings []causal.Sibling) bool {
	for i, s := range siblings {
		twice := i > 0 && siblings[i-1].Dot.Actor == s.Dot.Actor
		if (s.Sum != nil) != (c.Policy == store.Counter) || s.Sum != nil && (twice || s.Sum.Base > s.Dot.N) {
			return false
		}
	}
	return true
}

// foldAtOnce is the planted bug M36: an actor's sum is one value, which a delete takes
// away where it is just that value, and nowhere else.
func foldAtOnce(siblings []causal.Sibling, w *causal.Write) {
	if !mutant.M36 || w.Count == nil || !w.Delete {
		return
	}
	var left causal.Write
	left.Count = &causal.Count{}
	for i, d := range w.Supersedes {
		if slices.ContainsFunc(siblings, func(s causal.Sibling) bool { return s.Dot == d }) {
			left.Supersedes, left.Count.Totals = append(left.Supersedes, d), append(left.Count.Totals, w.Count.Totals[i])
		}
	}
	w.Supersedes, w.Count = left.Supersedes, left.Count
}

// removeByName is the planted bug M43: a remove takes away whatever its member or field is
// by then, at each replica, and not what its coordinator had.
func removeByName(siblings []causal.Sibling, w *causal.Write) {
	if !mutant.M43 || !w.Delete || w.Field == "" {
		return
	}
	w.Supersedes = dotsOf(slices.DeleteFunc(slices.Clone(siblings), func(s causal.Sibling) bool { return s.Field != w.Field }))
}

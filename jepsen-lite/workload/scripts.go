package workload

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// author is what all scripts have: a client's own draws, its values, and what it
// last saw of the keys that its team writes now.
type author struct {
	process int
	rng     *rand.Rand
	space   *shard.Keyspace
	keys    *rotation
	written int
	seen    map[string]sight
}

// manyKeys is how many keys an author remembers; of those that were replaced it
// needs none.
const manyKeys = 32

func (a *author) saw(s step, what sight) {
	if !what.told {
		return
	}
	if a.seen == nil || len(a.seen) >= manyKeys {
		a.seen = map[string]sight{}
	}
	a.seen[s.key] = what
}

// unique is a value that nobody writes again, nor any other client.
func (a *author) unique(letter string) string {
	a.written++
	return fmt.Sprintf("%s%d.%d", letter, a.process, a.written)
}

func (a *author) get(key string, level store.Level) step {
	return step{kind: history.Get, space: a.space, key: key, level: level}
}

// put writes a new value. On ap it follows what this client last read of the key, if
// it has read it and, on lww, by the toss of a coin. A siblings keyspace takes no put
// that says neither what it has read nor that it is blind.
func (a *author) put(key string) step {
	s := step{kind: history.Put, space: a.space, key: key, value: a.unique("v")}
	a.follow(&s)
	s.blind = a.space.Policy == store.Siblings && s.after == nil
	return s
}

// remove deletes the key. On siblings it must say what it has read.
func (a *author) remove(key string) (s step, ok bool) {
	s = step{kind: history.Delete, space: a.space, key: key, value: a.unique("d")}
	a.follow(&s)
	return s, a.space.Policy != store.Siblings || s.after != nil
}

func (a *author) follow(s *step) {
	what, known := a.seen[s.key]
	if !known || len(what.context) == 0 {
		return
	}
	if a.space.Policy == store.Siblings || a.rng.IntN(2) == 0 {
		s.after = &what
		delete(a.seen, s.key)
	}
}

// register is every operation of one key of a cp keyspace, at strong.
type register struct{ author }

func (r *register) next() step {
	key := r.keys.pick()
	what, known := r.seen[key]
	switch n := r.rng.IntN(100); {
	case n < 25:
		return r.put(key)
	case n < 45 && known && len(what.values) > 0:
		s := r.put(key)
		s.kind, s.expect = history.CAS, what.values[0]
		return s
	case n >= 92:
		s, _ := r.remove(key)
		return s
	case n >= 84: // a key of its own: a value is no number
		return step{kind: history.Incr, space: r.space, key: "n" + key, delta: 1}
	case n >= 80:
		return r.get("n"+key, store.Strong)
	}
	s := r.get(key, store.Strong)
	s.own = r.rng.IntN(4) > 0
	return s
}

// roaming is reads and writes of one keyspace of any mode; its process moves.
type roaming struct{ author }

var roamingLevels = []store.Level{store.ReadYourWrites, store.Monotonic, store.Causal}

// readBound is above what it takes to hear of a write, and below how long a key is
// in use.
const readBound = 500 * time.Millisecond

func (r *roaming) next() step {
	key := r.keys.pick()
	switch n := r.rng.IntN(100); {
	case n < 40:
		s := r.put(key)
		if r.space.Mode == store.AP && n < 10 {
			s.w = store.WMajority
		}
		return s
	case n < 46:
		if s, ok := r.remove(key); ok {
			return s
		}
	case n < 50:
		s := r.get(key, store.Bounded)
		s.bound = readBound
		return s
	case n < 56:
		return r.get(key, store.Quorum)
	}
	return r.get(key, roamingLevels[r.rng.IntN(len(roamingLevels))])
}

// bounds is writes and, for the most part, bounded and quorum reads of an ap keyspace.
// Half of its clients stay at their node, so that one which is cut off takes writes of
// sessions that it covers.
type bounds struct{ author }

func (b *bounds) next() step {
	key := b.keys.pick()
	switch n := b.rng.IntN(100); {
	case n < 45:
		s := b.put(key)
		if n < 5 {
			s.w = store.WMajority
		}
		return s
	case n < 50:
		if s, ok := b.remove(key); ok {
			return s
		}
	case n < 62:
		s := b.get(key, store.Bounded)
		s.bound = readBound
		return s
	case n < 70:
		return b.get(key, store.Quorum)
	}
	return b.get(key, store.Causal)
}

// chain is one thread of conversation after the other: a post on one key, a reply on
// another by who has read the post. Who reads a reply then looks for the post.
type chain struct {
	author
	then []step // what the last answer asks for
}

func (c *chain) next() step {
	if len(c.then) > 0 {
		s := c.then[0]
		c.then = c.then[1:]
		return s
	}
	thread := c.keys.pick()
	post, reply := "post-"+thread, "reply-"+thread
	switch n := c.rng.IntN(100); {
	case n < 20:
		return c.put(post)
	case n < 25:
		s, _ := c.remove(post)
		return s
	case n < 60:
		return c.get(post, store.Causal)
	default:
		c.then = append(c.then, c.get(post, store.Causal))
		return c.get(reply, store.Causal)
	}
}

// saw lets half of those who read a post reply to it.
func (c *chain) saw(s step, what sight) {
	c.author.saw(s, what)
	thread, isPost := strings.CutPrefix(s.key, "post-")
	if isPost && len(c.then) == 0 && len(what.values) > 0 && c.rng.IntN(2) == 0 {
		c.then = append(c.then, c.put("reply-"+thread))
	}
}

package workload

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// Sizes of what the scripts play with.
const (
	bankAccounts = 4
	bankBalance  = 100
	scanKeys     = 5
	scanPage     = 3
	locks        = 2
	lockTTL      = 2 * time.Second
	shortTTL     = 500 * time.Millisecond
	longTTL      = 2 * time.Second
)

// bank is transfers between the accounts of small banks, and views of all of them. A
// transfer compares what it has last seen of both accounts, by value or by revision, and
// if that is not there any more it learns what is. Balances carry what makes them unique.
type bank struct {
	author
	views map[string]map[string]history.Item // by bank and account
}

func (b *bank) account(of string, i int) string { return fmt.Sprintf("%s/%d", of, i) }

func (b *bank) amount(n int) []byte { return fmt.Appendf(nil, "%d %s", n, b.unique("b")) }

func (b *bank) next() step {
	of := b.keys.pick()
	view := b.views[of]
	n := b.rng.IntN(100)
	switch {
	case len(view) < bankAccounts:
		return b.txn(of, b.found(of))
	case n < 50:
		return b.txn(of, b.transfer(of, view))
	case n < 70:
		return b.txn(of, &store.Txn{Then: b.all(of)})
	}
	return step{kind: history.Scan, space: b.space, key: of + "/", level: store.Strong, page: 2}
}

func (b *bank) txn(of string, t *store.Txn) step {
	return step{kind: history.Txn, space: b.space, key: of, txn: t}
}

// found makes a bank's accounts, or finds them made.
func (b *bank) found(of string) *store.Txn {
	t := &store.Txn{Else: b.all(of)}
	for i := range bankAccounts {
		t.If = append(t.If, client.Absent(b.account(of, i)))
		t.Then = append(t.Then, client.PutStep(b.account(of, i), b.amount(bankBalance)))
	}
	return t
}

func (b *bank) all(of string) (steps []store.Step) {
	for i := range bankAccounts {
		steps = append(steps, client.GetStep(b.account(of, i)))
	}
	return steps
}

func (b *bank) transfer(of string, view map[string]history.Item) *store.Txn {
	perm := b.rng.Perm(bankAccounts)
	from, to := view[b.account(of, perm[0])], view[b.account(of, perm[1])]
	has, gets := balance(from), balance(to)
	if has == 0 {
		from, to, has, gets = to, from, gets, has
	}
	some := 1 + b.rng.IntN(max(1, has))
	if has < some {
		return &store.Txn{Then: b.all(of)}
	}
	return &store.Txn{
		If:   []store.Compare{b.same(from), b.same(to)},
		Then: []store.Step{client.PutStep(from.Key, b.amount(has-some)), client.PutStep(to.Key, b.amount(gets+some))},
		Else: b.all(of),
	}
}

// same compares an account with what was seen of it.
func (b *bank) same(item history.Item) store.Compare {
	if b.rng.IntN(2) == 0 {
		return client.ChangedAt(item.Key, item.Revision)
	}
	return client.ValueIs(item.Key, []byte(item.Value))
}

func balance(item history.Item) int {
	number, _, _ := strings.Cut(item.Value, " ")
	n, _ := strconv.Atoi(number)
	return n
}

func (b *bank) saw(s step, what sight) {
	if len(what.items) < bankAccounts {
		return
	}
	if b.views == nil || len(b.views) >= manyKeys {
		b.views = map[string]map[string]history.Item{}
	}
	view := map[string]history.Item{}
	for _, item := range what.items {
		view[item.Key] = item
	}
	b.views[strings.TrimSuffix(s.key, "/")] = view
}

// ranges is writes to the keys of small directories, several at a time too, and, unless
// it only writes, scans of them.
type ranges struct {
	author
	writes bool
}

func (r *ranges) next() step {
	dir := r.keys.pick()
	key := func() string { return fmt.Sprintf("%s/%d", dir, r.rng.IntN(scanKeys)) }
	n := r.rng.IntN(100)
	switch {
	case n < 40:
		return r.put(key())
	case n < 52:
		s, _ := r.remove(key())
		return s
	case n < 65:
		return r.several(dir)
	case n < 75 || r.writes:
		return r.get(key(), store.Strong)
	}
	level := store.Strong
	if n >= 95 {
		level = store.Causal
	}
	return step{kind: history.Scan, space: r.space, key: dir + "/", level: level, page: scanPage}
}

// several writes two keys and deletes one, at one revision.
func (r *ranges) several(dir string) step {
	perm := r.rng.Perm(scanKeys)
	key := func(i int) string { return fmt.Sprintf("%s/%d", dir, perm[i]) }
	put := func(i int) store.Step { return client.PutStep(key(i), []byte(r.unique("v"))) }
	t := &store.Txn{Then: []store.Step{put(0), put(1), client.DeleteStep(key(2))}}
	return step{kind: history.Txn, space: r.space, key: dir, txn: t}
}

// counters is incrs, and reads of the sums.
type counters struct{ author }

func (c *counters) next() step {
	key := c.keys.pick()
	if c.rng.IntN(100) < 30 {
		return c.get(key, store.Strong)
	}
	return step{kind: history.Incr, space: c.space, key: key, delta: int64(1 + c.rng.IntN(3))}
}

// lockers take locks, write under them, and let go. What they write is guarded by the
// lock's fence. Now and then one writes with a fence it had before, as one would who was
// paused and does not know what has happened since.
type lockers struct {
	author
	held *client.Lock
	name string
	old  []guard
}

func (l *lockers) next() step {
	n := l.rng.IntN(100)
	switch {
	case l.held == nil && len(l.old) > 0 && n < 25:
		return l.guarded(l.old[l.rng.IntN(len(l.old))])
	case l.held == nil:
		l.name = fmt.Sprintf("%s%d", l.keys.prefix, l.rng.IntN(locks))
		return step{kind: history.Lock, space: l.space, key: l.name, ttl: lockTTL}
	case n < 20:
		held := l.held
		l.forget()
		return step{kind: history.Unlock, space: l.space, key: l.name, holder: held}
	case n < 30:
		return l.get(l.keys.pick(), store.Strong)
	}
	select {
	case <-l.held.Lost(): // write once more, and see
		g := guard{l.name, l.held.Fence()}
		l.forget()
		return l.guarded(g)
	default:
	}
	return l.guarded(guard{l.name, l.held.Fence()})
}

// manyFences is how many old fences a client tries again.
const manyFences = 4

func (l *lockers) forget() {
	l.old = append(l.old, guard{l.name, l.held.Fence()})
	if len(l.old) > manyFences {
		l.old = l.old[1:]
	}
	l.held = nil
}

func (l *lockers) guarded(g guard) step {
	return step{kind: history.Put, space: l.space, key: l.keys.pick(), value: l.unique("v"), guard: &g}
}

func (l *lockers) saw(s step, what sight) {
	if what.lock != nil {
		l.held = what.lock
	}
	l.author.saw(s, what)
}

// mortals writes keys that end, keeps some of them alive, and looks whether they are
// there.
type mortals struct {
	author
	leases map[string]uint64 // of the keys that it put last
}

func (m *mortals) next() step {
	key := m.keys.pick()
	lease := m.leases[key]
	n := m.rng.IntN(100)
	switch {
	case n < 22:
		s := m.put(key)
		s.ttl = shortTTL + time.Duration(m.rng.Int64N(int64(longTTL-shortTTL)))
		return s
	case n < 24:
		return m.put(key)
	case n < 27:
		s, _ := m.remove(key)
		return s
	case n < 35 && lease > 0:
		return step{kind: history.KeepAlive, space: m.space, key: key, lease: lease}
	case n < 37 && lease > 0:
		delete(m.leases, key)
		return step{kind: history.Revoke, space: m.space, key: key, lease: lease}
	}
	return m.get(key, store.Strong)
}

func (m *mortals) saw(s step, what sight) {
	if what.lease > 0 {
		if m.leases == nil || len(m.leases) >= manyKeys {
			m.leases = map[string]uint64{}
		}
		m.leases[s.key] = what.lease
	}
	m.author.saw(s, what)
}

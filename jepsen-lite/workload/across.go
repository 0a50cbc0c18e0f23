package workload

import (
	"fmt"
	"strings"
	"sync"

	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// across is causality that passes from one keyspace to another, by the hand of others: a
// client posts in one, and then deletes a task in the other. Who has seen the task, and
// finds it gone, looks for the post. Each task is deleted by one client, once, so that
// the checkers know whose delete it is that was seen.
type across struct {
	author        // of posts
	tasks  author // of tasks
	board  *board
	open   map[string]bool // tasks that this client has seen
	then   []step          // what the last answer asks for
}

// board is what a team knows of its tasks: how many of a thread were given to somebody
// to delete.
type board struct {
	mu    sync.Mutex
	given map[string]int
}

func newBoard() *board { return &board{given: map[string]int{}} }

// task is the thread's current task or, now and then, one that was deleted.
func (b *board) task(thread string, back int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return taskName(thread, max(0, b.given[thread]-back))
}

func taskName(thread string, n int) string { return fmt.Sprintf("task-%s-%d", thread, n) }

// take gives the thread's current task to the first who asks.
func (b *board) take(thread, task string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if task != taskName(thread, b.given[thread]) {
		return false
	}
	b.given[thread]++
	return true
}

func (a *across) next() step {
	if len(a.then) > 0 {
		s := a.then[0]
		a.then = a.then[1:]
		return s
	}
	thread := a.keys.pick()
	post, task := "post-"+thread, a.board.task(thread, a.rng.IntN(2))
	switch n := a.rng.IntN(100); {
	case n < 10:
		return a.put(post)
	case n < 20:
		return a.get(post, store.Causal)
	case n < 35:
		return a.tasks.put(a.board.task(thread, 0))
	case n < 60 && a.open[task] && a.board.take(thread, task):
		a.then = append(a.then, step{kind: history.Delete, space: a.tasks.space, key: task, value: a.tasks.unique("d")})
		return a.put(post)
	}
	a.then = append(a.then, a.get(post, store.Causal))
	return a.tasks.get(task, a.fresh())
}

// fresh is the level that sees most, so that it is the other keyspace which lags.
func (a *across) fresh() store.Level {
	if a.tasks.space.Mode == store.CP {
		return store.Strong
	}
	return store.Causal
}

func (a *across) saw(s step, what sight) {
	if strings.HasPrefix(s.key, "post-") {
		a.author.saw(s, what)
		return
	}
	a.tasks.saw(s, what)
	if len(a.open) >= manyKeys {
		a.open = nil
	}
	if len(what.values) > 0 {
		if a.open == nil {
			a.open = map[string]bool{}
		}
		a.open[s.key] = true
	}
}

package page

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// maxLines is how much of what was done through the page is kept for the checkers.
const maxLines = 20_000

// tape keeps what was done through the page, as a history.
type tape struct {
	rec *history.Recorder

	mu      sync.Mutex
	lines   []line
	open    map[int64]place // operations that have not ended
	writing place           // of the line that the recorder writes now
	partly  map[place]bool  // keys of which older lines are gone
	covers  map[string][]string
	order   []string // of covers, the oldest first
	deletes int
	changes uint64
}

// line is one line of the history; the zero place is that of a fault.
type line struct {
	at    time.Time
	place place
	text  []byte
}

type place struct{ keyspace, key string }

func newTape() *tape {
	t := &tape{open: make(map[int64]place), partly: make(map[place]bool), covers: make(map[string][]string)}
	t.rec = history.NewRecorder((*lines)(t))
	return t
}

// lines is the tape as its recorder writes to it, one line in one Write, while the tape
// is locked.
type lines tape

func (t *lines) Write(text []byte) (int, error) {
	t.lines = append(t.lines, line{time.Now(), t.writing, bytes.Clone(text)})
	t.changes++
	if len(t.lines) > maxLines {
		(*tape)(t).forget(maxLines / 4)
	}
	return len(text), nil
}

// forget drops the oldest lines. What is left of their keys cannot be judged any more: a
// read may be of a write that is gone.
func (t *tape) forget(n int) {
	for _, l := range t.lines[:n] {
		t.partly[l.place] = true
	}
	t.lines = slices.Clone(t.lines[n:])
	left := make(map[place]bool)
	for _, l := range t.lines {
		left[l.place] = true
	}
	maps.DeleteFunc(t.partly, func(p place, _ bool) bool { return !left[p] || p == place{} })
}

func (t *tape) invoke(c history.Call) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.Process = int(crc32.ChecksumIEEE([]byte(c.Session))) // a session is one client's
	t.writing = place{c.Keyspace, c.Key}
	id := t.rec.Invoke(c)
	t.open[id] = t.writing
	return id
}

func (t *tape) complete(id int64, a history.Answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writing = t.open[id]
	delete(t.open, id)
	t.rec.Complete(id, a)
}

func (t *tape) fault(name, phase, detail string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writing = place{}
	t.rec.Fault(name, phase, detail)
}

// maxCovers is how many reads a later write may follow.
const maxCovers = 1000

// covered remembers what a read showed whose context a write may bring back.
func (t *tape) covered(context string, held []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.covers[context]; !known {
		t.order = append(t.order, context)
	}
	t.covers[context] = append([]string{}, held...)
	if len(t.order) > maxCovers {
		delete(t.covers, t.order[0])
		t.order = t.order[1:]
	}
}

// coversOf is what the context of a write covers; known is false for a context that the
// page did not give, or long ago.
func (t *tape) coversOf(context string) (held []string, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	held, known = t.covers[context]
	return held, known
}

// call is the operation as the history has it.
func (o *op) call() history.Call {
	in := o.in
	c := history.Call{
		Session: in.Client, Node: in.At, Kind: history.Kind(in.Do), Keyspace: o.space.Name, Mode: o.space.Mode.String(), Key: in.Key,
	}
	if in.Do == "get" {
		c.Level = o.level.Or(o.space.Mode).String()
		if o.level == store.Bounded {
			c.Level += ":" + o.bound.String()
		}
	} else {
		c.Value = named([]byte(in.Value))
	}
	if in.Do == "delete" {
		c.Value = o.page.tape.nameDelete()
	}
	if o.space.Mode == store.AP {
		c.Conflict = o.space.Policy.String()
		if o.w != store.WDefault {
			c.W = o.w.String()
		}
		if in.Context != "" {
			c.Covers, _ = o.page.tape.coversOf(in.Context)
		} else if in.Blind {
			c.Covers = []string{}
		}
	}
	return c
}

// answerOf is the answer as the history has it, without what was found.
func answerOf(p store.Proof, err error) history.Answer {
	a := history.Answer{Outcome: store.OutcomeOf(err), ServedBy: p.Node}
	switch {
	case p.Term > 0:
		a.Server = history.Server{Group: p.Group.String(), Role: p.Role, Term: p.Term}
	case p.Vector != "":
		a.Group = p.Group.String()
	}
	if err != nil {
		a.Code = store.AsError(err).Code
	}
	if p.Served != store.LevelDefault {
		a.Served = p.Served.String()
	}
	return a
}

// nameDelete names a delete, as a put is named by its value.
func (t *tape) nameDelete() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deletes++
	return fmt.Sprintf("delete %d", t.deletes)
}

// maxNamed is the length up to which the history has a value itself.
const maxNamed = 200

// named is what the history has of a value: what is long by its digest, which tells it
// from others as well.
func named(v []byte) string {
	if len(v) <= maxNamed {
		return string(v)
	}
	return fmt.Sprintf("%d bytes, SHA-256 %x", len(v), sha256.Sum256(v))
}

// excerpt is what the tape has of some keys.
type excerpt struct {
	history *history.History
	partly  []string // keys of which older lines are gone
}

// since is the history of the wanted keys that something was done with since then: of
// these all that was ever done, and all faults.
func (t *tape) since(then time.Time, wanted func(place) bool) (e excerpt, err error) {
	t.mu.Lock()
	lately := make(map[place]bool)
	for _, l := range t.lines {
		if l.at.After(then) && l.place != (place{}) && wanted(l.place) {
			lately[l.place] = true
		}
	}
	for p := range t.partly {
		if lately[p] {
			delete(lately, p)
			e.partly = append(e.partly, p.keyspace+"/"+p.key)
		}
	}
	var parts []io.Reader
	for _, l := range t.lines {
		if lately[l.place] || l.place == (place{}) {
			parts = append(parts, bytes.NewReader(l.text))
		}
	}
	t.mu.Unlock()
	if len(lately) == 0 {
		return e, history.ErrEmpty
	}
	e.history, err = history.Read(io.MultiReader(parts...))
	return e, err
}

func (t *tape) changed() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changes
}

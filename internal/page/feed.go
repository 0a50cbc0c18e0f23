package page

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// maxEvents is how far back a browser may take up what it missed.
const maxEvents = 2000

// feed is what browsers are told. Events are numbered and kept for a while; of a topic,
// as the state of the cluster, only the latest is worth something.
type feed struct {
	boot string // of this feed, in the ids of its events

	mu       sync.Mutex
	last     uint64  // number of the latest event
	events   []event // in order, the latest of all
	topics   map[string]topic
	changes  uint64 // of topics
	watchers int
	changed  chan struct{} // closed at the next change
	ended    bool
}

type event struct {
	number uint64
	kind   string
	data   []byte
}

type topic struct {
	change uint64
	data   []byte
}

func newFeed() *feed {
	return &feed{boot: rand.Text()[:8], topics: make(map[string]topic), changed: make(chan struct{})}
}

// tell adds an event.
func (f *feed) tell(kind string, v any) {
	data := encode(v)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last++
	f.events = append(f.events, event{f.last, kind, data})
	if len(f.events) > maxEvents {
		f.events = append([]event(nil), f.events[len(f.events)-maxEvents*3/4:]...)
	}
	f.wake()
}

// show replaces a topic; the same again is no news.
func (f *feed) show(name string, v any) {
	data := encode(v)
	f.mu.Lock()
	defer f.mu.Unlock()
	if bytes.Equal(f.topics[name].data, data) {
		return
	}
	f.changes++
	f.topics[name] = topic{f.changes, data}
	f.wake()
}

// encode is JSON, of values that always have one.
func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		return []byte("null")
	}
	return data
}

func (f *feed) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *feed) watched() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.watchers > 0
}

// join counts a browser in; false says that there are enough.
func (f *feed) join() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watchers >= maxStreams || f.ended {
		return false
	}
	f.watchers++
	return true
}

func (f *feed) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers--
}

func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	f.wake()
}

// cursor is what a browser has been told.
type cursor struct{ event, topics uint64 }

// resume reads the id of the last event that a browser has seen. anew says that what it
// shows is of another run of the page, or too old to be continued.
func (f *feed) resume(id string) (c cursor, anew bool) {
	boot, number, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil || boot != f.boot || n > f.last || len(f.events) > 0 && n+1 < f.events[0].number {
		return cursor{}, true
	}
	return cursor{event: n}, false
}

// since writes, as a stream of events has it, what is new to a browser. next is closed
// when there is more; ended says that there never will be.
func (f *feed) since(c *cursor, out *bytes.Buffer) (next <-chan struct{}, ended bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.events {
		if e.number > c.event {
			fmt.Fprintf(out, "id: %s-%d\nevent: %s\ndata: %s\n\n", f.boot, e.number, e.kind, e.data)
		}
	}
	for name, t := range f.topics {
		if t.change > c.topics {
			fmt.Fprintf(out, "event: %s\ndata: %s\n\n", name, t.data)
		}
	}
	*c = cursor{f.last, f.changes}
	return f.changed, f.ended
}

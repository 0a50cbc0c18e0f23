package ap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
)

// world is a group whose members talk over memory and write to memory.
type world struct {
	t      *testing.T
	cfg    Config    // what all members share
	names  []string  // of the nodes that have, or had, a replica
	placed Placement // what a node is told that starts
	member map[string]*member

	mu      sync.Mutex
	links   map[[2]string]*link
	sent    map[[2]string]int        // bytes of streams
	ahead   map[string]time.Duration // of members' wall clocks
	changed chan struct{}            // closed when a link has changed
}

// member is one node: what survives a crash, and its current life.
type member struct {
	fs      *vfs.MemFS
	engine  *engine.Engine
	memory  *engine.Engine // nil unless the group's durability is memory
	replica *Replica
	ctx     context.Context // of this life
	kill    context.CancelFunc
	ended   chan error // Run's
}

type link struct {
	delay time.Duration
	pace  time.Duration // between two packets of one stream
	cut   bool
}

// newWorld starts n members n1, n2, …, and stops them when the test ends.
func newWorld(t *testing.T, n int, cfg Config) *world {
	w := &world{t: t, cfg: cfg, member: map[string]*member{}, links: map[[2]string]*link{}, sent: map[[2]string]int{}, ahead: map[string]time.Duration{}, changed: make(chan struct{})}
	for i := range n {
		w.names = append(w.names, fmt.Sprintf("n%d", i+1))
	}
	for _, name := range w.names {
		w.connect(name)
	}
	w.placed = Placement{Members: w.names}
	for _, name := range w.names {
		w.start(name)
	}
	return w
}

// connect makes a node with an empty disk and links to all others.
func (w *world) connect(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.member[name] = &member{fs: vfs.NewCrashableMem()}
	for _, other := range w.names {
		w.links[[2]string{name, other}] = &link{delay: time.Millisecond}
		w.links[[2]string{other, name}] = &link{delay: time.Millisecond}
	}
}

// run is a world in a bubble, stopped in order at its end.
func run(t *testing.T, n int, cfg Config, f func(w *world)) {
	t.Helper()
	linktest.Bubble(t, func(t *testing.T) {
		w := newWorld(t, n, cfg)
		defer w.stopAll()
		f(w)
	})
}

func (w *world) at(name string) *Replica { return w.member[name].replica }

func (w *world) start(name string) {
	m := w.member[name]
	var err error
	m.engine, err = openEngine(m.fs)
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := w.cfg
	if cfg.Durability == store.Memory {
		m.memory, err = engine.Open(engine.Config{Memory: true, MemTable: 256 << 10, Cache: 1 << 20})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	cfg.Node, cfg.Placement, cfg.Engine, cfg.Memory, cfg.Peers = name, w.placed, m.engine, m.memory, peersOf{w, name}
	cfg.Group = store.GroupID{Keyspace: 7, Shard: 1}
	if cfg.Clock == nil {
		cfg.Clock = func() time.Time { return w.wall(name) }
	}
	r, err := Open(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.run(name, r)
}

// run begins a life of a member.
func (w *world) run(name string, r *Replica) {
	m := w.member[name]
	ctx, kill := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	w.mu.Lock()
	m.replica, m.ctx, m.kill, m.ended = r, ctx, kill, ended
	w.mu.Unlock()
	go func() { ended <- r.Run(ctx) }()
}

func openEngine(fs *vfs.MemFS) (*engine.Engine, error) {
	return engine.Open(engine.Config{Dir: "data", FS: fs, MemTable: 256 << 10, Cache: 1 << 20})
}

// wall is what the member's wall clock shows.
func (w *world) wall(name string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Round(0).Add(w.ahead[name])
}

func (w *world) skew(name string, ahead time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead[name] = ahead
}

func (w *world) stop(name string) {
	m := w.member[name]
	m.kill()
	if err := <-m.ended; err != nil {
		w.t.Errorf("%s ended: %v", name, err)
	}
	if err := m.engine.Close(); err != nil {
		w.t.Errorf("%s: %v", name, err)
	}
	if m.memory != nil {
		if err := m.memory.Close(); err != nil {
			w.t.Errorf("%s: %v", name, err)
		}
	}
	w.mu.Lock()
	m.replica = nil
	w.mu.Unlock()
}

func (w *world) stopAll() {
	for _, name := range w.names {
		if w.at(name) != nil {
			w.stop(name)
		}
	}
}

// crash ends the member's life as a power cut does: first nothing leaves it any
// more, then the disk is taken as it is, then the zombie is swept away.
func (w *world) crash(name string) {
	m := w.member[name]
	m.kill()
	clone := m.fs.CrashClone(vfs.CrashCloneCfg{})
	w.stop(name)
	m.fs = clone
}

// set changes the links between the two sides, in both directions.
func (w *world) set(left, right []string, change func(*link)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range left {
		for _, b := range right {
			change(w.links[[2]string{a, b}])
			change(w.links[[2]string{b, a}])
		}
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *world) cut(left, right []string)  { w.set(left, right, func(l *link) { l.cut = true }) }
func (w *world) heal(left, right []string) { w.set(left, right, func(l *link) { l.cut = false }) }

func (w *world) link(from, to string) (link, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *w.links[[2]string{from, to}], w.changed
}

type peersOf struct {
	w    *world
	node string
}

// Stream opens a stream to a member that lives. Over a link that is cut it opens
// too, but nothing comes through.
func (p peersOf) Stream(ctx context.Context, to string) (Stream, error) {
	p.w.mu.Lock()
	m := p.w.member[to]
	if m == nil { // named by a placement, and never there
		p.w.mu.Unlock()
		return nil, errors.New("connection refused")
	}
	replica, life := m.replica, m.ctx
	p.w.mu.Unlock()
	if replica == nil || life.Err() != nil {
		return nil, errors.New("connection refused")
	}
	ctx, cancel := context.WithCancel(ctx)
	stopLink := context.AfterFunc(life, cancel)
	there, back := newPipe(p.w, p.node, to), newPipe(p.w, to, p.node)
	go func() {
		_ = replica.ServeStream(ctx, p.node, end{ctx, back, there})
		stopLink()
		cancel()
	}()
	return end{ctx, there, back}, nil
}

// Call reaches a member that lives. Over a link that is cut it waits.
func (p peersOf) Call(ctx context.Context, to string, payload []byte) ([]byte, error) {
	if err := p.w.travel(ctx, p.node, to); err != nil {
		return nil, err
	}
	p.w.mu.Lock()
	m := p.w.member[to]
	replica, life := m.replica, m.ctx
	p.w.mu.Unlock()
	if replica == nil || life.Err() != nil {
		return nil, errors.New("connection refused")
	}
	answer, err := replica.ServeCall(ctx, p.node, payload)
	if err != nil {
		return nil, err
	}
	return answer, p.w.travel(ctx, to, p.node)
}

// travel takes as long as a packet on the link.
func (w *world) travel(ctx context.Context, from, to string) error {
	for {
		l, changed := w.link(from, to)
		wait := l.delay
		if l.cut {
			wait = time.Hour
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
			if !l.cut {
				return nil
			}
		case <-changed:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}

// end is one end of a stream over two pipes.
type end struct {
	ctx     context.Context
	out, in *pipe
}

func (e end) Send(b []byte) error {
	if e.ctx.Err() != nil {
		return e.ctx.Err()
	}
	e.out.push(slices.Clone(b))
	return nil
}

func (e end) Recv() ([]byte, error) { return e.in.pop(e.ctx) }

// pipe carries packets from one member to another.
type pipe struct {
	w        *world
	from, to string
	wake     chan struct{} // of one
	mu       sync.Mutex
	queue    []packet
	last     time.Time // when a packet was delivered last
}

type packet struct {
	sent time.Time
	data []byte
}

func newPipe(w *world, from, to string) *pipe {
	return &pipe{w: w, from: from, to: to, wake: make(chan struct{}, 1)}
}

func (p *pipe) push(b []byte) {
	p.w.mu.Lock()
	p.w.sent[[2]string{p.from, p.to}] += len(b)
	p.w.mu.Unlock()
	p.mu.Lock()
	p.queue = append(p.queue, packet{time.Now(), b})
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *pipe) pop(ctx context.Context) ([]byte, error) {
	for {
		link, changed := p.w.link(p.from, p.to)
		data, wait := p.head(link)
		if data != nil {
			return data, nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-changed:
		case <-p.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// head takes the first packet if it has arrived, else says how long to wait for it.
func (p *pipe) head(l link) ([]byte, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 || l.cut {
		return nil, time.Hour
	}
	due := p.queue[0].sent.Add(l.delay)
	if next := p.last.Add(l.pace); next.After(due) {
		due = next
	}
	if wait := time.Until(due); wait > 0 {
		return nil, wait
	}
	p.last = time.Now()
	data := p.queue[0].data
	p.queue = p.queue[1:]
	return data, 0
}

// The calls of a test. Those without err in their name fail the test on an error.

func within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

func (w *world) writeErr(node string, c store.Command) (store.Result, error) {
	ctx, cancel := within(2 * time.Second)
	defer cancel()
	return w.at(node).Write(ctx, c)
}

func (w *world) write(node string, c store.Command) store.Result {
	w.t.Helper()
	result, err := w.writeErr(node, c)
	if err != nil {
		w.t.Fatalf("%s %s at %s: %v", c.Op, c.Key, node, err)
	}
	return result
}

func (w *world) put(node, key, value string) store.Result {
	w.t.Helper()
	return w.write(node, put(key, value))
}

func put(key, value string) store.Command {
	return store.Command{Op: store.Put, Key: key, Value: []byte(value)}
}

func (w *world) readErr(node string, q store.Query) (store.Page, error) {
	ctx, cancel := within(2 * time.Second)
	defer cancel()
	return w.at(node).Read(ctx, q)
}

func (w *world) read(node string, q store.Query) store.Page {
	w.t.Helper()
	page, err := w.readErr(node, q)
	if err != nil {
		w.t.Fatalf("read %s at %s: %v", q.Key, node, err)
	}
	return page
}

// get returns the values under key at a node, as strings.
func (w *world) get(node, key string) []string {
	w.t.Helper()
	page := w.read(node, store.Query{Key: key, Level: store.Eventual})
	if len(page.Items) == 0 {
		return nil
	}
	values := []string{}
	for _, v := range page.Items[0].Values {
		values = append(values, string(v))
	}
	return values
}

func (w *world) expect(node, key string, want ...string) {
	w.t.Helper()
	if got := w.get(node, key); !slices.Equal(got, want) {
		w.t.Errorf("%s at %s is %q, want %q", key, node, got, want)
	}
}

// fails checks the code of an error.
func (w *world) fails(err error, want store.Code) {
	w.t.Helper()
	if !errors.Is(err, want) {
		w.t.Errorf("the error is %v, want %s", err, want)
	}
}

// dump is all that a replica shows, dots and all.
func (w *world) dump(node string) string {
	var all strings.Builder
	q := store.Query{Level: store.Eventual, Limit: store.MaxPage, Siblings: true}
	for {
		page := w.read(node, q)
		for _, item := range page.Items {
			fmt.Fprintf(&all, "%s %q %+v\n", item.Key, item.Values, item.Siblings)
		}
		if q.Page = page.Next; q.Page == "" {
			return all.String()
		}
	}
}

// converged checks that all replicas hold the same.
func (w *world) converged() {
	w.t.Helper()
	first := w.names[0]
	vector, all := w.at(first).Status().Vector, w.dump(first)
	for _, name := range w.names[1:] {
		if got := w.at(name).Status().Vector; got != vector {
			w.t.Errorf("%s has %s, %s has %s", name, got, first, vector)
		}
		if got := w.dump(name); got != all {
			ours, theirs := strings.Split(got, "\n"), strings.Split(all, "\n")
			i := 0
			for i < min(len(ours), len(theirs))-1 && ours[i] == theirs[i] {
				i++
			}
			w.t.Errorf("%s holds %d keys, %s %d; the first difference is\n%.300s\n%.300s", name, len(ours)-1, first, len(theirs)-1, ours[i], theirs[i])
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link/linktest"
)

// begun is when the first of two sights was.
var begun = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// atWork is well's cluster, of which n1 shows more.
func atWork(t *testing.T, after time.Duration, n1 string) sight {
	t.Helper()
	l := sight{examined: well(t), at: begun.Add(after)}
	for i := range l.Nodes {
		l.Nodes[i].PID = 100 + i
	}
	l.metrics[0] = figures(t, n1)
	return l
}

// served is what n1 shows once it has served so many reads, all within 1 ms, and writes, of
// which so many took up to 10 ms and the others up to 1 ms.
func served(reads, writes, slow int) string {
	return fmt.Sprintf(`
# TYPE kv_node_requests_total counter
kv_node_requests_total{keyspace="orders",op="get",level="strong",outcome="ok"} %[1]d
kv_node_requests_total{keyspace="_catalog",op="get",level="strong",outcome="ok"} %[1]d
kv_node_requests_total{keyspace="orders",op="put",level="",outcome="ok"} %[2]d
kv_node_requests_total{keyspace="orders",op="open-session",level="",outcome="ok"} %[2]d
kv_node_requests_total{keyspace="orders",op="put",level="",outcome="fail"} %[3]d
# TYPE kv_node_request_seconds histogram
kv_node_request_seconds_bucket{op="get",level="strong",le="0.001"} %[1]d
kv_node_request_seconds_bucket{op="get",level="strong",le="0.01"} %[1]d
kv_node_request_seconds_bucket{op="get",level="strong",le="+Inf"} %[1]d
kv_node_request_seconds_sum{op="get",level="strong"} 1
kv_node_request_seconds_count{op="get",level="strong"} %[1]d
kv_node_request_seconds_bucket{op="put",level="",le="0.001"} %[2]d
kv_node_request_seconds_bucket{op="put",level="",le="0.01"} %[4]d
kv_node_request_seconds_bucket{op="put",level="",le="+Inf"} %[4]d
kv_node_request_seconds_sum{op="put",level=""} 1
kv_node_request_seconds_count{op="put",level=""} %[4]d
# TYPE kv_node_shed_total counter
kv_node_shed_total{keyspace="orders",op="put"} %[3]d
# TYPE kv_node_requests_in_flight gauge
kv_node_requests_in_flight 7
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total %[2]d
`, reads, writes, slow, writes+slow)
}

func TestRatesAreOfWhatHappenedBetweenTwoLooks(t *testing.T) {
	f := compare(atWork(t, 0, served(1000, 100, 0)), atWork(t, 2*time.Second, served(3000, 101, 99)))
	want := work{
		ReadsPerS: 1000, WritesPerS: 50, ReadP99MS: 0.99, WriteP99MS: 9.909,
		ShedPerS: 49.5, FailedPerS: 49.5, InFlight: 7, CPUPercent: 50,
	}
	if got := f.Nodes[0].Work; got == nil || *got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if f.IntervalMS != 2000 || f.Nodes[1].Work == nil || f.Nodes[1].Work.sum() != 0 {
		t.Errorf("over %v ms; n2 did %+v", f.IntervalMS, f.Nodes[1].Work)
	}
}

func TestWhatIsNotKnownIsNoRate(t *testing.T) {
	now := atWork(t, time.Second, served(10, 10, 0))
	for name, before := range map[string]sight{
		"nothing was seen before":      {},
		"the process is another":       func() sight { l := atWork(t, 0, served(5, 5, 0)); l.Nodes[0].PID = 99; return l }(),
		"its metrics could not be had": func() sight { l := atWork(t, 0, ""); l.metrics[0] = nil; return l }(),
	} {
		if f := compare(before, now); f.Nodes[0].Work != nil {
			t.Errorf("%s: %+v", name, f.Nodes[0].Work)
		}
	}
	// A keyspace that is gone takes its counters with it.
	f := compare(atWork(t, 0, served(100, 100, 0)), atWork(t, time.Second, served(10, 10, 0)))
	if w := f.Nodes[0].Work; w == nil || w.sum() != 0 {
		t.Errorf("got %+v", w)
	}
}

// lags is a cluster in which n2 is behind on cp, n3 on ap.
func lags(t *testing.T) sight {
	l := atWork(t, 0, "")
	orders, carts := &l.Keyspaces[1].Groups[0], &l.Keyspaces[0].Groups[0]
	l.metrics[0] = figures(t, "kv_node_raft_commit_index{group=\"2/0\"} 5000\nkv_node_raft_applied_index{group=\"2/0\"} 4998\n")
	l.metrics[1] = figures(t, "kv_node_raft_last_contact_seconds{group=\"2/0\"} 0.02\n")
	l.metrics[2] = figures(t, "kv_node_raft_last_contact_seconds{group=\"2/0\"} 1.5\n")
	for i, applied := range []uint64{4990, 3000, 4999} {
		orders.Replicas[i].applied = applied
	}
	carts.Replicas[2].Behind = 7
	return l
}

func TestWhoLagsIsShown(t *testing.T) {
	f := compare(sight{}, lags(t))
	carts, orders := f.Groups[0], f.Groups[1]
	if orders.Commit != 5000 || orders.Leader != "n1" || orders.Term != 2 {
		t.Errorf("%+v", orders)
	}
	for i, want := range []struct {
		lag  uint64
		lags bool
	}{{2, false}, {2000, true}, {1, true}} {
		if r := orders.Replicas[i]; r.Lag == nil || *r.Lag != want.lag || r.Lags != want.lags {
			t.Errorf("orders at %s: %+v, want %+v", r.Node, r, want)
		}
	}
	if r := carts.Replicas[2]; *r.Lag != 7 || r.Lags {
		t.Errorf("carts at n3: %+v", r)
	}
	l := lags(t)
	l.Keyspaces[1].Groups[0].Replicas[1].Role = silent
	if r := compare(sight{}, l).Groups[1].Replicas[1]; r.Lag != nil || !r.Lags {
		t.Errorf("of one that does not answer: %+v", r)
	}
}

func TestRowsAreInTheOrderThatIsAskedFor(t *testing.T) {
	names := func(f frame) (s string) {
		for _, n := range f.Nodes {
			s += n.ID + " "
		}
		for _, g := range f.Groups {
			s += g.Keyspace + " "
		}
		return s
	}
	before, now := atWork(t, 0, served(0, 0, 0)), lags(t)
	now.at = begun.Add(time.Second)
	now.metrics[2] = figures(t, served(100, 0, 0))
	before.Keyspaces[1].Groups[0].Replicas[0].Revision, now.Keyspaces[1].Groups[0].Replicas[0].Revision = 10, 30
	for order, want := range map[string]string{
		byName: "n1 n2 n3 carts orders ", byLoad: "n3 n1 n2 orders carts ", byLag: "n2 n3 n1 orders carts ",
	} {
		f := compare(before, now)
		if f.sort(order); names(f) != want {
			t.Errorf("by %s: %s", order, names(f))
		}
	}
	if f := compare(before, now); f.Groups[1].ChangesPerS != 20 {
		t.Errorf("orders changed %v times a second", f.Groups[1].ChangesPerS)
	}
}

func TestEveryRuleIsShownOnce(t *testing.T) {
	l := atWork(t, 0, "")
	rules := []*kvpb.LinkRule{{From: "n1", To: "n2", Action: "hole"}, {From: "n2", To: "n1", Action: "pass", Loss: 0.05}}
	l.faults[0], l.faults[1] = &kvpb.FaultsResponse{Rules: rules}, &kvpb.FaultsResponse{Rules: rules}
	f := compare(sight{}, l)
	text := textOf(f.lines())
	if len(f.Links) != 2 || strings.Count(text, "cut") != 3 || !strings.Contains(text, "n2    n1  loses 5%") {
		t.Errorf("%+v\n%s", f.Links, text)
	}
}

// What a node says of itself must not command the terminal it is shown on.
func TestNoLineHoldsAControlCharacter(t *testing.T) {
	l := atWork(t, 0, "")
	l.Nodes[0].State, l.Nodes[0].reasons = "starting", []string{"a\x1b[2Jb\nc\td"}
	l.Nodes[1].ID = "n\x1b2"
	for _, s := range compare(sight{}, l).lines() {
		if strings.ContainsFunc(s.text, func(r rune) bool { return r < ' ' }) {
			t.Errorf("%q", s.text)
		}
	}
}

func textOf(lines []styled) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.text + "\n")
	}
	return b.String()
}

// fake is a terminal, and how often the cluster behind it was looked at.
type fake struct {
	t             *testing.T
	width, height int
	keys          *io.PipeWriter
	resized       chan os.Signal
	looks         atomic.Int32
	fails         error
	hangs         bool

	mu   sync.Mutex
	text strings.Builder // what was written to it
}

func (f *fake) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text.Write(b)
}

func (f *fake) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text.String()
}

// open starts a screen on it, in a bubble, and returns how it ended.
func (f *fake) open(ctx context.Context) <-chan error {
	keys, typed := io.Pipe()
	f.width, f.height, f.keys, f.resized = 120, 40, typed, make(chan os.Signal)
	s := &screen{
		view: topView{interval: time.Second, order: byName}, keys: keys, out: f, resized: f.resized,
		size:   func() (int, int) { return f.width, f.height },
		colour: func(_, s string) string { return s },
		look: func(ctx context.Context) (sight, error) {
			f.looks.Add(1)
			if f.hangs {
				<-ctx.Done()
			}
			return sight{examined: well(f.t), at: time.Now()}, f.fails
		},
	}
	ended := make(chan error, 1)
	go func() {
		ended <- s.show(ctx, sight{examined: well(f.t), at: time.Now()})
		_ = keys.Close()
	}()
	return ended
}

// shows is what was drawn last.
func (f *fake) shows() string {
	synctest.Wait()
	s := f.String()
	return s[strings.LastIndex(s, topLeft):]
}

// elapse lets time pass.
func elapse(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (f *fake) press(key string) string {
	fmt.Fprint(f.keys, key)
	return f.shows()
}

// terminalOf opens a screen on f.
func terminalOf(t *testing.T, f *fake, do func(ended <-chan error)) {
	t.Helper()
	linktest.Bubble(t, func(t *testing.T) {
		f.t = t
		do(f.open(t.Context()))
	})
}

func TestTheScreenFollowsTheCluster(t *testing.T) {
	f := new(fake)
	terminalOf(t, f, func(ended <-chan error) {
		if s := f.shows(); !strings.Contains(s, "n3    ready") || !strings.HasPrefix(f.String(), enterScreen) {
			t.Errorf("%q", s)
		}
		if elapse(5*time.Second + time.Millisecond); f.looks.Load() != 5 {
			t.Errorf("%d looks in 5 s", f.looks.Load())
		}
		f.press("q")
		if err := <-ended; err != nil || !strings.HasSuffix(f.String(), leaveScreen) {
			t.Errorf("%v, and the terminal is not given back: %q", err, f.String())
		}
	})
}

func TestKeysOfTheScreen(t *testing.T) {
	f := new(fake)
	terminalOf(t, f, func(ended <-chan error) {
		for _, order := range []string{byLoad, byLag, byName} {
			if s := f.press("s"); !strings.Contains(s, "sort: "+order) {
				t.Errorf("want %s: %q", order, s)
			}
		}
		if s := f.press("p"); !strings.Contains(s, "paused") {
			t.Errorf("%q", s)
		}
		if elapse(time.Minute); f.looks.Load() != 0 {
			t.Errorf("%d looks while it paused", f.looks.Load())
		}
		f.press(" ")
		if elapse(2 * time.Second); f.looks.Load() == 0 {
			t.Error("it does not go on")
		}
		f.press("\x03")
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestTheScreenFitsTheTerminal(t *testing.T) {
	f := new(fake)
	terminalOf(t, f, func(ended <-chan error) {
		f.shows()
		f.width, f.height = 20, 5
		f.resized <- os.Interrupt // which signal it is is nobody's business
		lines := strings.Split(f.shows(), "\r\n")
		if len(lines) != 5 || !strings.HasPrefix(lines[3], "6 more lines") {
			t.Errorf("%q", lines)
		}
		for _, l := range lines {
			for _, control := range []string{topLeft, restOfLine, restBelow} {
				l = strings.ReplaceAll(l, control, "")
			}
			if n := len([]rune(l)); n > 20 {
				t.Errorf("%d characters: %q", n, l)
			}
		}
		f.width, f.height = 0, 0
		f.resized <- os.Interrupt
		f.press("q")
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestAClusterThatHangsHoldsUpNoKey(t *testing.T) {
	f := &fake{hangs: true}
	terminalOf(t, f, func(ended <-chan error) {
		elapse(10 * time.Second)
		if s := f.press("s"); f.looks.Load() != 1 || !strings.Contains(s, "sort: load") {
			t.Errorf("%d looks; %q", f.looks.Load(), s)
		}
		f.press("q")
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestTheScreenEndsWithAnErrorOfItsLook(t *testing.T) {
	f := &fake{fails: errors.New("it is gone")}
	terminalOf(t, f, func(ended <-chan error) {
		if err := <-ended; !errors.Is(err, f.fails) || !strings.HasSuffix(f.String(), leaveScreen) {
			t.Errorf("%v", err)
		}
		_ = f.keys.Close()
	})
}

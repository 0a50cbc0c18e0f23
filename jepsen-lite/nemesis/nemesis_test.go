package nemesis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/jepsen-lite/nemesis"
	"github.com/dialkv/dialkv/store"
)

// fake is five nodes of which nothing is true but what the nemesis can see. The
// switches plant bugs.
type fake struct {
	deaf      bool // faults do nothing
	sticky    bool // rules cannot be taken away
	undying   bool // a killed node never comes back
	pauseable bool

	rules  []link.Rule
	held   uint64
	down   map[string]bool
	starts map[string]uint64
	calls  []string
	nodes  []string
	slow   map[string]bool
	skewed map[string]time.Duration
	synced uint64
	failed uint64 // writes
	led    string // who leads
	term   uint64
	set    func([]link.Rule) // hears of every table
	mu     sync.Mutex
}

func newFake() *fake {
	return &fake{down: map[string]bool{}, starts: map[string]uint64{}, nodes: slices.Clone(five), slow: map[string]bool{}, skewed: map[string]time.Duration{}, led: "n4", term: 3}
}

func (f *fake) Nodes() []string { return slices.Clone(f.nodes) }

func (f *fake) SlowDisk(_ context.Context, name string, delay time.Duration) error {
	if !f.deaf {
		f.slow[name] = delay > 0
		if name == f.led && delay == time.Hour {
			f.elect()
		}
	}
	return nil
}

// elect lets another lead, if it is allowed to be true.
func (f *fake) elect() {
	if f.deaf {
		return
	}
	i := slices.IndexFunc(f.nodes, func(n string) bool { return n != f.led })
	f.led, f.term = f.nodes[i], f.term+1
}

func (f *fake) SlowSyncs(_ context.Context, name string) uint64 {
	if f.slow[name] {
		f.synced++
	}
	return f.synced
}

// FailDisk ends a node, if it is allowed to be true.
func (f *fake) FailDisk(_ context.Context, name string, failure engine.Failure) error {
	if failure != "" && !f.deaf {
		f.failed++
		return f.stop(name)
	}
	return nil
}

func (f *fake) FailedWrites(context.Context, string) uint64 { return f.failed }

// Knock is answered at once, if it is allowed to be true.
func (f *fake) Knock(context.Context, string) (net.Conn, error) {
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		if _, err := there.Read(make([]byte, 64)); err != nil || f.deaf {
			return
		}
		_, _ = there.Write([]byte{0})
		_, _ = there.Read(make([]byte, 1)) // until it is closed
	}()
	return here, nil
}

func (f *fake) Skew(_ context.Context, name string, ahead time.Duration) error {
	if !f.deaf {
		f.mu.Lock() // a clock may be set while another looks at it
		f.skewed[name] = ahead
		f.mu.Unlock()
	}
	return nil
}

func (f *fake) Add(_ context.Context, _ string) (string, error) {
	name := fmt.Sprintf("n%d", 6+len(f.calls))
	f.calls = append(f.calls, "add "+name)
	f.nodes = append(f.nodes, name)
	return name, nil
}

func (f *fake) Remove(_ context.Context, name string, _ bool, _ func(string)) ([]string, error) {
	f.calls = append(f.calls, "remove "+name)
	f.nodes = slices.DeleteFunc(f.nodes, func(n string) bool { return n == name })
	delete(f.down, name)
	if name == f.led {
		f.elect()
	}
	if f.deaf {
		return nil, nil
	}
	return []string{"7/0"}, nil
}

func (f *fake) Admin(name string) (kvpb.AdminClient, error) { return fakeAdmin{f: f, node: name}, nil }

func (f *fake) SetFaults(_ context.Context, rules []link.Rule) error {
	if f.deaf || f.sticky && rules == nil && len(f.rules) > 0 {
		return nil
	}
	f.rules = rules
	if f.set != nil {
		f.set(rules)
	}
	return nil
}

func (f *fake) stop(node string) error {
	f.mu.Lock() // all of them may be stopped at once
	defer f.mu.Unlock()
	f.calls = append(f.calls, "stop "+node)
	if node == f.led {
		f.elect()
	}
	f.down[node] = !f.deaf
	return nil
}

func (f *fake) start(node string) error {
	f.mu.Lock() // all of them may be started at once
	defer f.mu.Unlock()
	f.calls = append(f.calls, "start "+node)
	f.starts[node]++
	f.down[node] = f.undying
	return nil
}

func (f *fake) Kill(_ context.Context, name string) error { return f.stop(name) }

// Restart of a node that runs lets it be away for a while.
func (f *fake) Restart(_ context.Context, name string) error {
	f.mu.Lock()
	runs := !f.down[name]
	f.mu.Unlock()
	if runs && f.deaf {
		return nil
	}
	if runs {
		_ = f.stop(name)
	}
	return f.start(name)
}

func (f *fake) Pause(_ context.Context, name string) error { return f.stop(name) }
func (f *fake) Resume(_ context.Context, name string) error {
	if !f.pauseable {
		return &store.Error{Code: store.Unsupported}
	}
	return f.start(name)
}

type fakeAdmin struct {
	kvpb.AdminClient
	f    *fake
	node string
}

func (a fakeAdmin) Status(ctx context.Context, _ *kvpb.StatusRequest, _ ...grpc.CallOption) (*kvpb.StatusResponse, error) {
	a.f.mu.Lock()
	down, start := a.f.down[a.node], a.f.starts[a.node]
	a.f.mu.Unlock()
	if down {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	replica := &kvpb.ReplicaStatus{Keyspace: "orders", Group: "7/0", Role: "follower", Term: a.f.term, Members: a.f.nodes}
	if a.node == a.f.led {
		replica.Role = "leader"
	}
	return &kvpb.StatusResponse{Node: a.node, Ready: true, Start: start, Replicas: []*kvpb.ReplicaStatus{replica}}, nil
}

func (a fakeAdmin) TransferLeader(context.Context, *kvpb.TransferLeaderRequest, ...grpc.CallOption) (*kvpb.TransferLeaderResponse, error) {
	a.f.elect()
	return &kvpb.TransferLeaderResponse{Leader: a.f.led}, nil
}

func (a fakeAdmin) Faults(context.Context, *kvpb.FaultsRequest, ...grpc.CallOption) (*kvpb.FaultsResponse, error) {
	if len(a.f.rules) > 0 {
		a.f.held++ // there is always traffic
	}
	a.f.mu.Lock()
	defer a.f.mu.Unlock()
	return &kvpb.FaultsResponse{SkewNs: int64(a.f.skewed[a.node]), Held: a.f.held, Delayed: a.f.held, Rules: make([]*kvpb.LinkRule, len(a.f.rules))}, nil
}

// run follows a plan of some seconds for each fault in virtual time.
func run(t *testing.T, f *fake, ctx context.Context, faults ...string) (nemesis.Result, *history.History) {
	t.Helper()
	var lines bytes.Buffer
	rec := history.NewRecorder(&lines)
	rec.Complete(rec.Invoke(history.Call{Kind: history.Get, Mode: "cp", Key: "k"}), history.Answer{})
	cfg := nemesis.Config{Faults: faults, Duration: 32*time.Second + 4*time.Second*time.Duration(len(faults)), Seed: 5, Keyspaces: []string{"orders"}}
	result := nemesis.Run(ctx, f, cfg, rec)
	h, err := history.Read(&lines)
	if err != nil {
		t.Fatal(err)
	}
	return result, h
}

func TestEveryFaultIsRecordedSeenAndHealed(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		f := newFake()
		f.pauseable = true
		result, h := run(t, f, t.Context(), others...)
		if result.Wrong != "" || len(result.Done) < 3 {
			t.Errorf("%+v", result)
		}
		if len(h.Faults) != len(result.Done) {
			t.Errorf("%d faults recorded, %d done", len(h.Faults), len(result.Done))
		}
		for i, w := range h.Faults {
			if w.End == history.Open || w.Detail != result.Done[i].Detail || result.Done[i].Effect == "" {
				t.Errorf("%+v is recorded as %+v", result.Done[i], w)
			}
		}
		if len(f.rules) > 0 || slices.Contains(f.downNow(), true) {
			t.Errorf("left behind: rules %v, down %v", f.rules, f.down)
		}
	})
}

func (f *fake) downNow() []bool {
	var down []bool
	for _, d := range f.down {
		down = append(down, d)
	}
	return down
}

func TestAFaultWithoutEffectIsWrong(t *testing.T) {
	for _, fault := range others {
		linktest.Bubble(t, func(t *testing.T) {
			f := newFake()
			f.deaf, f.pauseable = true, true
			if result, _ := run(t, f, t.Context(), fault); !strings.Contains(result.Wrong, "had no effect") {
				t.Errorf("%s that does nothing: %q", fault, result.Wrong)
			}
		})
	}
}

func TestAFaultThatDoesNotHealIsWrongAndStaysOpen(t *testing.T) {
	for _, fault := range []string{nemesis.Partition, nemesis.Kill} {
		linktest.Bubble(t, func(t *testing.T) {
			f := newFake()
			f.sticky, f.undying = true, true
			result, h := run(t, f, t.Context(), fault)
			if !strings.Contains(result.Wrong, "was not healed") {
				t.Errorf("%s: %q", fault, result.Wrong)
			}
			if len(h.Faults) != 1 || h.Faults[0].End != history.Open {
				t.Errorf("%s is recorded as %+v", fault, h.Faults)
			}
		})
	}
}

func TestInterruptedRunHeals(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		f := newFake()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(2*time.Second, cancel)
		result, h := run(t, f, ctx, nemesis.Partition)
		if len(f.rules) > 0 || len(h.Faults) != 1 || h.Faults[0].End == history.Open || len(result.Done) != 1 {
			t.Errorf("rules %v, faults %+v, done %+v", f.rules, h.Faults, result.Done)
		}
	})
}

func TestTheLeaderOfTheKeyspaceIsCutOff(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		cfg := nemesis.Config{Faults: []string{nemesis.Partition}, Duration: time.Minute, Seed: 1, Keyspaces: []string{"orders"}}
		steps, err := cfg.Plan(five)
		if err != nil {
			t.Fatal(err)
		}
		result := nemesis.Run(t.Context(), newFake(), cfg, history.NewRecorder(&bytes.Buffer{}))
		for i, d := range result.Done {
			if steps[i].Shape == nemesis.Leader && d.Detail != "n4|n1,n2,n3,n5" {
				t.Errorf("the leader is n4, the cut was %s", d.Detail)
			}
		}
	})
}

func TestMatrixCutsWhatWasNamed(t *testing.T) {
	for links, want := range map[string]int{"n1->n2": 1, "n1->n2; n3<->n4": 3, "n1,n2|n3,n4,n5": 12} {
		linktest.Bubble(t, func(t *testing.T) {
			f := newFake()
			most := 0
			f.set = func(rules []link.Rule) { most = max(most, len(rules)) }
			cfg := nemesis.Config{Faults: []string{nemesis.Matrix}, Links: links, Duration: 3 * time.Second, Seed: 1}
			result := nemesis.Run(t.Context(), f, cfg, history.NewRecorder(&bytes.Buffer{}))
			if result.Wrong != "" || result.Done[0].Detail != links || most != want || len(f.rules) > 0 {
				t.Errorf("%q: %d rules, want %d, %d left; %+v", links, most, want, len(f.rules), result)
			}
		})
	}
}

// In a ring of five each node hears its two neighbours, and the links of a node that
// nobody else hears are cut both ways.
func TestRingOfMajorities(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		f := newFake()
		seen := make(chan []link.Rule, 1)
		f.set = func(rules []link.Rule) {
			if len(rules) > 0 {
				seen <- rules
			}
		}
		cfg := nemesis.Config{Faults: []string{nemesis.Ring}, Duration: 3 * time.Second, Seed: 1}
		if result := nemesis.Run(t.Context(), f, cfg, history.NewRecorder(&bytes.Buffer{})); result.Wrong != "" {
			t.Fatal(result.Wrong)
		}
		cut := map[string][]string{}
		for _, r := range <-seen {
			cut[r.From] = append(cut[r.From], r.To)
		}
		majorities := map[string]bool{}
		for _, node := range five {
			slices.Sort(cut[node])
			majorities[strings.Join(cut[node], ",")] = true
			if len(cut[node]) != 2 {
				t.Errorf("%s does not hear %v, want two nodes", node, cut[node])
			}
		}
		if len(majorities) != 5 {
			t.Errorf("two nodes hear the same majority: %v", cut)
		}
	})
}

func TestAWipedNodeDoesNotComeBack(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		f := newFake()
		cfg := nemesis.Config{Faults: []string{nemesis.Wipe}, Duration: 10 * time.Second, Seed: 1, Keyspaces: []string{"orders"}}
		result := nemesis.Run(t.Context(), f, cfg, history.NewRecorder(&bytes.Buffer{}))
		if result.Wrong != "" || len(result.Done) != 1 {
			t.Fatalf("%+v", result)
		}
		gone, _, _ := strings.Cut(result.Done[0].Detail, " ")
		want := []string{"stop " + gone, "add n7", "remove " + gone}
		if !slices.Equal(f.calls, want) || slices.Contains(f.nodes, gone) || len(f.nodes) != 5 {
			t.Errorf("%v, want %v; nodes %v", f.calls, want, f.nodes)
		}
	})
}

// plain is a cluster that can do no more than it must.
type plain struct{ nemesis.Cluster }

func TestPauseIsRefusedBeforehandWhereNothingCanBePaused(t *testing.T) {
	cfg := nemesis.Config{Faults: []string{nemesis.Pause}, Duration: time.Minute}
	if err := nemesis.Check(t.Context(), newFake(), cfg); !errors.Is(err, store.Unsupported) {
		t.Errorf("got %v", err)
	}
	for _, fault := range []string{nemesis.DiskSlow, nemesis.Stall, nemesis.Membership, nemesis.Skew, nemesis.Wipe, nemesis.Strobe, nemesis.DiskFull, nemesis.DiskError, nemesis.Flood} {
		cfg.Faults = []string{fault}
		if err := nemesis.Check(t.Context(), plain{newFake()}, cfg); !errors.Is(err, store.Unsupported) {
			t.Errorf("%s: %v", fault, err)
		}
	}
	cfg.Faults = []string{nemesis.Kill}
	if err := nemesis.Check(t.Context(), newFake(), cfg); err != nil {
		t.Errorf("kill: %v", err)
	}
}

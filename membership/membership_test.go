package membership

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/goleak"

	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var five = []string{"n1", "n2", "n3", "n4", "n5"}

// rig is a cluster on a network in memory. It lives in a bubble.
type rig struct {
	t     *testing.T
	net   *link.Network
	nodes map[string]*running
}

type running struct {
	*Members
	endpoint *link.Endpoint
	stop     func() error // ends Run and returns its error
}

func bubble(t *testing.T, test func(t *testing.T, r *rig)) {
	linktest.Bubble(t, func(t *testing.T) {
		r := &rig{t: t, net: link.NewNetwork(link.NetworkConfig{Seed: 1, Latency: time.Millisecond}), nodes: map[string]*running{}}
		defer func() { // also after a Fatal, or the bubble would panic over it
			for name := range r.nodes {
				r.close(name)
			}
		}()
		test(t, r)
	})
}

// each runs a test with both profiles.
func each(t *testing.T, test func(t *testing.T, r *rig, p Profile)) {
	for name, p := range map[string]Profile{"lan": LAN, "classroom": Classroom} {
		t.Run(name, func(t *testing.T) { bubble(t, func(t *testing.T, r *rig) { test(t, r, p) }) })
	}
}

func (r *rig) start(name string, cfg Config) *running {
	r.t.Helper()
	e, err := r.net.Endpoint(name)
	if err != nil {
		r.t.Fatal(err)
	}
	cfg.Endpoint = e
	if cfg.Cluster == "" {
		cfg.Cluster = "test"
	}
	if cfg.Peers == nil {
		cfg.Peers = func() []string { return five }
	}
	m, err := Open(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	n := &running{Members: m, endpoint: e, stop: func() error { cancel(); return <-done }}
	r.nodes[name] = n
	return n
}

func (r *rig) startFive(p Profile) {
	for _, name := range five {
		r.start(name, Config{Profile: p, Meta: []byte("meta of " + name)})
	}
}

func (r *rig) close(name string) {
	if err := r.nodes[name].stop(); err != nil {
		r.t.Errorf("%s: run: %v", name, err)
	}
	_ = r.nodes[name].endpoint.Close()
	delete(r.nodes, name)
}

func (r *rig) crash(name string) {
	r.nodes[name].endpoint.Kill()
	_ = r.nodes[name].stop()
	delete(r.nodes, name)
}

func (r *rig) set(rules []link.Rule) {
	r.t.Helper()
	if err := r.net.Rules().Set(rules); err != nil {
		r.t.Fatal(err)
	}
}

// await waits until the node sees exactly these, and says how long that took.
func (r *rig) await(name string, within time.Duration, want ...string) time.Duration {
	r.t.Helper()
	start := time.Now()
	limit := time.After(within)
	for {
		changed := r.nodes[name].Changed()
		if got := r.sees(name); slices.Equal(got, want) {
			return time.Since(start)
		}
		select {
		case <-changed:
		case <-limit:
			r.t.Fatalf("%s sees %v after %s, want %v", name, r.sees(name), within, want)
		}
	}
}

func (r *rig) awaitAll(within time.Duration) {
	r.t.Helper()
	end := time.Now().Add(within)
	for _, name := range five {
		r.await(name, time.Until(end), five...)
	}
}

func (r *rig) sees(name string) (names []string) {
	for _, m := range r.nodes[name].List() {
		names = append(names, m.Name)
	}
	return names
}

// meta is what the node has of another's; nil if it does not see it.
func (r *rig) meta(name, of string) []byte {
	for _, m := range r.nodes[name].List() {
		if m.Name == of {
			return m.Meta
		}
	}
	return nil
}

func TestFiveNodesFindEachOther(t *testing.T) {
	each(t, func(t *testing.T, r *rig, p Profile) {
		r.startFive(p)
		r.awaitAll(10 * time.Second)
		for _, m := range r.nodes["n1"].List() {
			if m.Addr != m.Name || m.Gossip != m.Name || string(m.Meta) != "meta of "+m.Name {
				t.Errorf("n1 sees %+v", m)
			}
		}
	})
}

func TestCutHealsByItself(t *testing.T) {
	each(t, func(t *testing.T, r *rig, p Profile) {
		r.startFive(p)
		for _, c := range []struct {
			spec string
			last time.Duration
		}{
			{"n1,n2|n3,n4,n5", time.Minute},
			{"n5|n1,n2,n3,n4", time.Minute},
			{"n1|n2|n3|n4|n5", 2 * time.Minute}, // nobody confirms a lonely node's suspicion: it takes long to drop four
		} {
			r.awaitAll(10 * time.Second)
			cut, err := link.ParsePartition(c.spec, five)
			if err != nil {
				t.Fatal(err)
			}
			r.set(cut)
			time.Sleep(c.last)
			if got := r.sees("n1"); slices.Contains(got, "n5") {
				t.Errorf("%s: after %s n1 still sees %v", c.spec, c.last, got)
			}
			r.set(nil)
			r.awaitAll(10 * time.Second)
		}
	})
}

func TestCrashedNodeIsDroppedAndComesBackWithNewMeta(t *testing.T) {
	drop := map[Profile]time.Duration{LAN: 15 * time.Second, Classroom: 3 * time.Second}
	each(t, func(t *testing.T, r *rig, p Profile) {
		r.startFive(p)
		r.awaitAll(10 * time.Second)
		r.crash("n3")
		t.Logf("dropped after %s", r.await("n1", drop[p], "n1", "n2", "n4", "n5"))
		r.start("n3", Config{Profile: p, Meta: []byte("reborn")})
		r.awaitAll(10 * time.Second)

		r.crash("n3") // and at once again, before anybody noticed
		r.start("n3", Config{Profile: p, Meta: []byte("third")})
		// Gossip goes to a few nodes drawn at random, a few times. Who is missed by all of it
		// hears at the next exchange of whole lists, every half minute.
		end := time.Now().Add(2 * time.Minute)
		for _, name := range five {
			for string(r.meta(name, "n3")) != "third" {
				if time.Now().After(end) {
					t.Fatalf("%s has the meta %q of n3", name, r.meta(name, "n3"))
				}
				time.Sleep(time.Second)
			}
		}
	})
}

func TestLeavingNodeIsMissedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.startFive(LAN)
		r.awaitAll(10 * time.Second)
		for range 2 { // the second time says nothing more
			if err := r.nodes["n5"].Leave(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		r.await("n1", 2*time.Second, "n1", "n2", "n3", "n4")
		r.close("n4") // the end of Run says farewell too
		r.await("n1", 2*time.Second, "n1", "n2", "n3")
		time.Sleep(time.Minute)
		if got := r.sees("n1"); len(got) != 3 {
			t.Errorf("a minute later n1 sees %v", got)
		}
	})
}

func TestLeaveWithoutRunEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		e, err := r.net.Endpoint("n1")
		if err != nil {
			t.Fatal(err)
		}
		m, err := Open(Config{Cluster: "test", Endpoint: e})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.Leave(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("leave: %v", err)
		}
		if got := m.List(); len(got) != 1 || got[0].Name != "n1" {
			t.Errorf("before Run: %+v", got)
		}
	})
}

func TestForeignClusterIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for i, name := range five {
			r.start(name, Config{Cluster: fmt.Sprintf("c%d", i%2), Profile: Classroom})
		}
		time.Sleep(time.Minute)
		r.await("n1", time.Second, "n1", "n3", "n5")
		r.await("n2", time.Second, "n2", "n4")
	})
}

func TestHooksRefuseAForeignNodeWithTheRightLabel(t *testing.T) {
	h := &hooks{&Members{cfg: Config{Cluster: "ours"}}}
	node := func(cluster string) *memberlist.Node {
		meta, err := encodeMeta(cluster, Member{Addr: "a:1"})
		if err != nil {
			t.Fatal(err)
		}
		return &memberlist.Node{Name: "n", Meta: meta}
	}
	if h.NotifyAlive(node("theirs")) == nil || h.NotifyAlive(&memberlist.Node{Name: "n"}) == nil {
		t.Error("a foreign node is let in")
	}
	if h.NotifyMerge([]*memberlist.Node{node("ours"), node("theirs")}) == nil {
		t.Error("an exchange with a foreign node is let in")
	}
	if err := h.NotifyMerge([]*memberlist.Node{node("ours")}); err != nil {
		t.Errorf("our own: %v", err)
	}
}

func TestEventsTellJoinedAndLeft(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var mu sync.Mutex
		var story []string
		tell := func(what string) func(Member) {
			return func(m Member) {
				mu.Lock()
				defer mu.Unlock()
				story = append(story, what+" "+m.Name)
			}
		}
		var logged atomic.Int64
		r.start("n1", Config{Profile: Classroom, Events: Events{
			Joined: tell("joined"), Left: tell("left"),
			Log: func(line string) {
				if line == "" || strings.HasSuffix(line, "\n") {
					t.Errorf("a line of log is %q", line)
				}
				logged.Add(1)
			},
		}})
		r.start("n2", Config{Profile: Classroom})
		r.await("n1", 5*time.Second, "n1", "n2")
		r.close("n2")
		time.Sleep(5 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if got := strings.Join(story, ", "); got != "joined n2, left n2" {
			t.Errorf("the story is %q", got)
		}
		if logged.Load() == 0 {
			t.Error("nothing was logged")
		}
	})
}

func TestKeysKeepStrangersOutAndRotate(t *testing.T) {
	key := func(b byte) []byte { return slices.Repeat([]byte{b}, 32) }
	bubble(t, func(t *testing.T, r *rig) {
		for _, name := range five[:4] {
			r.start(name, Config{Profile: Classroom, Keys: [][]byte{key(1)}})
		}
		r.start("n5", Config{Profile: Classroom, Keys: [][]byte{key(9)}})
		time.Sleep(20 * time.Second)
		r.await("n5", time.Second, "n5")
		for _, keys := range [][][]byte{{key(1), key(2)}, {key(2), key(1)}, {key(2)}} {
			for _, name := range five[:4] {
				if err := r.nodes[name].SetKeys(keys); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)
				r.await(name, time.Second, five[:4]...)
			}
		}
		if err := r.nodes["n5"].SetKeys([][]byte{key(2)}); err != nil {
			t.Fatal(err)
		}
		r.awaitAll(10 * time.Second)
		if err := r.nodes["n1"].SetKeys([][]byte{[]byte("short")}); !errors.Is(err, store.Invalid) {
			t.Errorf("a short key: %v", err)
		}
	})
}

func TestBadConfigIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		e, err := r.net.Endpoint("n1")
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			cfg  Config
			code store.Code
		}{
			"no endpoint": {Config{Cluster: "c"}, store.Invalid},
			"no cluster":  {Config{Endpoint: e}, store.Invalid},
			"long meta":   {Config{Cluster: "c", Endpoint: e, Meta: make([]byte, MaxMeta)}, store.TooLarge},
			"bad key":     {Config{Cluster: "c", Endpoint: e, Keys: [][]byte{{1}}}, store.Invalid},
		} {
			if _, err := Open(c.cfg); !errors.Is(err, c.code) {
				t.Errorf("%s: %v", name, err)
			}
		}
		r.start("n2", Config{Meta: make([]byte, MaxMeta-len("?test?n2?n2")-1)})
		r.start("n3", Config{})
		r.await("n3", 10*time.Second, "n2", "n3")
	})
}

func FuzzMeta(f *testing.F) {
	for _, m := range []Member{{}, {Addr: "10.0.0.1:7400", Gossip: "10.0.0.1:7401", Meta: []byte("zone=a")}} {
		b, err := encodeMeta("c", m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		cluster, m, err := decodeMeta(b)
		if err != nil || len(b) > MaxMeta {
			return
		}
		again, err := encodeMeta(cluster, m)
		if err != nil || !slices.Equal(again, b) {
			t.Errorf("%q was read as %q %+v, written %q, %v", b, cluster, m, again, err)
		}
	})
}

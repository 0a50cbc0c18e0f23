package cp_test

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

// stalls are disks under Raft's logs that can stand still: Raft's own goroutine then
// waits in a write, as all of a process does that is paused, while what its members
// send waits in its sockets.
type stalls map[string]*stall

type stall struct {
	cp.Log
	until atomic.Pointer[chan struct{}] // writes wait for it; nil: they do not
}

func (s stalls) configure(cfg *cp.Config) {
	seldom(cfg) // a read must not wait for the round of a proof
	disk := new(stall)
	s[cfg.Node] = disk
	cfg.OpenLog = func(e *engine.Engine, g store.GroupID) (cp.Log, io.Closer, error) {
		log, closer, err := cp.EngineLog(e, g)
		disk.Log = log
		return disk, closer, err
	}
}

// stop lets the writes of a node's log wait until the returned function is called.
func (s stalls) stop(node string) (resume func()) {
	until := make(chan struct{})
	s[node].until.Store(&until)
	return func() {
		s[node].until.Store(nil)
		close(until)
	}
}

func (s *stall) wait() {
	if until := s.until.Load(); until != nil {
		<-*until
	}
}

func (s *stall) StoreLog(log *raft.Log) error {
	s.wait()
	return s.Log.StoreLog(log)
}

func (s *stall) StoreLogs(logs []*raft.Log) error {
	s.wait()
	return s.Log.StoreLogs(logs)
}

// A leader that is paused while another is elected believes, when it goes on, that it
// leads: answers to what it asked before the pause are still on their way to it, and
// renew its lease. They prove nothing about now. Raft's VerifyLeader counts them, and
// the answers of non-voters.
func TestStrongReadIsNotServedByPausedLeader(t *testing.T) {
	for name, p := range map[string]paused{
		"nobody answers it":                                {},
		"the voters answer its calls":                      {callsPass: true},
		"a non-voter is at its side":                       {nonvoter: true},
		"a non-voter is at its side and all answer a call": {nonvoter: true, callsPass: true},
	} {
		t.Run(name, func(t *testing.T) {
			linktest.Bubble(t, func(t *testing.T) { p.run(t) })
		})
	}
}

type paused struct {
	nonvoter  bool // one stays on the old leader's side
	callsPass bool // the cut is of Raft's own connections only
}

func (p paused) run(t *testing.T) {
	disks := stalls{}
	c := newCluster(t, 3, disks.configure)
	c.put("x", "1")
	old := c.leader()
	if p.nonvoter {
		c.nonvoter("n4", old)
	}
	var voters []*member
	for _, name := range c.names {
		if name != old.name {
			voters = append(voters, c.nodes[name])
		}
	}
	<-time.After(time.Second) // the first proofs of freshness are done
	resume := disks.stop(old.name)
	go func() { // Raft's goroutine writes this to its log, and stands still
		_, _ = old.replica.Write(t.Context(), store.Command{Op: store.Put, Key: "y"})
	}()
	<-time.After(5 * time.Millisecond)

	// What the leader asked until now is answered, and the answers are held on their
	// way. All that is sent to it from now on takes so long that it does not matter.
	hold := p.answers(old, voters...)
	c.rules(hold)
	<-time.After(50 * time.Millisecond)
	for i := range hold {
		hold[i].Delay = time.Minute
	}
	hold = append(hold, p.questions(c, old, voters)...)
	c.rules(hold)
	fresh := c.leader(voters[0].name, voters[1].name)
	other := voters[0]
	if other == fresh {
		other = voters[1]
	}
	if _, err := fresh.replica.Write(within(t, time.Second), store.Command{Op: store.Put, Key: "x", Value: []byte("2")}); err != nil {
		t.Fatal(err)
	}

	// One member's answers renew the lease before the leader goes on, the other's come
	// while it proves to itself that it leads.
	c.rules(release(hold, other))
	<-time.After(time.Millisecond)
	resume()
	read := make(chan string, 1)
	go func() {
		got, err := old.get(within(t, time.Second), "x", store.Strong)
		read <- fmt.Sprintf("%s %v", got, errors.Is(err, store.Unavailable))
	}()
	verified := make(chan error, 1)
	go func() { verified <- old.replica.RaftVerifiesLeader() }()
	<-time.After(5 * time.Millisecond)
	if role := old.replica.Status().Role; role != "leader" {
		t.Fatalf("the paused leader is a %s already: this run shows nothing", role)
	}
	c.rules(release(release(hold, other), fresh))
	if err := <-verified; err != nil {
		t.Fatalf("Raft itself is not deceived (%v): this run shows nothing", err)
	}
	if got := <-read; got != " true" {
		t.Errorf("a strong read at the paused leader: %q, when x is 2 by the word of the new one; want Unavailable", got)
	}
	c.heal()
	if got, err := old.get(within(t, 2*time.Minute), "x", store.Strong); err != nil || got != "2" {
		t.Errorf("after the heal: %q, %v", got, err)
	}
}

// answers are held on their way from voters to the leader.
func (p paused) answers(leader *member, voters ...*member) (rules []link.Rule) {
	for _, v := range voters {
		rules = append(rules, link.Rule{From: v.name, To: leader.name, Kind: p.kind(), Action: link.Hole})
	}
	return rules
}

// questions of the leader's side do not arrive at the voters any more.
func (p paused) questions(c *cluster, leader *member, voters []*member) (rules []link.Rule) {
	for _, v := range voters {
		rules = append(rules, link.Rule{From: leader.name, To: v.name, Kind: p.kind(), Action: link.Hole})
		if p.nonvoter {
			rules = append(rules, link.Rule{From: v.name, To: "n4", Kind: link.Raft, Action: link.Hole})
		}
	}
	return rules
}

func (p paused) kind() link.Kind {
	if p.callsPass {
		return link.Raft
	}
	return 0
}

// release lets through what was held on its way from one member; what it sends now
// still comes late.
func release(rules []link.Rule, from *member) []link.Rule {
	var out []link.Rule
	for _, r := range rules {
		if r.From == from.name && r.Delay > 0 {
			r.Action = link.Pass
		}
		out = append(out, r)
	}
	return out
}

func (c *cluster) rules(rules []link.Rule) {
	c.t.Helper()
	if err := c.net.Rules().Set(rules); err != nil {
		c.t.Fatal(err)
	}
}

// nonvoter starts a member without a vote, which has caught up when it returns.
func (c *cluster) nonvoter(name string, leader *member) *member {
	c.t.Helper()
	m := c.start(name, vfs.NewCrashableMem(), nil)
	if err := leader.replica.AddNonvoter(c.t.Context(), name); err != nil {
		c.t.Fatal(err)
	}
	for range 100 {
		if m.replica.Status().Applied >= leader.replica.Status().Applied {
			return m
		}
		<-time.After(20 * time.Millisecond)
	}
	c.t.Fatalf("%s has not caught up", name)
	return nil
}

// A read index says how far the state must be; a state that is not there yet is no
// answer, however well the index is proved.
func TestStrongReadWaitsUntilItsIndexIsApplied(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("x", "0")
		leader, late := c.leader(), c.follower()
		// The log comes late to one follower, but not so late that it gives its leader up.
		c.rules([]link.Rule{{From: leader.name, To: late.name, Kind: link.Raft, Delay: 60 * time.Millisecond}})
		for i := range 10 {
			want := fmt.Sprint(i)
			if _, err := leader.replica.Write(within(t, time.Second), store.Command{Op: store.Put, Key: "x", Value: []byte(want)}); err != nil {
				t.Fatal(err)
			}
			behind := late.replica.Status().Applied < leader.replica.Status().Applied
			if got, err := late.get(within(t, time.Second), "x", store.Strong); err != nil || got != want || !behind {
				t.Fatalf("%q, %v at a follower that was behind (%v); %q was acknowledged before", got, err, behind, want)
			}
		}
	})
}

// A new leader does not know what its predecessor committed last until an entry of its
// own term is committed.
func TestNewLeaderServesNoStrongReadBeforeAnEntryOfItsTerm(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, seldom)
		c.put("x", "1")
		for _, m := range c.nodes {
			if _, err := m.get(within(t, time.Second), "x", store.Strong); err != nil {
				t.Fatal(err)
			}
		}
		old := c.leader()
		c.put("x", "2") // its followers have the entry, and do not know that it is committed
		old.ep.Kill()
		defer c.crash(old)
		var rest []*member
		for _, m := range c.nodes {
			if m != old {
				rest = append(rest, m)
			}
		}
		for _, m := range rest {
			if got, err := m.get(within(t, time.Second), "x", store.Eventual); err != nil || got != "1" {
				t.Fatalf("%s has applied the write already (%q, %v): this run shows nothing", m.name, got, err)
			}
		}
		// The survivors elect one, and its first entry takes its time.
		c.rules([]link.Rule{{From: link.Any, To: link.Any, Kind: link.Raft, Delay: 30 * time.Millisecond}})
		got := make(chan string, len(rest))
		for _, m := range rest {
			go func() {
				value, err := m.get(within(t, 5*time.Second), "x", store.Strong)
				got <- fmt.Sprintf("%s: %s %v", m.name, value, err)
			}()
		}
		for range rest {
			if line := <-got; line[len("n1: "):] != "2 <nil>" {
				t.Errorf("a strong read after x=2 was acknowledged: %s", line)
			}
		}
	})
}

// A cut-off leader and a non-voter are no majority of three voters.
func TestNonVoterIsNotCountedInAReadIndex(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, seldom)
		c.put("x", "1")
		leader := c.leader()
		c.nonvoter("n4", leader)
		rules := link.Isolate(leader.name, c.names)
		c.rules(rules)
		got, err := leader.get(within(t, 50*time.Millisecond), "x", store.Strong)
		if role := leader.replica.Status().Role; role != "leader" {
			t.Fatalf("it is a %s already: this run shows nothing", role)
		}
		if !errors.Is(err, store.Unavailable) {
			t.Errorf("a strong read at a leader and a non-voter: %q, %v, want Unavailable", got, err)
		}
	})
}

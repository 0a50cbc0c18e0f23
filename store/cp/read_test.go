package cp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/cp"
)

// seldom leaves the proofs of freshness to the reads.
func seldom(cfg *cp.Config) { cfg.Timing.Proof = time.Hour }

func TestQuorumReadIsServedAsStrong(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		for i := range 10 {
			want := fmt.Sprint(i)
			c.put("k", want)
			page, err := c.follower().replica.Read(within(t, time.Second), store.Query{Key: "k", Level: store.Quorum})
			if err != nil || shown(page) != want {
				t.Fatalf("%v, %v, want %s", page.Items, err, want)
			}
			if p := page.Proof; p.Asked != store.Quorum || p.Served != store.Strong || !p.Fresh || p.Staleness != 0 || p.WaitedFor != "read index" {
				t.Errorf("proof %+v", p)
			}
		}
		away := c.follower()
		c.rules(link.Isolate(away.name, c.names))
		if _, err := away.get(within(t, time.Second), "k", store.Quorum); !errors.Is(err, store.Unavailable) {
			t.Errorf("a quorum read in the minority: %v", err)
		}
	})
}

// shown is the value that a get found, or "".
func shown(page store.Page) string {
	if len(page.Items) == 0 {
		return ""
	}
	return string(page.Items[0].Values[0])
}

// wrote is a value and when it was acknowledged.
type wrote struct {
	at    time.Time
	value int
}

func TestBoundedReadIsServedUntilItsBoundAfterTheLastProof(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		const bound = 2 * time.Second
		c := newCluster(t, 3, nil)
		c.put("k", "0")
		away := c.follower()
		if _, err := away.get(within(t, time.Second), "k", store.Strong); err != nil {
			t.Fatal(err)
		}
		var rest []string
		for _, name := range c.names {
			if name != away.name {
				rest = append(rest, name)
			}
		}
		c.rules(link.Isolate(away.name, c.names))
		cut := time.Now()
		writer := c.leader(rest...)
		var log []wrote
		for i := 1; time.Since(cut) < 2*bound; i++ {
			if _, err := writer.replica.Write(within(t, time.Second), store.Command{Op: store.Put, Key: "k", Value: fmt.Append(nil, i)}); err != nil {
				t.Fatal(err)
			}
			log = append(log, wrote{time.Now(), i})
			for _, name := range rest {
				boundedRead(t, c.nodes[name], bound, log, true)
			}
			// The last proof was asked for a second before the cut at the earliest.
			age := time.Since(cut)
			switch served := boundedRead(t, away, bound, log, false); {
			case age <= bound-time.Second && !served:
				t.Errorf("refused %v after the cut", age)
			case age > bound && served:
				t.Errorf("served %v after the cut", age)
			}
			if got, err := away.get(within(t, time.Second), "k", store.Eventual); err != nil || got != "0" {
				t.Errorf("eventual, %v after the cut: %q, %v", age, got, err)
			}
		}
		c.heal()
		if !boundedRead(t, away, bound, log, true) {
			t.Error("refused after the heal")
		}
	})
}

// boundedRead reads k at m and reports whether it was served. What is served has every
// write of log that was acknowledged longer ago than the bound.
func boundedRead(t *testing.T, m *member, bound time.Duration, log []wrote, must bool) bool {
	t.Helper()
	began := time.Now()
	wait := 100 * time.Millisecond
	if must {
		wait = 10 * time.Second
	}
	page, err := m.replica.Read(within(t, wait), store.Query{Key: "k", Level: store.Bounded, Bound: bound})
	if err != nil {
		if e := store.AsError(err); e.Code != store.TooStale || e.Try == "" || !strings.Contains(e.Msg, "old when the read began") || must {
			t.Fatalf("%s: %+v", m.name, e)
		}
		return false
	}
	var got int
	_, _ = fmt.Sscan(shown(page), &got)
	for _, w := range log {
		if w.at.Before(began.Add(-bound)) && w.value > got {
			t.Fatalf("%s: read %d at %v; %d was acknowledged %v before", m.name, got, began, w.value, began.Sub(w.at))
		}
	}
	if p := page.Proof; p.Asked != store.Bounded || p.Served != store.Bounded || !p.Fresh || p.Staleness > bound {
		t.Fatalf("%s: proof %+v", m.name, p)
	}
	return true
}

func TestBoundedReadAsksWhenTheLastProofIsTooOld(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, seldom)
		c.put("k", "1")
		m := c.follower()
		if _, err := m.get(within(t, time.Second), "k", store.Strong); err != nil {
			t.Fatal(err)
		}
		read := func(waits bool) {
			t.Helper()
			page, err := m.replica.Read(within(t, time.Second), store.Query{Key: "k", Level: store.Bounded, Bound: 2 * time.Second})
			if err != nil || (page.Proof.WaitedFor == "read index") != waits || (page.Proof.Waited > 0) != waits {
				t.Errorf("%v, %+v", err, page.Proof)
			}
		}
		<-time.After(1900 * time.Millisecond)
		read(false)
		<-time.After(200 * time.Millisecond)
		read(true)
		read(false) // by the proof of the one before
	})
}

func TestReadOfEveryLevelButEventualCoversItsSession(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("k", "0")
		leader, late := c.leader(), c.follower()
		if _, err := late.get(within(t, time.Second), "k", store.Strong); err != nil {
			t.Fatal(err)
		}
		c.rules([]link.Rule{{From: leader.name, To: late.name, Kind: link.Raft, Delay: 60 * time.Millisecond}})
		n := 0
		for level, bound := range map[store.Level]time.Duration{
			store.Bounded: time.Hour, store.Monotonic: 0, store.ReadYourWrites: 0, store.Causal: 0, store.Quorum: 0, store.Strong: 0,
		} {
			n++
			want := fmt.Sprint(n)
			res, err := leader.replica.Write(within(t, time.Second), store.Command{Op: store.Put, Key: "k", Value: []byte(want)})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := late.get(within(t, time.Second), "k", store.Eventual); err != nil || got == want {
				t.Fatalf("the follower is not late: %q, %v", got, err)
			}
			page, err := late.replica.Read(within(t, time.Second), store.Query{Key: "k", Level: level, Bound: bound, After: res.Entry})
			if err != nil || shown(page) != want || page.Proof.Waited == 0 {
				t.Errorf("%v: %v, %v, want %s; waited %v for %q", level, page.Items, err, want, page.Proof.Waited, page.Proof.WaitedFor)
			}
		}
	})
}

func TestEntryOfNoCPGroupIsRefusedAndEventualDoesNotLook(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, nil)
		c.put("k", "v")
		m := c.leader()
		foreign := token.EncodeEntry([]token.Component{{ID: 1<<63 + 12345, N: 1}})
		for level, bound := range map[store.Level]time.Duration{store.Strong: 0, store.Bounded: time.Hour, store.Causal: 0, store.Monotonic: 0} {
			for entry, want := range map[string]store.Code{string(foreign): store.TokenMismatch, "garbage": store.Invalid} {
				_, err := m.replica.Read(within(t, time.Second), store.Query{Key: "k", Level: level, Bound: bound, After: store.Entry(entry)})
				if !errors.Is(err, want) {
					t.Errorf("%v after %x: %v, want %v", level, entry, err, want)
				}
			}
		}
		for _, entry := range []store.Entry{foreign, store.Entry("garbage"), token.EncodeEntry([]token.Component{{N: 1 << 40}})} {
			if page, err := m.replica.Read(within(t, time.Second), store.Query{Key: "k", Level: store.Eventual, After: entry}); err != nil || len(page.Items) != 1 {
				t.Errorf("eventual after %x: %v", entry, err)
			}
		}
		// A revision that nobody has written costs its holder a wait, and is not ignored.
		never := token.EncodeEntry([]token.Component{{N: 1 << 40}})
		for level, want := range map[store.Level]store.Code{
			store.Causal: store.SessionUnreachable, store.Bounded: store.SessionUnreachable, store.Quorum: store.Unavailable, store.Strong: store.Unavailable,
		} {
			q := store.Query{Key: "k", Level: level, After: never}
			if level == store.Bounded {
				q.Bound = time.Hour
			}
			if _, err := m.replica.Read(within(t, time.Second), q); !errors.Is(err, want) {
				t.Errorf("%v after a revision that is not there: %v, want %v", level, err, want)
			}
		}
	})
}

func TestEntryOfAnEarlierEpochIsRefusedAndOneOfALaterIsWaitedFor(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		c.put("j", "v")
		before := c.put("k", "v").Entry
		late := c.follower()
		first, err := late.replica.Read(within(t, time.Second), store.Query{Limit: 1, Level: store.Strong})
		if err != nil {
			t.Fatal(err)
		}
		saved := c.save()
		c.rules(link.Isolate(late.name, c.names))
		if _, err := c.restore(bytes.NewReader(saved)); err != nil {
			t.Fatal(err)
		}
		after := c.put("k", "w").Entry
		read := func(level store.Level, entry store.Entry) error {
			q := store.Query{Key: "k", Level: level, After: entry}
			if level == store.Bounded {
				q.Bound = time.Hour
			}
			_, err := late.replica.Read(within(t, 5*time.Second), q)
			return err
		}
		if err := read(store.Causal, before); err != nil {
			t.Errorf("the session's entry, where the restore is not known yet: %v", err)
		}
		if err := read(store.Causal, after); !errors.Is(err, store.SessionUnreachable) {
			t.Errorf("an entry of after the restore, where it is not known yet: %v", err)
		}
		c.heal()
		for _, level := range []store.Level{store.Causal, store.Bounded, store.Quorum, store.Strong, store.Eventual} {
			if err := read(level, after); err != nil {
				t.Errorf("%v, an entry of after the restore: %v", level, err)
			}
			err := read(level, before)
			if level == store.Eventual && err != nil || level != store.Eventual && (!errors.Is(err, store.TokenMismatch) || store.AsError(err).Try != "a new session") {
				t.Errorf("%v, an entry of before the restore: %v", level, err)
			}
		}
		refusedPage(t, late, store.Query{Limit: 1}, first.Next, store.Compacted)
		<-time.After(6 * time.Second)
		if n := late.replica.Pins(); n != 0 {
			t.Errorf("%d views of before the restore are kept", n)
		}
	})
}

// ask puts a voter's question to a replica, as a leader does.
func ask(t *testing.T, r *cp.Replica) (*logpb.TermResponse, error) {
	t.Helper()
	req, err := proto.Marshal(&logpb.CPRequest{Kind: &logpb.CPRequest_Term{Term: &logpb.TermRequest{Round: 7}}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.ServeCall(within(t, time.Second), "n1", req)
	atOnce, ok := r.ServeAtOnce("n1", req)
	if ok != (err == nil) || !bytes.Equal(atOnce, b) {
		t.Errorf("ServeCall says %x, %v, and ServeAtOnce %x, %v", b, err, atOnce, ok)
	}
	if err != nil {
		return nil, err
	}
	resp := new(logpb.CPResponse)
	if err := proto.Unmarshal(b, resp); err != nil {
		t.Fatal(err)
	}
	return resp.GetTerm(), nil
}

func TestOnlyARunningVoterAnswersForItsTerm(t *testing.T) {
	silent := func(t *testing.T, r *cp.Replica) {
		t.Helper()
		if term, err := ask(t, r); !errors.Is(err, store.Unavailable) {
			t.Errorf("it answers %v, %v", term, err)
		}
	}
	for name, check := range map[string]func(t *testing.T, c *cluster){
		"a voter": func(t *testing.T, c *cluster) {
			for _, m := range c.nodes {
				if term, err := ask(t, m.replica); err != nil || term.Term != c.leader().replica.Status().Term || term.Round != 7 {
					t.Errorf("%s: %v, %v", m.name, term, err)
				}
			}
		},
		"starting": func(t *testing.T, c *cluster) {
			m := c.follower()
			disk := c.crash(m)
			e, err := engine.Open(engine.Config{Dir: "/data", FS: disk})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			ep, err := c.net.Endpoint(m.name)
			if err != nil {
				t.Fatal(err)
			}
			defer ep.Close()
			r, err := cp.Open(cp.Config{Node: m.name, Group: group, Bootstrap: c.names, Engine: e, Mux: cp.NewMux(ep), Peers: peers{ep}})
			if err != nil {
				t.Fatal(err)
			}
			silent(t, r)
		},
		"stopped": func(t *testing.T, c *cluster) {
			m := c.follower()
			c.stop(m)
			silent(t, m.replica)
		},
		"wiped": func(t *testing.T, c *cluster) {
			m := c.follower()
			c.crash(m)
			c.rules(link.Isolate(m.name, c.names))
			silent(t, c.start(m.name, vfs.NewCrashableMem(), nil).replica)
		},
		"wiped and told of the first members": func(t *testing.T, c *cluster) {
			m := c.follower()
			c.crash(m)
			c.rules(link.Isolate(m.name, c.names))
			silent(t, c.start(m.name, vfs.NewCrashableMem(), c.names).replica)
		},
		"removed": func(t *testing.T, c *cluster) {
			leader, m := c.leader(), c.follower()
			if err := leader.replica.Remove(within(t, 5*time.Second), m.name); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Second)
			silent(t, m.replica)
		},
		"without a vote": func(t *testing.T, c *cluster) {
			silent(t, c.nonvoter("n4", c.leader()).replica)
		},
	} {
		t.Run(name, func(t *testing.T) {
			linktest.Bubble(t, func(t *testing.T) {
				c := newCluster(t, 3, nil)
				c.put("k", "v")
				check(t, c)
			})
		})
	}
}

// forger changes what voters answer to a leader.
type forger struct {
	cp.Peers
	forge func(*logpb.CPResponse)
}

func (f forger) Call(ctx context.Context, to string, payload []byte) ([]byte, error) {
	b, err := f.Peers.Call(ctx, to, payload)
	if err != nil {
		return nil, err
	}
	resp := new(logpb.CPResponse)
	if err := proto.Unmarshal(b, resp); err != nil {
		return nil, err
	}
	if resp.GetTerm() != nil {
		f.forge(resp)
	}
	return proto.Marshal(resp)
}

func TestOnlyAnAnswerToTheQuestionIsCounted(t *testing.T) {
	for name, forge := range map[string]func(*logpb.CPResponse){
		"of another round": func(r *logpb.CPResponse) { r.GetTerm().Round-- },
		"of no term":       func(r *logpb.CPResponse) { r.GetTerm().Term = 0 },
		"of a later term":  func(r *logpb.CPResponse) { r.GetTerm().Term++ },
		"of another kind": func(r *logpb.CPResponse) {
			r.Kind = &logpb.CPResponse_Applied{Applied: &logpb.AppliedResponse{Index: 1}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			linktest.Bubble(t, func(t *testing.T) {
				c := newCluster(t, 3, func(cfg *cp.Config) { cfg.Peers = forger{cfg.Peers, forge} })
				c.put("k", "v")
				for _, m := range c.nodes {
					if got, err := m.get(within(t, time.Second), "k", store.Strong); !errors.Is(err, store.Unavailable) {
						t.Errorf("%s: %q, %v", m.name, got, err)
					}
				}
			})
		})
	}
}

func TestReadThatArrivesDuringARoundWaitsForTheNext(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, seldom)
		c.put("k", "v")
		leader := c.leader()
		<-time.After(time.Second) // the first proofs are done
		// A round takes a fifth of a second and some more.
		c.rules([]link.Rule{{From: link.Any, To: link.Any, Kind: link.RPC, Delay: 50 * time.Millisecond}})
		before := leader.replica.Rounds()
		began := time.Now()
		first, second := make(chan time.Duration, 1), make(chan time.Duration, 1)
		read := func(done chan<- time.Duration) {
			if got, err := leader.get(within(t, 5*time.Second), "k", store.Strong); err != nil || got != "v" {
				t.Errorf("%q, %v", got, err)
			}
			done <- time.Since(began)
		}
		go read(first)
		<-time.After(20 * time.Millisecond)
		if n := leader.replica.Rounds() - before; n != 1 {
			t.Fatalf("%d rounds have begun", n)
		}
		go read(second)
		one, two := <-first, <-second
		if two < 2*one-10*time.Millisecond || leader.replica.Rounds()-before != 2 {
			t.Errorf("the first read took %v, the second, which came later, until %v; %d rounds", one, two, leader.replica.Rounds()-before)
		}
	})
}

// rounds is how many read-index rounds were led so far, by whoever led.
func (c *cluster) rounds() (n uint64) {
	for _, m := range c.nodes {
		n += m.replica.Rounds()
	}
	return n
}

func TestManyStrongReadsShareARound(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		const clients, each = 1000, 5
		c := newCluster(t, 3, seldom)
		c.put("k", "v")
		for _, m := range []*member{c.leader(), c.follower()} {
			before := c.rounds()
			var done sync.WaitGroup
			for range clients {
				done.Go(func() {
					for range each {
						if got, err := m.get(within(t, 10*time.Second), "k", store.Strong); err != nil || got != "v" {
							t.Errorf("%q, %v", got, err)
							return
						}
					}
				})
			}
			done.Wait()
			rounds := c.rounds() - before
			if reads := uint64(clients * each); reads < 10*rounds {
				t.Errorf("%d reads in %d rounds: %d a round, want 10 at least", reads, rounds, reads/rounds)
			}
			t.Logf("%s: %d reads in %d rounds", m.replica.Status().Role, clients*each, rounds)
		}
	})
}

// BenchmarkStrongReads is of 1000 clients at once, at the leader and at a follower.
func BenchmarkStrongReads(b *testing.B) {
	c := newCluster(b, 3, seldom)
	c.put("k", "v")
	for _, m := range []*member{c.leader(), c.follower()} {
		b.Run(m.replica.Status().Role, func(b *testing.B) {
			before := c.rounds()
			b.ResetTimer()
			var done sync.WaitGroup
			const clients = 1000
			for client := range clients {
				done.Go(func() {
					for i := client; i < b.N; i += clients {
						if _, err := m.get(b.Context(), "k", store.Strong); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			done.Wait()
			b.StopTimer()
			if rounds := c.rounds() - before; rounds > 0 {
				b.ReportMetric(float64(b.N)/float64(rounds), "reads/round")
			}
		})
	}
}

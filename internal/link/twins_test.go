package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

// onEachCluster is onBoth with nodes of a cluster, of which each began at 10.
func onEachCluster(t *testing.T, test func(t *testing.T, s *stage)) {
	onBoth(t, func(t *testing.T, s *stage) {
		for _, e := range s.nodes {
			s.introduce(e, 10)
		}
		test(t, s)
	})
}

func (s *stage) introduce(e *Endpoint, start uint64) {
	e.Introduce(Introduction{Cluster: "c", Start: start, Resolve: s.resolve})
}

// copied starts a second process of a node. Everybody finds the first by its name.
func (s *stage) copied(t *testing.T, name string, start uint64) *Endpoint {
	t.Helper()
	e, err := s.beside(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	s.introduce(e, start)
	return e
}

func dialFrom(e *Endpoint, to string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return e.Dial(ctx, to, Raft)
}

func expectExpelled(t *testing.T, e *Endpoint, err error) {
	t.Helper()
	if !errors.Is(err, store.AlreadyExists) {
		t.Errorf("the dial of the later process: %v", err)
	}
	select {
	case <-e.Expelled():
	default:
		t.Fatal("the later process was not expelled")
	}
	if why := store.AsError(e.Err()); why.Code != store.AlreadyExists || why.Try == "" || !strings.Contains(why.Msg, "two processes run as node n3") {
		t.Errorf("it was told: %v", e.Err())
	}
	if _, err := dialFrom(e, "n2"); err == nil {
		t.Error("after its expulsion it dialled another node")
	}
}

func expectNotExpelled(t *testing.T, e *Endpoint) {
	t.Helper()
	select {
	case <-e.Expelled():
		t.Errorf("%s was expelled: %v", e.Name(), e.Err())
	default:
	}
}

func TestSecondProcessOfANodeIsRefused(t *testing.T) {
	onEachCluster(t, func(t *testing.T, s *stage) {
		here, there := s.connect(t, "n3", "n1", Raft)
		var told []Twins
		s.nodes["n1"].twins = func(t Twins) { told = append(told, t) }
		clone := s.copied(t, "n3", 11)
		_, err := dialFrom(clone, "n1")
		expectExpelled(t, clone, err)
		expectNotExpelled(t, s.nodes["n3"])
		send(t, here, "the first goes on")
		expect(t, there, "the first goes on")
		if len(told) != 1 || told[0].Node != "n3" || told[0].Kept.Start != 10 || told[0].Refused.Start != 11 || told[0].RefusedAddr != clone.Addr() {
			t.Errorf("n1 told of %+v", told)
		}
	})
}

// Whom a member met first does not matter: all refuse the same one.
func TestLaterProcessIsRefusedWhereItWasMetFirst(t *testing.T) {
	onEachCluster(t, func(t *testing.T, s *stage) {
		clone := s.copied(t, "n3", 11)
		conn, err := dialFrom(clone, "n1")
		if err != nil {
			t.Fatal(err)
		}
		here, there := s.connect(t, "n3", "n1", RPC)
		if err := ending(conn); isTimeout(err) {
			t.Error("the later process keeps its connection")
		}
		send(t, here, "hello")
		expect(t, there, "hello")
		_, err = dialFrom(clone, "n1")
		expectExpelled(t, clone, err)
		expectNotExpelled(t, s.nodes["n3"])
	})
}

// What a member reaches under a node's name may be the copy.
func TestDialThatReachesTheLaterProcessFails(t *testing.T) {
	onEachCluster(t, func(t *testing.T, s *stage) {
		s.connect(t, "n1", "n3", Raft)
		first, clone := s.nodes["n3"], s.copied(t, "n3", 11)
		s.nodes["n3"] = clone
		if _, err := s.dial("n1", "n3", Raft, patience); !errors.Is(err, store.AlreadyExists) {
			t.Errorf("the dial: %v", err)
		}
		s.nodes["n3"] = first
		here, there := s.connect(t, "n1", "n3", RPC)
		send(t, here, "hello")
		expect(t, there, "hello")
		expectNotExpelled(t, first)
		_, err := dialFrom(clone, "n1")
		expectExpelled(t, clone, err)
	})
}

func TestRestartedNodeIsNoSecondProcess(t *testing.T) {
	onEachCluster(t, func(t *testing.T, s *stage) {
		for start := uint64(11); start < 14; start++ {
			before, _ := s.connect(t, "n1", "n3", Raft)
			s.nodes["n3"].Kill()
			again := s.restart(t, "n3")
			s.introduce(again, start)
			s.connect(t, "n3", "n2", Raft)
			s.connect(t, "n1", "n3", RPC)
			if err := ending(before); isTimeout(err) {
				t.Error("a connection to the process that ended is kept")
			}
			expectNotExpelled(t, again)
		}
	})
}

// A member that cannot reach the first takes the copy for a restart, until the first is
// back: then the copy is refused, though it was there all the time.
func TestCopyIsRefusedWhenTheFirstIsBack(t *testing.T) {
	onEachCluster(t, func(t *testing.T, s *stage) {
		before, _ := s.connect(t, "n3", "n1", Raft)
		s.set(t, Rule{From: "n1", To: "n3", Kind: Asking, Action: Hole})
		clone := s.copied(t, "n3", 11)
		conn, err := dialFrom(clone, "n1")
		if err != nil {
			t.Fatal(err)
		}
		if err := ending(before); isTimeout(err) {
			t.Error("the first keeps its connection, and need not introduce itself again")
		}
		s.set(t)
		s.connect(t, "n3", "n1", RPC)
		if err := ending(conn); isTimeout(err) {
			t.Error("the copy keeps its connection")
		}
		_, err = dialFrom(clone, "n1")
		expectExpelled(t, clone, err)
		expectNotExpelled(t, s.nodes["n3"])
	})
}

func TestNodesOfTwoClustersMayHaveOneName(t *testing.T) {
	onEachCluster(t, func(t *testing.T, s *stage) {
		s.connect(t, "n3", "n1", Raft)
		other := s.copied(t, "n3", 1)
		other.Introduce(Introduction{Cluster: "d", Start: 1, Resolve: s.resolve})
		if _, err := dialFrom(other, "n1"); err != nil {
			t.Errorf("%v; what it says there is for others to judge", err)
		}
		if _, err := dialFrom(s.nodes["n3"], "n1"); err != nil {
			t.Error(err)
		}
		expectNotExpelled(t, other)
		expectNotExpelled(t, s.nodes["n3"])
	})
}

// What arrives late from a process that has ended does not end the one that lives.
func TestLatePrefaceOfAnEndedProcessIsNoSecondProcess(t *testing.T) {
	s := listen(t, func(*Config) {})
	for _, e := range s.nodes {
		s.introduce(e, 10)
	}
	here, there := s.connect(t, "n3", "n1", Raft)
	raw, err := net.Dial("tcp", s.nodes["n1"].Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	old := presence{Incarnation{9, 77}, clusterNumber("c"), "127.0.0.1:1"}
	_, _ = raw.Write(append(preface{"n3", "n1", Raft}.encode(), old.encode()...))
	_ = raw.SetReadDeadline(time.Now().Add(patience))
	question := make([]byte, 1+proofLen)
	if _, err := io.ReadFull(raw, question); err != nil || question[0] != prove {
		t.Fatalf("answered %x, %v; want a question", question, err)
	}
	_, _ = raw.Write(make([]byte, proofLen)) // as long as an answer
	if err := ending(raw); isTimeout(err) {
		t.Error("a wrong answer is let in")
	}
	send(t, here, "hello")
	expect(t, there, "hello")
	expectNotExpelled(t, s.nodes["n3"])
}

func FuzzPresence(f *testing.F) {
	f.Add(presence{Incarnation{1, 2}, 3, "127.0.0.1:7400"}.encode())
	f.Add(presence{addr: strings.Repeat("a", maxAddr)}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		p, err := readPresence(r)
		if err != nil {
			return
		}
		if used := b[:len(b)-r.Len()]; !bytes.Equal(p.encode(), used) {
			t.Errorf("%q was read as %+v, which is written %q", used, p, p.encode())
		}
	})
}

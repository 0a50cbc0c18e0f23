package link

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

func TestBytesArriveInOrderUnderTheDialersName(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage) {
		for _, kind := range []Kind{Raft, RPC, Calls, Gossip} {
			here, there := s.connect(t, "n1", "n2", kind)
			if here.RemoteAddr().String() != "n2" || there.RemoteAddr().String() != "n1" {
				t.Errorf("%s: the ends see %s and %s", kind, here.RemoteAddr(), there.RemoteAddr())
			}
			want := make([]byte, 3*window+17)
			_, _ = rand.Read(want)
			go func() { _, _ = here.Write(want); _ = here.Close() }()
			got, err := io.ReadAll(there)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes of %d, %v", kind, len(got), len(want), err)
			}
			_ = there.Close()
		}
	})
}

func TestCloseIsReadAfterTheBytesBeforeIt(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage) {
		here, there := s.connect(t, "n1", "n2", RPC)
		send(t, here, "last words")
		_ = here.Close()
		expect(t, there, "last words")
		if err := ending(there); err != nil {
			t.Errorf("ended with %v", err)
		}
		if _, err := here.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("own read after close: %v", err)
		}
		if _, err := here.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("own write after close: %v", err)
		}
	})
}

func TestDeadlineEndsOnlyTheCallsItIsFor(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage) {
		here, there := s.connect(t, "n1", "n2", Raft)
		expectSilence(t, there)
		send(t, here, "x")
		expect(t, there, "x")

		s.set(t, hole("n1", "n2"))
		_ = here.SetWriteDeadline(time.Now().Add(silence))
		_, err := here.Write(make([]byte, 64<<20))
		if e, ok := err.(net.Error); !ok || !e.Timeout() {
			t.Errorf("write into a full window: %v", err)
		}
	})
}

func TestCutHoldsOpenConnectionsAndBytesInFlightUntilItHeals(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage) {
		here, there := s.connect(t, "n1", "n2", Raft)
		send(t, here, "before ")
		s.set(t, bothWays(Hole)...)
		send(t, here, "during ")
		expectSilence(t, there)
		s.set(t)
		send(t, here, "after")
		expect(t, there, "before during after")
		if held, _ := s.rules.Counts(); held == 0 {
			t.Error("the cut had no effect by its own count")
		}
	})
}

func TestCutHidesThatThePeerClosed(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage) {
		here, there := s.connect(t, "n1", "n2", Raft)
		s.set(t, bothWays(Hole)...)
		_ = here.Close()
		expectSilence(t, there)
		send(t, there, "to nobody")
		s.set(t)
		if err := ending(there); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after the heal: %v", err)
		}
	})
}

func TestOneWayCutLetsTheOtherWayThrough(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage) {
		here, there := s.connect(t, "n1", "n2", Raft)
		s.set(t, hole("n1", "n2"))
		send(t, here, "lost in the dark")
		send(t, there, "hello")
		expect(t, here, "hello")
		expectSilence(t, there)
	})
}

func TestDialWaitsForTheHealOrItsContext(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage) {
		s.set(t, hole("n2", "n1")) // the answer's way is enough
		_, err := s.dial("n1", "n2", RPC, silence)
		if e, ok := err.(net.Error); !ok || !e.Timeout() {
			t.Fatalf("dial into a hole: %v", err)
		}
		done := make(chan error, 1)
		go func() {
			c, err := s.dial("n1", "n2", RPC, patience)
			if err == nil {
				_ = c.Close()
			}
			done <- err
		}()
		s.set(t)
		if err := <-done; err != nil {
			t.Errorf("dial after the heal: %v", err)
		}
	})
}

func TestResetFailsBothEndsForGood(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage) {
		here, there := s.connect(t, "n1", "n2", Raft)
		other, far := s.connect(t, "n1", "n3", Raft)
		s.set(t, bothWays(Reset)...)
		if _, err := s.dial("n1", "n2", Raft, patience); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("dial: %v", err)
		}
		if err := ending(here); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: %v", err)
		}
		s.set(t)
		if _, err := here.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("write after the heal: %v", err)
		}
		if err := ending(there); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("far read: %v", err)
		}
		send(t, other, "untouched")
		expect(t, far, "untouched")
	})
}

func TestKillResetsPeersAndFreesTheName(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage) {
		here, there := s.connect(t, "n1", "n2", Raft)
		s.nodes["n2"].Kill()
		if err := ending(here); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the peer of a killed node reads %v", err)
		}
		if _, err := there.Write([]byte("x")); err == nil {
			t.Error("a killed node wrote")
		}
		if _, err := s.dial("n1", "n2", Raft, patience); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial to a killed node: %v", err)
		}
		if _, err := s.dial("n2", "n1", Raft, patience); !errors.Is(err, net.ErrClosed) {
			t.Errorf("dial by a killed node: %v", err)
		}
		if err := s.nodes["n2"].SendPacket("n1", nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("packet by a killed node: %v", err)
		}
		s.restart(t, "n2")
		here, there = s.connect(t, "n1", "n2", Raft)
		send(t, here, "again")
		expect(t, there, "again")
	})
}

func TestCloseEndsWhatWasHandedOut(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage) {
		here, there := s.connect(t, "n1", "n2", RPC)
		send(t, there, "bye")
		_ = s.nodes["n2"].Close()
		expect(t, here, "bye")
		if err := ending(here); err != nil {
			t.Errorf("the peer reads %v", err)
		}
		if _, err := s.nodes["n2"].Listener(RPC).Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept: %v", err)
		}
	})
}

func TestClosedKindIsRefusedOthersAreNot(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage) {
		_ = s.nodes["n2"].Listener(Raft).Close()
		if _, err := s.dial("n1", "n2", Raft, patience); err == nil {
			t.Error("a closed listener accepted")
		}
		s.connect(t, "n1", "n2", RPC)
	})
}

func TestOutsideClientReachesRPCWhateverTheRules(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage) {
		if s.client == nil {
			t.Skip("nobody but nodes sends frames")
		}
		s.set(t, hole("*", "*"))
		const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
		c, err := s.client("n1")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		send(t, c, preface)
		there, err := s.nodes["n1"].Listener(RPC).Accept()
		if err != nil {
			t.Fatal(err)
		}
		if there.RemoteAddr().String() != Client {
			t.Errorf("the client is called %s", there.RemoteAddr())
		}
		expect(t, there, preface)
		send(t, there, "settings")
		expect(t, c, "settings")
		_ = there.Close()
	})
}

func TestNodeReachesItselfThroughEveryRule(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage) {
		s.set(t, hole("*", "*"))
		here, there := s.connect(t, "n1", "n1", RPC)
		send(t, here, "myself")
		expect(t, there, "myself")
	})
}

func TestPacketsCarryTheSenderAndObeyTheRules(t *testing.T) {
	onEach(t, func(t *testing.T, s *stage) {
		packet := func(text string) {
			t.Helper()
			if err := s.nodes["n1"].SendPacket("n2", []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		packet("one")
		if p := <-s.nodes["n2"].Packets(); p.From != "n1" || string(p.Data) != "one" || p.At.IsZero() {
			t.Errorf("got %+v", p)
		}
		for _, r := range []Rule{hole("n1", "*"), {From: "n1", To: "n2", Action: Reset}, {From: "*", To: "*", Loss: 1}} {
			s.set(t, r)
			packet("never")
		}
		s.set(t)
		packet("two")
		if p := <-s.nodes["n2"].Packets(); string(p.Data) != "two" {
			t.Errorf("got %+v", p)
		}
		if held, _ := s.rules.Counts(); held != 3 {
			t.Errorf("%d packets counted as held, want 3", held)
		}
		if err := s.nodes["n1"].SendPacket("n2", make([]byte, MaxPacket+1)); !errors.Is(err, store.TooLarge) {
			t.Errorf("an oversized packet: %v", err)
		}
		if _, err := s.dial("n1", "n2", Packet, patience); !errors.Is(err, store.Invalid) {
			t.Errorf("dial for packets: %v", err)
		}
	})
}

func TestDelayIsServedOnce(t *testing.T) {
	const delay = 30 * time.Millisecond
	onEach(t, func(t *testing.T, s *stage) {
		here, there := s.connect(t, "n1", "n2", Raft)
		s.set(t, Rule{From: "n1", To: "n2", Delay: delay})
		start := time.Now()
		send(t, here, "slow")
		expect(t, there, "slow")
		if took := time.Since(start); took < delay {
			t.Errorf("arrived after %s", took)
		}
		start = time.Now()
		send(t, there, "quick")
		expect(t, here, "quick")
		if took := time.Since(start); took >= delay {
			t.Errorf("the other way took %s", took)
		}
		if _, delayed := s.rules.Counts(); delayed != 1 {
			t.Errorf("%d writes counted as delayed, want 1", delayed)
		}
	})
}

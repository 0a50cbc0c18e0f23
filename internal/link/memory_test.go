package link

import (
	"errors"
	"io"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

// arrivals sends n numbered bytes, one each millisecond, and returns how long each
// was under way.
func arrivals(t *testing.T, s *stage, n int) []time.Duration {
	here, there := s.connect(t, "n1", "n2", Raft)
	defer here.Close()
	defer there.Close()
	sent := make([]time.Time, n)
	go func() {
		for i := range n {
			sent[i] = time.Now()
			_, _ = here.Write([]byte{byte(i)})
			time.Sleep(time.Millisecond)
		}
	}()
	took := make([]time.Duration, n)
	for i := range n {
		var b [1]byte
		if _, err := io.ReadFull(there, b[:]); err != nil || b[0] != byte(i) {
			t.Fatalf("byte %d: got %d, %v", i, b[0], err)
		}
		took[i] = time.Since(sent[i])
	}
	return took
}

func TestJitterStaysInItsBoundsAndNothingOvertakes(t *testing.T) {
	cfg := NetworkConfig{Seed: 7, Latency: 10 * time.Millisecond, Jitter: 4 * time.Millisecond}
	inMemory(t, cfg, func(t *testing.T, s *stage) {
		s.set(t, Rule{From: "*", To: "n2", Delay: 5 * time.Millisecond}, Rule{From: "n1", To: "n2", Delay: 5 * time.Millisecond, Jitter: 2 * time.Millisecond})
		took := arrivals(t, s, 200)
		different := map[time.Duration]bool{}
		for i, d := range took {
			if d < 14*time.Millisecond || d > 26*time.Millisecond {
				t.Errorf("byte %d took %s, outside 20 ms ± 6 ms", i, d)
			}
			different[d] = true
		}
		if len(different) < 50 {
			t.Errorf("only %d different delays of 200", len(different))
		}
	})
}

func TestSameSeedDrawsTheSameDelays(t *testing.T) {
	draw := func(seed uint64) (took []time.Duration) {
		cfg := NetworkConfig{Seed: seed, Latency: 10 * time.Millisecond, Jitter: 4 * time.Millisecond}
		inMemory(t, cfg, func(t *testing.T, s *stage) { took = arrivals(t, s, 50) })
		return took
	}
	a, b, other := draw(1), draw(1), draw(2)
	same := 0
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("byte %d took %s and %s with one seed", i, a[i], b[i])
		}
		if a[i] == other[i] {
			same++
		}
	}
	if same == len(a) {
		t.Error("another seed drew the same delays")
	}
}

func TestLossMakesStreamsLateAndPacketsRare(t *testing.T) {
	inMemory(t, NetworkConfig{Seed: 3}, func(t *testing.T, s *stage) {
		s.set(t, Rule{From: "n1", To: "n2", Loss: 0.5})
		late := 0
		for _, d := range arrivals(t, s, 200) {
			if d > retransmit {
				t.Errorf("a byte took %s", d)
			}
			if d > 0 {
				late++
			}
		}
		if late < 150 { // half are lost, and hold up those behind
			t.Errorf("%d of 200 bytes late", late)
		}
		for range 200 {
			_ = s.nodes["n1"].SendPacket("n2", []byte("x"))
		}
		if got := len(s.nodes["n2"].Packets()); got < 70 || got > 130 {
			t.Errorf("%d of 200 packets arrived at a loss of 0.5", got)
		}
	})
}

func TestNarrowLinkTakesItsTimeForEveryByte(t *testing.T) {
	inMemory(t, NetworkConfig{}, func(t *testing.T, s *stage) {
		here, there := s.connect(t, "n1", "n2", Raft)
		s.set(t, Rule{From: "n1", To: "n2", Bandwidth: 1000})
		start := time.Now()
		for range 10 {
			if _, err := here.Write(make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.ReadFull(there, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("1000 bytes took %s at 1000 a second", took)
		}
		if _, delayed := s.nodes["n1"].Rules().Counts(); delayed == 0 {
			t.Error("nothing was counted as late")
		}
	})
}

// Packets come twice, or behind those that were sent after them, and none is lost by that.
func TestPacketsComeTwiceAndOutOfOrder(t *testing.T) {
	for _, c := range []struct {
		rule         Rule
		least, most  int
		out, counted bool // of order, by the effect probe
	}{
		{Rule{From: "n1", To: "n2"}, 100, 100, false, false},
		{Rule{From: "n1", To: "n2", Duplicate: 0.5}, 130, 170, true, true}, // the second comes late
		{Rule{From: "n1", To: "n2", Reorder: 0.5}, 100, 100, true, true},
	} {
		inMemory(t, NetworkConfig{Seed: 3}, func(t *testing.T, s *stage) {
			s.set(t, c.rule)
			for i := range 100 {
				_ = s.nodes["n1"].SendPacket("n2", []byte{byte(i)})
				time.Sleep(time.Millisecond)
			}
			time.Sleep(2 * overtaken)
			got := len(s.nodes["n2"].Packets())
			out, last, seen := false, -1, map[byte]bool{}
			for range got {
				i := (<-s.nodes["n2"].Packets()).Data[0]
				out = out || int(i) < last
				last, seen[i] = int(i), true
			}
			_, delayed := s.nodes["n1"].Rules().Counts()
			if got < c.least || got > c.most || len(seen) != 100 || out != c.out || delayed > 0 != c.counted {
				t.Errorf("%+v: %d of 100 packets, %d different ones, out of order %v, %d counted as late", c.rule, got, len(seen), out, delayed)
			}
		})
	}
}

func TestDialTakesARoundTrip(t *testing.T) {
	inMemory(t, NetworkConfig{Latency: 10 * time.Millisecond}, func(t *testing.T, s *stage) {
		s.set(t, Rule{From: "n2", To: "n1", Delay: 30 * time.Millisecond})
		start := time.Now()
		s.connect(t, "n1", "n2", RPC)
		if took := time.Since(start); took != 50*time.Millisecond {
			t.Errorf("took %s, want 50 ms", took)
		}
	})
}

func TestPacketInFlightIsCaughtByACut(t *testing.T) {
	inMemory(t, NetworkConfig{Latency: 10 * time.Millisecond}, func(t *testing.T, s *stage) {
		_ = s.nodes["n1"].SendPacket("n2", []byte("caught"))
		time.Sleep(5 * time.Millisecond)
		s.set(t, hole("n1", "n2"))
		time.Sleep(10 * time.Millisecond)
		if len(s.nodes["n2"].Packets()) != 0 {
			t.Error("a packet passed the cut")
		}
	})
}

func TestLongCutCostsNoRealTime(t *testing.T) {
	inMemory(t, NetworkConfig{Latency: time.Millisecond}, func(t *testing.T, s *stage) {
		here, there := s.connect(t, "n1", "n2", Raft)
		s.set(t, Isolate("n2", []string{"n1", "n2", "n3"})...)
		var work sync.WaitGroup
		work.Go(func() { _, _ = here.Write(make([]byte, 2*window)) })
		time.Sleep(time.Hour)
		s.set(t)
		if _, err := io.ReadFull(there, make([]byte, 2*window)); err != nil {
			t.Error(err)
		}
		work.Wait()
	})
}

func TestWriterLearnsOfAGonePeerOnlyWhileTheLinkIsOpen(t *testing.T) {
	inMemory(t, NetworkConfig{}, func(t *testing.T, s *stage) {
		here, there := s.connect(t, "n1", "n2", Raft)
		s.set(t, hole("n2", "n1"))
		_ = there.Close()
		send(t, here, "unheard")
		s.set(t)
		if _, err := here.Write([]byte("x")); err == nil {
			t.Error("a write to a closed peer succeeded over an open link")
		}
	})
}

func TestKillLosesQueuedBytesAndItsResetIsHeldByACut(t *testing.T) {
	inMemory(t, NetworkConfig{Latency: time.Millisecond}, func(t *testing.T, s *stage) {
		here, there := s.connect(t, "n1", "n2", Raft)
		send(t, there, "never sent")
		s.set(t, bothWays(Hole)...)
		s.nodes["n2"].Kill()
		expectSilence(t, here)
		s.set(t)
		_ = here.SetReadDeadline(time.Time{})
		if n, err := here.Read(make([]byte, 10)); n > 0 || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read %d bytes, %v", n, err)
		}
	})
}

func TestNameIsTakenWhileItsEndpointLives(t *testing.T) {
	inMemory(t, NetworkConfig{}, func(t *testing.T, s *stage) {
		if _, err := s.open("n1"); !errors.Is(err, store.AlreadyExists) {
			t.Errorf("second n1: %v", err)
		}
		if _, err := s.open("no spaces"); !errors.Is(err, store.Invalid) {
			t.Errorf("bad name: %v", err)
		}
		_ = s.nodes["n1"].Close()
		s.restart(t, "n1")
	})
}

func TestFullAcceptQueueMakesDialersWait(t *testing.T) {
	inMemory(t, NetworkConfig{}, func(t *testing.T, s *stage) {
		for range backlog {
			if _, err := s.dial("n1", "n2", RPC, time.Second); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.dial("n1", "n2", RPC, time.Second); err == nil {
			t.Fatal("the queue has no end")
		}
		if _, err := s.nodes["n2"].Listener(RPC).Accept(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.dial("n1", "n2", RPC, time.Second); err != nil {
			t.Errorf("with room again: %v", err)
		}
	})
}

// grpc's writer stops at its first error and leaves the rest to its reader; until
// that fails too, every new stream is tried again at once, and virtual time stands
// still.
func TestFailedWriteFailsTheReadAtTheSameInstant(t *testing.T) {
	inMemory(t, NetworkConfig{Latency: time.Millisecond}, func(t *testing.T, s *stage) {
		here, there := s.connect(t, "n1", "n2", RPC)
		defer here.Close()
		s.set(t, Rule{From: "n2", To: "n1", Delay: time.Second}) // the end that n2 sends is late
		_ = there.Close()
		var err error
		for err == nil {
			_, err = here.Write([]byte("x"))
			time.Sleep(time.Millisecond)
		}
		failed := time.Now()
		if _, err := here.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("read after the write had failed with a broken pipe: %v", err)
		}
		if waited := time.Since(failed); waited != 0 {
			t.Errorf("the read failed %v later than the write", waited)
		}
	})
}

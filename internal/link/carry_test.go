package link

import (
	"bytes"
	"crypto/rand"
	"io"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dialkv/dialkv/internal/link/linktest"
)

// messages is a network of frames, as bad as it is told to be.
type messages struct {
	latency time.Duration
	spread  time.Duration // up to so much later, so that frames overtake each other
	loss    float64
	doubled float64

	mu       sync.Mutex
	rng      *mathrand.Rand
	carriers map[string]*Carrier
	cut      bool // everything between nodes is lost
	lost     int
}

func (m *messages) send(from, to string, b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	copies := 1
	if m.rng.Float64() < m.doubled {
		copies = 2
	}
	for range copies {
		if m.cut || m.rng.Float64() < m.loss {
			m.lost++
			continue
		}
		late := m.latency
		if m.spread > 0 {
			late += time.Duration(m.rng.Int64N(int64(m.spread)))
		}
		time.AfterFunc(late, func() { m.arrive(from, to, slices.Clone(b)) })
	}
}

func (m *messages) arrive(from, to string, b []byte) {
	m.mu.Lock()
	c := m.carriers[to]
	m.mu.Unlock()
	if c != nil {
		_ = c.Deliver(from, b)
	}
}

func (m *messages) setCut(cut bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut = cut
}

func carriedStage(m *messages) *stage {
	m.rng = mathrand.New(mathrand.NewPCG(1, 2))
	m.carriers = map[string]*Carrier{}
	s := &stage{rules: new(Rules), nodes: map[string]*Endpoint{}}
	s.open = func(name string) (*Endpoint, error) {
		c, err := Carry(CarryConfig{Node: name, Send: func(to string, b []byte) { m.send(name, to, b) }})
		if err != nil {
			return nil, err
		}
		c.endpoint.rules = s.rules
		m.mu.Lock()
		m.carriers[name] = c
		m.mu.Unlock()
		return c.endpoint, nil
	}
	return s
}

func onMessages(t *testing.T, m *messages, test func(t *testing.T, s *stage)) {
	linktest.Bubble(t, func(t *testing.T) { run(t, carriedStage(m), test) })
}

func TestStreamSurvivesLossDisorderAndDoubledMessages(t *testing.T) {
	m := &messages{latency: time.Millisecond, spread: 20 * time.Millisecond, loss: 0.2, doubled: 0.2}
	onMessages(t, m, func(t *testing.T, s *stage) {
		here, there := s.connect(t, "n1", "n2", Raft)
		want := make([]byte, 5*window+17)
		_, _ = rand.Read(want)
		for _, way := range [][2]io.ReadWriteCloser{{here, there}, {there, here}} {
			go func() { _, _ = way[0].Write(want) }()
			got := make([]byte, len(want))
			if n, err := io.ReadFull(way[1], got); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes of %d, %v", n, len(want), err)
			}
		}
		_ = here.Close()
		if err := ending(there); err != nil {
			t.Errorf("the end: %v", err)
		}
		if m.lost == 0 {
			t.Error("no message was lost")
		}
	})
}

func TestLostMessagesHoldAConnectionAndADialUntilTheyArrive(t *testing.T) {
	m := &messages{latency: time.Millisecond}
	onMessages(t, m, func(t *testing.T, s *stage) {
		here, there := s.connect(t, "n1", "n2", Raft)
		m.setCut(true)
		send(t, here, "across")
		expectSilence(t, there)
		if _, err := s.dial("n1", "n3", RPC, 3*time.Second); err == nil {
			t.Error("a dial came through the cut")
		}
		time.Sleep(time.Hour)
		m.setCut(false)
		expect(t, there, "across")
		if _, err := s.dial("n1", "n3", RPC, 3*time.Second); err != nil {
			t.Errorf("after the heal: %v", err)
		}
	})
}

func TestLateFramesDoNotOpenAConnectionAgain(t *testing.T) {
	m := &messages{latency: time.Millisecond}
	onMessages(t, m, func(t *testing.T, s *stage) {
		here, there := s.connect(t, "n1", "n2", Raft)
		number := here.(*stream).id.number
		_, _ = here.Close(), there.Close()
		time.Sleep(time.Second)
		first := frame{kind: segmentFrame, byDialer: true, open: uint8(Raft), stream: number}
		m.send("n1", "n2", first.encode())
		time.Sleep(time.Second)
		c := m.carriers["n2"]
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.streams) != 0 {
			t.Errorf("%d connections are open", len(c.streams))
		}
		if len(s.nodes["n2"].doors[Raft].queue) != 0 {
			t.Error("it waits to be accepted")
		}
	})
}

func TestFullQueueDoesNotLoseADial(t *testing.T) {
	onMessages(t, &messages{latency: time.Millisecond}, func(t *testing.T, s *stage) {
		for range backlog {
			if _, err := s.dial("n1", "n2", Calls, patience); err != nil {
				t.Fatal(err)
			}
		}
		time.AfterFunc(time.Second, func() {
			c, _ := s.nodes["n2"].Listener(Calls).Accept()
			_ = c.Close()
		})
		if _, err := s.dial("n1", "n2", Calls, patience); err != nil {
			t.Error(err)
		}
	})
}

func TestNodeReachesItselfWithoutAMessage(t *testing.T) {
	m := &messages{latency: time.Millisecond, cut: true}
	onMessages(t, m, func(t *testing.T, s *stage) {
		here, there := s.connect(t, "n1", "n1", RPC)
		send(t, here, "question")
		expect(t, there, "question")
		send(t, there, "answer")
		expect(t, here, "answer")
		if m.lost != 0 {
			t.Errorf("%d messages were sent", m.lost)
		}
	})
}

func FuzzFrame(f *testing.F) {
	f.Add(frame{kind: segmentFrame, byDialer: true, open: uint8(Raft), stream: 1 << 60, ack: 3}.encode())
	f.Add(frame{kind: segmentFrame, last: true, seq: 9, data: []byte("x")}.encode())
	f.Add([]byte("no frame"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Carry(CarryConfig{Node: "n1", Send: func(string, []byte) {}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Endpoint().Kill()
		err = c.Deliver("n2", bytes.Clone(b))
		f, broken := openFrame(b)
		if (err == nil) != (broken == nil) {
			t.Errorf("delivered with %v, read with %v", err, broken)
		}
		if broken == nil && b[3] == 0 && !bytes.Equal(f.encode(), b) {
			t.Errorf("%x reads as %+v, which is %x", b, f, f.encode())
		}
	})
}

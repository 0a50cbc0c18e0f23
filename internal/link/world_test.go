package link

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dialkv/dialkv/internal/link/linktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stage is a network with nodes n1, n2 and n3, in whichever world.
type stage struct {
	rules  *Rules
	open   func(name string) (*Endpoint, error)
	beside func(name string) (*Endpoint, error) // opens another door of the name, at an address of its own
	client func(name string) (net.Conn, error)
	nodes  map[string]*Endpoint
}

// onEach runs the same test in every world: in memory and in messages, in a bubble, and on
// real sockets, outside one.
func onEach(t *testing.T, test func(t *testing.T, s *stage)) {
	onBoth(t, test)
	t.Run("carried", func(t *testing.T) { onMessages(t, &messages{latency: time.Millisecond}, test) })
}

// onBoth runs it where doors tell which process is there.
func onBoth(t *testing.T, test func(t *testing.T, s *stage)) {
	t.Run("memory", func(t *testing.T) {
		linktest.Bubble(t, func(t *testing.T) {
			run(t, memoryStage(t, NetworkConfig{Seed: 1, Latency: time.Millisecond}), test)
		})
	})
	t.Run("sockets", func(t *testing.T) { run(t, socketStage(), test) })
}

func inMemory(t *testing.T, cfg NetworkConfig, test func(t *testing.T, s *stage)) {
	linktest.Bubble(t, func(t *testing.T) { run(t, memoryStage(t, cfg), test) })
}

func run(t *testing.T, s *stage, test func(t *testing.T, s *stage)) {
	defer func() {
		for _, e := range s.nodes {
			_ = e.Close()
		}
	}()
	for _, name := range []string{"n1", "n2", "n3"} {
		s.restart(t, name)
	}
	test(t, s)
}

func (s *stage) restart(t *testing.T, name string) *Endpoint {
	t.Helper()
	e, err := s.open(name)
	if err != nil {
		t.Fatal(err)
	}
	s.nodes[name] = e
	return e
}

func memoryStage(t *testing.T, cfg NetworkConfig) *stage {
	n := NewNetwork(cfg)
	return &stage{
		rules: n.Rules(), open: n.Endpoint, nodes: map[string]*Endpoint{},
		beside: func(name string) (*Endpoint, error) { return n.EndpointAt(name, name+"-copy") },
		client: func(name string) (net.Conn, error) { return n.DialClient(t.Context(), name) },
	}
}

func socketStage() *stage {
	s := &stage{rules: new(Rules), nodes: map[string]*Endpoint{}}
	s.open = func(name string) (*Endpoint, error) {
		return Listen(Config{
			Node: name, Listen: "127.0.0.1:0", Gossip: "127.0.0.1:0", Faults: true, Rules: s.rules,
			Resolve: s.resolve,
		})
	}
	s.beside = s.open
	s.client = func(name string) (net.Conn, error) { return net.Dial("tcp", s.nodes[name].Addr()) }
	return s
}

func (s *stage) resolve(name string) (string, string, bool) {
	e := s.nodes[name]
	if e == nil {
		return "", "", false
	}
	return e.Addr(), e.GossipAddr(), true
}

func (s *stage) set(t *testing.T, rules ...Rule) {
	t.Helper()
	if err := s.rules.Set(rules); err != nil {
		t.Fatal(err)
	}
}

// connect returns both ends of a connection.
func (s *stage) connect(t *testing.T, from, to string, kind Kind) (here, there net.Conn) {
	t.Helper()
	here, err := s.dial(from, to, kind, patience)
	if err != nil {
		t.Fatal(err)
	}
	there, err = s.nodes[to].Listener(kind).Accept()
	if err != nil {
		t.Fatal(err)
	}
	return here, there
}

func (s *stage) dial(from, to string, kind Kind, within time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return s.nodes[from].Dial(ctx, to, kind)
}

const (
	patience = 5 * time.Second       // for what must happen
	silence  = 50 * time.Millisecond // for what must not
)

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, c net.Conn, text string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, len(text))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("read %q, %v; want %q", got[:n], err, text)
	}
}

func expectSilence(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(silence))
	n, err := c.Read(make([]byte, 100))
	if e, ok := err.(net.Error); n > 0 || !ok || !e.Timeout() {
		t.Fatalf("read %d bytes, %v; want a timeout", n, err)
	}
}

// ending reads until c ends and returns how.
func ending(c net.Conn) error {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, c)
	return err
}

func hole(from, to string) Rule { return Rule{From: from, To: to, Action: Hole} }

// bothWays are rules that do the same in both directions between n1 and n2.
func bothWays(a Action) []Rule {
	return []Rule{{From: "n1", To: "n2", Action: a}, {From: "n2", To: "n1", Action: a}}
}

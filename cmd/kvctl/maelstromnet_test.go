package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"
)

// maelstromNet plays Maelstrom: it starts a process for each node, passes messages on, and
// loses those that a partition is between, when they arrive. It is as strict as the real
// one: a line that is no message, a message to nobody, and a reply with a field too many
// fail the test.
type maelstromNet struct {
	t     *testing.T
	nodes []string

	mu      sync.Mutex
	inbox   map[string]chan []byte // of nodes; read by whoever writes a node's input
	cut     map[[2]string]bool     // from, to
	lost    int
	carried int
	waiting map[string]chan map[string]json.RawMessage // by client and msg_id
	clients int
	msgs    int64
	over    bool
}

type maelstromMessage struct {
	Src  string                     `json:"src"`
	Dest string                     `json:"dest"`
	Body map[string]json.RawMessage `json:"body"`
}

// startMaelstrom starts so many nodes, which all say init_ok.
func startMaelstrom(t *testing.T, n int, args ...string) *maelstromNet {
	t.Helper()
	m := &maelstromNet{t: t, inbox: map[string]chan []byte{}, cut: map[[2]string]bool{}, waiting: map[string]chan map[string]json.RawMessage{}}
	for i := range n {
		m.nodes = append(m.nodes, fmt.Sprintf("n%d", i))
	}
	kvctl, err := exec.LookPath("kvctl") // this test, by TestMain
	if err != nil {
		t.Fatal(err)
	}
	life, end := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute)
	t.Cleanup(end)
	for _, name := range m.nodes {
		m.spawn(name, exec.CommandContext(life, kvctl, append([]string{"maelstrom"}, args...)...))
	}
	var started sync.WaitGroup
	for _, name := range m.nodes {
		started.Go(func() {
			c := m.client()
			reply := c.call(name, map[string]any{"type": "init", "node_id": name, "node_ids": m.nodes}, 10*time.Second)
			if typeOf(reply) != "init_ok" {
				t.Errorf("%s answers its init with %s", name, show(reply))
			}
		})
	}
	started.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return m
}

// spawn runs a node until the test ends: then its input ends, and so must it.
func (m *maelstromNet) spawn(name string, cmd *exec.Cmd) {
	var log bytes.Buffer
	cmd.Stderr = &log
	in, err := cmd.StdinPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	inbox := make(chan []byte, maelstromQueue)
	m.inbox[name] = inbox
	go func() {
		for line := range inbox {
			_, _ = in.Write(line) // one that died is told of at the end
		}
		_ = in.Close()
	}()
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewReader(out); ; {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return
			}
			m.sent(name, line)
		}
	}()
	m.t.Cleanup(func() {
		m.mu.Lock()
		m.over = true
		close(inbox)
		m.mu.Unlock()
		<-read
		if err := cmd.Wait(); err != nil {
			m.t.Errorf("%s: %v\n%s", name, err, log.Bytes())
		}
		if m.t.Failed() && log.Len() > 0 {
			m.t.Logf("%s said:\n%s", name, log.Bytes())
		}
	})
}

// sent passes a node's line on, after up to two milliseconds between nodes.
func (m *maelstromNet) sent(name string, line []byte) {
	var msg maelstromMessage
	if err := json.Unmarshal(line, &msg); err != nil || msg.Src != name || msg.Body == nil {
		m.t.Errorf("%s wrote %.200s, which is no message of its own: %v", name, line, err)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.inbox[msg.Dest] != nil:
		time.AfterFunc(time.Duration(rand.Int64N(int64(2*time.Millisecond))), func() { m.arrive(msg, line) })
	case m.over:
	default:
		key := msg.Dest + "/" + string(msg.Body["in_reply_to"])
		reply := m.waiting[key]
		delete(m.waiting, key)
		if reply == nil {
			m.t.Errorf("%s replied to nobody, after which Maelstrom does not read it any more: %.200s", name, line)
			return
		}
		reply <- msg.Body
	}
}

func (m *maelstromNet) arrive(msg maelstromMessage, line []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.over:
	case m.cut[[2]string{msg.Src, msg.Dest}]:
		m.lost++
	default:
		m.carried++
		m.put(msg.Dest, line)
	}
}

// maelstromQueue stands for a queue without an end, as Maelstrom has: a node that waited
// for another to read would wait for itself.
const maelstromQueue = 1 << 17

func (m *maelstromNet) put(node string, line []byte) {
	select {
	case m.inbox[node] <- line:
	default:
		m.t.Errorf("%s has not read %d messages", node, maelstromQueue)
	}
}

// partition cuts the side off from all others.
func (m *maelstromNet) partition(side ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.nodes {
		for _, b := range m.nodes {
			m.cut[[2]string{a, b}] = slices.Contains(side, a) != slices.Contains(side, b)
		}
	}
}

func (m *maelstromNet) heal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.cut)
}

func (m *maelstromNet) losses() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lost
}

// maelstromClient is one of Maelstrom's clients.
type maelstromClient struct {
	net  *maelstromNet
	name string
}

func (m *maelstromNet) client() *maelstromClient {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clients++
	return &maelstromClient{m, fmt.Sprintf("c%d", m.clients)}
}

// call sends a request and returns the body of its reply, nil if none came in time. Who
// calls stays for a reply that comes later, as Maelstrom's reusable clients do.
func (c *maelstromClient) call(node string, body map[string]any, patience time.Duration) map[string]json.RawMessage {
	m := c.net
	reply := make(chan map[string]json.RawMessage, 1)
	m.mu.Lock()
	m.msgs++
	body["msg_id"] = m.msgs
	m.waiting[fmt.Sprintf("%s/%d", c.name, m.msgs)] = reply
	line, _ := json.Marshal(map[string]any{"id": m.msgs, "src": c.name, "dest": node, "body": body})
	m.put(node, append(line, '\n'))
	m.mu.Unlock()
	select {
	case r := <-reply:
		m.strict(fmt.Sprint(body["type"]), r)
		return r
	case <-time.After(patience):
		return nil
	}
}

// closed are the fields of each reply beside type, in_reply_to and msg_id. There may be
// no others, as Maelstrom's schemas are closed; an error may have any.
var closed = map[string][]string{
	"init_ok": {}, "topology_ok": {}, "read_ok": {"value"}, "write_ok": {}, "cas_ok": {}, "add_ok": {},
}

func (m *maelstromNet) strict(request string, reply map[string]json.RawMessage) {
	kind := typeOf(reply)
	if kind == "error" {
		return
	}
	want, known := closed[kind]
	if kind != request+"_ok" || !known {
		m.t.Errorf("a %s was answered with %s", request, show(reply))
		return
	}
	for name := range reply {
		if !slices.Contains(append([]string{"type", "in_reply_to", "msg_id"}, want...), name) {
			m.t.Errorf("%s has a field %q, which Maelstrom refuses", kind, name)
		}
	}
	for _, name := range want {
		if reply[name] == nil {
			m.t.Errorf("%s has no field %q", kind, name)
		}
	}
}

func typeOf(body map[string]json.RawMessage) (kind string) {
	_ = json.Unmarshal(body["type"], &kind)
	return kind
}

// codeOf is an error's code, -1 if it is none.
func codeOf(body map[string]json.RawMessage) int {
	code := -1
	if typeOf(body) == "error" {
		_ = json.Unmarshal(body["code"], &code)
	}
	return code
}

func show(body map[string]json.RawMessage) string {
	if body == nil {
		return "nothing"
	}
	b, _ := json.Marshal(body)
	return string(b)
}

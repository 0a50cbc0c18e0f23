package maelstrom

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dialkv/dialkv/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// process is a Serve of a cluster of one.
type process struct {
	t    *testing.T
	in   io.WriteCloser
	out  *bufio.Reader
	log  strings.Builder
	over chan error
}

func start(t *testing.T, cfg Config) *process {
	t.Helper()
	in, write := io.Pipe()
	read, out := io.Pipe()
	p := &process{t: t, in: write, out: bufio.NewReader(read), over: make(chan error, 1)}
	cfg.In, cfg.Out, cfg.Log = in, out, &p.log
	go func() {
		err := Serve(t.Context(), cfg)
		_ = in.CloseWithError(io.ErrClosedPipe) // who still writes learns of it
		_ = out.Close()
		p.over <- err
	}()
	return p
}

// end closes the input and returns what Serve ended with.
func (p *process) end() error {
	_ = p.in.Close()
	_, _ = io.Copy(io.Discard, p.out)
	select {
	case err := <-p.over:
		return err
	case <-time.After(30 * time.Second):
		p.t.Fatal("Serve does not end")
		return nil
	}
}

// ask sends one line and returns the body of the next.
func (p *process) ask(line string) string {
	p.t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatal(err)
	}
	reply, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("%s: %v; it logged %s", line, err, &p.log)
	}
	var m message
	if err := json.Unmarshal([]byte(reply), &m); err != nil {
		p.t.Fatal(err)
	}
	return string(m.Body)
}

// call sends a request of client c1 to n0.
func (p *process) call(body string) string {
	p.t.Helper()
	return p.ask(`{"src":"c1","dest":"n0","body":` + body + `}`)
}

func (p *process) init() {
	p.t.Helper()
	if got := p.call(`{"type":"init","msg_id":1,"node_id":"n0","node_ids":["n0"]}`); got != `{"in_reply_to":1,"type":"init_ok"}` {
		p.t.Fatalf("init: %s", got)
	}
}

func TestRepliesAreMaelstroms(t *testing.T) {
	for workload, talk := range map[string][][2]string{
		"lin-kv": {
			{`{"type":"topology","msg_id":2,"topology":{"n0":[]}}`, `{"in_reply_to":2,"type":"topology_ok"}`},
			{`{"type":"read","msg_id":3,"key":1}`, `{"code":20,"in_reply_to":3,"text":"NotFound: there is no key 1","type":"error"}`},
			{`{"type":"cas","msg_id":4,"key":1,"from":2,"to":3}`, `{"code":20,"in_reply_to":4,"text":"there is no key 1","type":"error"}`},
			{`{"type":"write","msg_id":5,"key":1,"value":2}`, `{"in_reply_to":5,"type":"write_ok"}`},
			{`{"type":"cas","msg_id":6,"key":1,"from":2,"to":3}`, `{"in_reply_to":6,"type":"cas_ok"}`},
			{`{"type":"cas","msg_id":7,"key":1,"from":2,"to":3}`, `"code":22`},
			{`{"type":"read","msg_id":8,"key":1}`, `{"in_reply_to":8,"type":"read_ok","value":3}`},
			{`{"type":"write","msg_id":9,"key":{"a": "<b>"},"value":["x", {"y": null}]}`, `{"in_reply_to":9,"type":"write_ok"}`},
			{`{"type":"read","msg_id":10,"key":{"a":"<b>"}}`, `{"in_reply_to":10,"type":"read_ok","value":["x",{"y":null}]}`},
		},
		"g-set": {
			{`{"type":"read","msg_id":2}`, `{"in_reply_to":2,"type":"read_ok","value":[]}`},
			{`{"type":"add","msg_id":3,"element":7}`, `{"in_reply_to":3,"type":"add_ok"}`},
			{`{"type":"add","msg_id":4,"element":7}`, `{"in_reply_to":4,"type":"add_ok"}`},
			{`{"type":"add","msg_id":5,"element":"s"}`, `{"in_reply_to":5,"type":"add_ok"}`},
			{`{"type":"read","msg_id":6}`, `{"in_reply_to":6,"type":"read_ok","value":["s",7]}`},
		},
		"pn-counter": {
			{`{"type":"read","msg_id":2}`, `{"in_reply_to":2,"type":"read_ok","value":0}`},
			{`{"type":"add","msg_id":3,"delta":5}`, `{"in_reply_to":3,"type":"add_ok"}`},
			{`{"type":"add","msg_id":4,"delta":-8}`, `{"in_reply_to":4,"type":"add_ok"}`},
			{`{"type":"read","msg_id":5}`, `{"in_reply_to":5,"type":"read_ok","value":-3}`},
		},
	} {
		t.Run(workload, func(t *testing.T) {
			p := start(t, Config{Workload: workload})
			p.init()
			for _, turn := range talk {
				if got := p.call(turn[0]); got != turn[1] && !(strings.HasPrefix(turn[1], `"`) && strings.Contains(got, turn[1])) {
					t.Errorf("%s\n got %s\nwant %s", turn[0], got, turn[1])
				}
			}
			if err := p.end(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBadRequestsGetAReasonAndACode(t *testing.T) {
	p := start(t, Config{Workload: "lin-kv"})
	for _, bad := range []string{"no JSON", `{"src":"c1","dest":"n0","body":7}`, `{"src":"c1","dest":"n0","body":{"type":"read"}}`, `{"src":"n9","dest":"n0","body":{"type":"frame","data":"!"}}`} {
		if _, err := io.WriteString(p.in, bad+"\n"); err != nil { // these get no reply, and end nothing
			t.Fatal(err)
		}
	}
	for _, turn := range [][3]string{
		{`{"type":"read","msg_id":1,"key":1}`, `"code":11`, "has not had its init"},
		{`{"type":"init","msg_id":2,"node_id":"n0","node_ids":["n1"]}`, `"code":12`, "not one of node_ids"},
		{`{"type":"init","msg_id":3,"node_id":"n0","node_ids":["n0","n0"]}`, `"code":12`, "twice"},
		{`{"type":"init","msg_id":4,"node_id":"n 0","node_ids":["n 0"]}`, `"code":12`, "n 0"},
		{`{"type":"init","msg_id":5,"node_id":7}`, `"code":12`, "node_id"},
	} {
		if got := p.call(turn[0]); !strings.Contains(got, turn[1]) || !strings.Contains(got, turn[2]) {
			t.Errorf("%s got %s, want %s and %q", turn[0], got, turn[1], turn[2])
		}
	}
	p.init()
	for _, turn := range [][3]string{
		{`{"type":"init","msg_id":6,"node_id":"n0","node_ids":["n0"]}`, `"code":12`, "already"},
		{`{"type":"txn","msg_id":7,"txn":[]}`, `"code":10`, "lin-kv has no"},
		{`{"type":"read","msg_id":8}`, `"code":12`, "no key"},
		{`{"type":"write","msg_id":9,"key":1}`, `"code":12`, "no value"},
		{`{"type":"cas","msg_id":10,"key":1,"to":1}`, `"code":12`, "no from"},
		{`{"type":"write","msg_id":11,"key":"` + strings.Repeat("k", 10_000) + `","value":1}`, `"code":12`, "limit"},
	} {
		if got := p.call(turn[0]); !strings.Contains(got, turn[1]) || !strings.Contains(got, turn[2]) {
			t.Errorf("%.100s got %s, want %s and %q", turn[0], got, turn[1], turn[2])
		}
	}
	if err := p.end(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"no message", "a body that is none, from c1", "no msg_id", "a frame that is none, from n9"} {
		if !strings.Contains(p.log.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, p.log.String())
		}
	}
}

func TestConfigurationThatCannotBeIsRefused(t *testing.T) {
	for _, cfg := range []Config{{}, {Workload: "kafka"}, {Workload: "g-set", Level: "strongest"}, {Workload: "g-set", Timeout: time.Second}, {Workload: "g-set", Timeout: -1}} {
		if err := Serve(t.Context(), cfg); !errors.Is(err, store.Invalid) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func TestLineWithoutAnEndEndsTheProcess(t *testing.T) {
	p := start(t, Config{Workload: "lin-kv"})
	_, _ = io.WriteString(p.in, strings.Repeat("x", MaxLine+1))
	if err := p.end(); !errors.Is(err, store.TooLarge) {
		t.Errorf("it ended with %v", err)
	}
}

func TestErrorsHaveMaelstromsCodes(t *testing.T) {
	definite := map[store.Code]int{
		store.NotFound: 20, store.Conflict: 22, store.Unsupported: 10, store.LevelUnsupported: 10,
		store.Invalid: 12, store.TooLarge: 12, store.Unavailable: 11, store.NotLeader: 11, store.Overloaded: 11, store.Denied: 14,
	}
	for _, code := range store.Codes {
		got := failed(&store.Error{Code: code})["code"]
		want, listed := definite[code]
		switch {
		case code.MaybeApplied() && got != codeCrash:
			t.Errorf("%s may have happened, and gets the definite code %v", code, got)
		case !code.MaybeApplied() && got == codeCrash:
			t.Errorf("%s certainly did not happen, and gets an indefinite code", code)
		case listed && got != want:
			t.Errorf("%s gets %v, want %d", code, got, want)
		}
	}
	if got := failed(errors.New("nobody classified this"))["code"]; got != codeCrash {
		t.Errorf("an error that nobody classified gets %v", got)
	}
}

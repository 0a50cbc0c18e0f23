package page

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// opRequest is a read or a write of one key.
type opRequest struct {
	Do       string  `json:"do"` // get, put, delete
	At       string  `json:"at"` // the node it enters at; "" finds its own way
	Keyspace string  `json:"keyspace"`
	Key      string  `json:"key"`
	Value    string  `json:"value"`
	Level    string  `json:"level"`
	Client   string  `json:"client"`  // who asks: a lane of the timeline, a session of the history
	Session  string  `json:"session"` // the token of the answer before
	Context  string  `json:"context"` // ap: of the read that a write follows
	Blind    bool    `json:"blind"`   // siblings: stand beside what is there
	W        string  `json:"w"`       // ap
	Timeout  float64 `json:"timeout_ms"`
}

// opReply is what it was answered, in the words of kvctl -o json.
type opReply struct {
	ID       int64         `json:"id"`
	Outcome  store.Outcome `json:"outcome"`
	Found    *bool         `json:"found,omitempty"`
	Values   []shown       `json:"values"`
	Revision uint64        `json:"revision,omitempty"`
	Replaced uint64        `json:"replaced,omitempty"`
	Context  string        `json:"context,omitempty"`
	Acked    int           `json:"acked,omitempty"`
	Wanted   int           `json:"wanted,omitempty"`
	Proof    *proof        `json:"proof,omitempty"`
	Session  string        `json:"session"`
	TookMS   float64       `json:"took_ms"`
	Error    *failure      `json:"error,omitempty"`
}

// began and ended are the two ends of an operation, for the timeline.
type began struct {
	ID       int64   `json:"id"`
	T        float64 `json:"t"`
	Client   string  `json:"client"`
	At       string  `json:"at"`
	Do       string  `json:"do"`
	Keyspace string  `json:"keyspace"`
	Key      string  `json:"key"`
	Value    string  `json:"value,omitempty"`
	Level    string  `json:"level,omitempty"`
	Blind    bool    `json:"blind,omitempty"`
}

type ended struct {
	ID      int64         `json:"id"`
	T       float64       `json:"t"`
	Outcome store.Outcome `json:"outcome"`
	Code    store.Code    `json:"code,omitempty"`
	Node    string        `json:"node,omitempty"`
	Values  []string      `json:"values,omitempty"`
}

// brief is how much of a key or a value the timeline keeps.
const brief = 60

func shorten(s string) string {
	if len(s) <= brief {
		return s
	}
	cut := brief
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// clientName is what a browser may call itself.
var clientName = regexp.MustCompile(`^[a-z0-9 -]{1,24}$`)

// operate does what a browser asks, and answers how it ended: an operation that failed
// is an answer, and no error.
func (p *Page) operate(r *http.Request, in opRequest) (any, error) {
	if !clientName.MatchString(in.Client) {
		return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("client is %.40q", in.Client), Try: "up to 24 of a to z, 0 to 9, space and -"}
	}
	if in.At != "" && !slices.Contains(p.cfg.Cluster.Nodes(), in.At) {
		return nil, noNode(in.At, p.cfg.Cluster.Nodes())
	}
	o, err := p.prepare(r.Context(), in)
	if err != nil {
		return nil, err
	}
	return o.run(r.Context()), nil
}

// op is an operation that is understood.
type op struct {
	page  *Page
	in    opRequest
	space shard.Keyspace
	at    *client.Client

	session *client.Session
	level   store.Level
	bound   time.Duration
	w       store.W
	context []byte
	timeout time.Duration
}

func (p *Page) prepare(ctx context.Context, in opRequest) (o *op, err error) {
	o = &op{page: p, in: in, timeout: patience}
	if in.Timeout != 0 {
		o.timeout = time.Duration(in.Timeout * float64(time.Millisecond))
	}
	if !(o.timeout > 0 && o.timeout <= most) {
		return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("timeout_ms is %g, it must be above 0 and at most %d", in.Timeout, most.Milliseconds()), Try: "2000"}
	}
	if in.Do != "get" && in.Do != "put" && in.Do != "delete" {
		return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("do is %.40q", in.Do), Try: "get, put or delete"}
	}
	if err := store.CheckKey(in.Key); err != nil {
		return nil, err
	}
	if err := store.CheckValue([]byte(in.Value)); err != nil {
		return nil, err
	}
	if o.level, o.bound, err = store.ParseLevelBound(in.Level); err != nil {
		return nil, err
	}
	if o.w, err = store.ParseW(in.W); err != nil {
		return nil, err
	}
	if o.context, err = base64.RawURLEncoding.DecodeString(in.Context); err != nil {
		return nil, &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("context %.40q is not one", in.Context), Try: "the context of a read"}
	}
	if _, known := p.tape.coversOf(in.Context); in.Context != "" && !known {
		return nil, &store.Error{Code: store.Invalid, Msg: "the context is of no read that this page remembers", Try: "read the key again"}
	}
	if o.at, err = p.clients.at(ctx, in.At); err != nil {
		return nil, err
	}
	if o.session, err = o.at.ResumeSession(in.Session); err != nil {
		return nil, err
	}
	o.space, err = p.space(ctx, in.Keyspace)
	return o, err
}

// run does it, tells how it began and ended, and notes both for the checkers: the call
// before its first byte can leave, the answer after its last was read.
func (o *op) run(ctx context.Context) opReply {
	in := o.in
	start := time.Now()
	id := o.page.tape.invoke(o.call())
	o.page.feed.tell("began", began{
		ID: id, T: millis(start), Client: in.Client, At: in.At, Do: in.Do, Keyspace: in.Keyspace,
		Key: shorten(in.Key), Value: shorten(in.Value), Level: in.Level, Blind: in.Blind,
	})
	var reply opReply
	var a history.Answer
	if in.Do == "get" {
		reply, a = o.read(ctx)
	} else {
		reply, a = o.write(ctx)
	}
	o.page.tape.complete(id, a)
	reply.ID, reply.Session, reply.TookMS = id, o.session.Token(), time.Since(start).Seconds()*1000
	e := ended{ID: id, T: millis(time.Now()), Outcome: reply.Outcome}
	for _, v := range reply.Values {
		e.Values = append(e.Values, shorten(v.Text))
	}
	if reply.Proof != nil {
		e.Node = reply.Proof.Node
	}
	if reply.Error != nil {
		e.Code = reply.Error.Code
	}
	o.page.feed.tell("ended", e)
	o.page.now()
	return reply
}

func (o *op) read(ctx context.Context) (opReply, history.Answer) {
	ap := o.space.Mode == store.AP
	page, err := o.at.Keyspace(o.space.Name).Read(ctx,
		store.Query{Key: o.in.Key, Level: o.level, Bound: o.bound, Siblings: ap}, client.In(o.session), client.WithTimeout(o.timeout))
	reply := opReply{Outcome: store.OutcomeOf(err), Values: []shown{}, Proof: proofOf(page.Proof, o.space.Mode)}
	a := answerOf(page.Proof, err)
	if err != nil {
		reply.Error = failureOf(err)
		return reply, a
	}
	found, revision := len(page.Items) > 0, page.Revision
	var held []string
	for _, item := range page.Items {
		reply.Values, revision = showAll(item.Values), item.Revision
		a.Values, a.Fields = texts(item.Values), item.Fields
		for _, s := range item.Siblings {
			held = append(held, named(s.Value))
		}
	}
	reply.Found, a.Found = &found, &found
	if len(a.Values) == 1 {
		a.Value = a.Values[0]
	}
	if ap {
		reply.Context = base64.RawURLEncoding.EncodeToString(page.Context)
		a.Context = reply.Context
		o.page.tape.covered(reply.Context, held)
	} else {
		reply.Revision, a.Revision = revision, &revision
	}
	return reply, a
}

func (o *op) write(ctx context.Context) (opReply, history.Answer) {
	c := store.Command{Op: store.Put, Key: o.in.Key, Value: []byte(o.in.Value), Blind: o.in.Blind, W: o.w}
	if o.in.Do == "delete" {
		c.Op, c.Value = store.Delete, nil
	}
	if len(o.context) > 0 {
		c.Context = o.context
	}
	r, err := o.at.Keyspace(o.space.Name).Write(ctx, c, client.In(o.session), client.WithTimeout(o.timeout))
	reply := opReply{Outcome: store.OutcomeOf(err), Values: []shown{}, Proof: proofOf(r.Proof, o.space.Mode), Acked: r.Acked, Wanted: r.Wanted}
	a := answerOf(r.Proof, err)
	switch {
	case err != nil:
		reply.Error = failureOf(err)
	case o.space.Mode == store.CP:
		reply.Revision, reply.Replaced = r.Revision, r.Replaced
		a.Revision, a.Replaced = &r.Revision, &r.Replaced
	default:
		reply.Context = base64.RawURLEncoding.EncodeToString(r.Context)
		a.Found = &r.Found
	}
	return reply, a
}

// texts are values as the history has them.
func texts(values [][]byte) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = named(v)
	}
	return out
}

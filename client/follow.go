package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// watchSilence is how long a stream may say nothing. A node that has no changes says so
// every second, so one that is silent for this long is out of reach.
const watchSilence = 5 * time.Second

var watchDesc = grpc.StreamDesc{StreamName: "Watch", ServerStreams: true}

// follower listens to one group and hands on every change once, whatever becomes of the
// nodes it listens to. It belongs to one goroutine.
type follower struct {
	k       *Keyspace
	ks      shard.Keyspace
	group   store.GroupID
	q       store.WatchQuery
	seen    *Session // by the follower: the caller's session when it began, and all since
	timeout time.Duration

	begin  uint64   // the revision that it began behind
	next   uint64   // the first revision that was not handed on
	since  *Session // ap: what was handed on or passed over, of this group alone
	node   string   // that it listens to, or did last
	stream *changeStream
	wait   time.Duration // before the next attempt to connect; 0 once a stream has said something
}

// follow establishes a watch of one group, within ctx; it then lives as long as life.
func (k *Keyspace) follow(life, ctx context.Context, ks shard.Keyspace, n uint32, q store.WatchQuery, o options) (*follower, error) {
	seen, err := k.c.ResumeSession(o.session.Token())
	if err != nil {
		return nil, err
	}
	f := &follower{
		k: k, ks: ks, group: store.GroupID{Keyspace: ks.ID, Shard: n},
		q: q, seen: seen, timeout: k.c.cfg.Timeout, next: q.From,
	}
	if ks.Mode == store.AP {
		if err := f.place(ctx, o.since); err != nil {
			return nil, err
		}
		return f, f.connect(life, ctx)
	}
	if o.since != nil {
		return nil, invalid("a watch of a cp keyspace goes on at a revision", "the one behind the last that was seen, as From")
	}
	if f.next == 0 {
		// Where it begins must be known: a stream that breaks before it has said
		// anything could not be resumed without a gap.
		page, err := k.page(ctx, ks, n, store.Query{Limit: 1, KeysOnly: true, Level: store.Causal}, seen)
		if err != nil {
			return nil, err
		}
		f.next = page.Revision + 1
	}
	f.begin = f.next - 1
	return f, f.connect(life, ctx)
}

// place finds what a watch of an ap keyspace begins behind: that is known before
// anything is asked for, so that a stream that breaks is resumed without a gap.
func (f *follower) place(ctx context.Context, since *string) (err error) {
	from := f.seen
	switch {
	case since != nil:
		from, err = f.k.c.ResumeSession(*since)
	case f.q.From == 1:
		from = &Session{}
	case f.q.From > 1:
		err = invalid(fmt.Sprintf("the watch begins at revision %d, and an ap keyspace has no revisions", f.q.From), "client.Since, or 1")
	default:
		_, err = f.k.page(ctx, f.ks, f.group.Shard, store.Query{Limit: 1, KeysOnly: true, Level: store.Causal}, f.seen)
	}
	if err == nil {
		f.since, err = from.only(f.group)
	}
	if err != nil {
		return err
	}
	// The node counts what comes. A session that names what was closed by a number, and
	// an actor of it too, would count that twice.
	f.begin, err = f.since.sum(f.group)
	f.next = 1
	return err
}

// run hands on changes until life ends, or an error that ends the watch.
func (f *follower) run(life context.Context, out chan<- update) {
	begin := update{Change: Change{Group: f.group, Revision: f.begin}}
	for err := f.hand(life, out, begin); life.Err() == nil; err = f.relay(life, out) {
		if err == nil {
			continue // the first time round
		}
		if err = f.reconnect(life, err); err != nil {
			_ = f.hand(life, out, update{err: f.k.explain(err)})
			return
		}
	}
}

// reconnect listens again, to another node if there is one, after whatever was the end
// of the last stream. What no other attempt can help is returned.
func (f *follower) reconnect(life context.Context, why error) error {
	for store.AsError(why).Retryable() {
		if err := f.k.c.pause(life, max(f.wait, store.AsError(why).RetryAfter)); err != nil {
			return err
		}
		f.wait = backoff(f.wait)
		ctx, cancel := context.WithTimeout(life, f.timeout)
		why = f.connect(life, ctx)
		cancel()
		if why == nil {
			return nil
		}
	}
	return why
}

// pause waits, if ctx does not end and the client is not closed meanwhile.
func (c *Client) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.closed:
	case <-ctx.Done():
		return store.Expired(ctx, "another attempt")
	case <-timer.C:
		select {
		case <-c.closed:
		default:
			return nil
		}
	}
	return &store.Error{Code: store.Unavailable, Msg: "the client is closed"}
}

// relay hands on what the stream says, until that ends.
func (f *follower) relay(life context.Context, out chan<- update) error {
	defer f.stream.end()
	for {
		r, err := f.stream.receive()
		if err != nil {
			return asRead(store.AsError(err))
		}
		c, err := kvpb.FromChange(r)
		if err != nil {
			return err
		}
		if f.wait = 0; c.Revision < f.next && (len(c.Events) > 0 || c.Revision+1 < f.next) {
			continue // handed on before, or less than is known
		}
		u := update{
			Change: Change{Group: f.group, Revision: c.Revision, Events: c.Events}, entry: c.Entry, deps: c.Deps,
			token: r.GetToken(), since: r.GetSince(),
		}
		if err := f.hand(life, out, u); err != nil {
			return err
		}
		f.next = c.Revision + 1
		if err := f.seen.saw(f.k.c, u); err != nil {
			return err
		}
		if f.since == nil {
			continue
		}
		if err := f.since.passed(f.k.c, u); err != nil {
			return err
		}
	}
}

func (f *follower) hand(life context.Context, out chan<- update, u update) error {
	select {
	case out <- u:
		return nil
	case <-life.Done():
		return store.Expired(life, "somebody to take the change")
	}
}

// connect finds a node that watches from f.next on.
func (f *follower) connect(life, ctx context.Context) error {
	if f.k.c.cfg.At != "" {
		return f.enter(life, ctx)
	}
	tok, err := f.seen.encode(f.group)
	if err != nil {
		return err
	}
	r := f.request(tok)
	k := &call{c: f.k.c, op: "watch", keyspace: f.ks, group: f.group, pick: f.others}
	k.send = func(ctx context.Context, cc *conn, _ bool) (came reach, err error) {
		f.stream, came, err = openWatch(k.c.carry(life, ctx), ctx, cc, endpoint{node: k.node}, kvpb.KV_Watch_FullMethodName, r)
		return came, err
	}
	err = k.run(ctx)
	f.node = k.node
	return err
}

// enter watches through the node that all calls enter by.
func (f *follower) enter(life, ctx context.Context) error {
	tok, err := f.seen.all()
	if err != nil {
		return err
	}
	c := f.k.c
	if err := c.locate(ctx); err != nil {
		return err
	}
	at := endpoint{node: c.cfg.At}
	cc, err := c.conns.ready(ctx, at)
	if err == nil {
		f.stream, _, err = openWatch(life, ctx, cc, at, kvpb.Front_Watch_FullMethodName, f.request(tok))
	}
	f.node = c.cfg.At
	return f.k.explainAt("watch", asRead(store.AsError(err)))
}

func (f *follower) request(tok []byte) *kvpb.WatchRequest {
	r := kvpb.ToWatch(f.q)
	r.Keyspace, r.KeyspaceId, r.Shard, r.Token = f.ks.Name, f.group.Keyspace, f.group.Shard, tok
	r.From = f.next
	if f.since != nil {
		r.From, r.Since = 0, proto.String(f.since.Token())
	}
	if mutant.M26 && f.node != "" {
		r.From, r.Since = 0, nil
	}
	return r
}

// others puts the node whose stream has just ended last.
func (f *follower) others(route []string) []string {
	if i := slices.Index(route, f.node); i >= 0 {
		route = append(slices.Delete(route, i, i+1), f.node)
	}
	return route
}

// changeStream is a node's answers to one watch.
type changeStream struct {
	grpc.ClientStream
	end   context.CancelFunc
	quiet *time.Timer
}

// openWatch returns a stream that has said that it watches, within ctx. It then lives as
// long as life.
func openWatch(life, ctx context.Context, cc *conn, e endpoint, method string, r *kvpb.WatchRequest) (*changeStream, reach, error) {
	life, end := context.WithCancel(life)
	inTime := context.AfterFunc(ctx, end)
	raw, err := cc.NewStream(life, &watchDesc, method)
	if err != nil {
		end()
		return nil, unsent, cc.unreachable(e, err)
	}
	s := &changeStream{ClientStream: raw, end: end, quiet: time.AfterFunc(watchSilence, end)}
	came, err := s.begin(r)
	if !inTime() && err == nil {
		err = store.Expired(ctx, "the watch to begin")
	}
	if err != nil {
		end()
		return nil, came, err
	}
	return s, came, nil
}

// begin asks, and waits for the answer without events that says that the node watches.
func (s *changeStream) begin(r *kvpb.WatchRequest) (reach, error) {
	if err := s.SendMsg(r); err != nil && !errors.Is(err, io.EOF) {
		return unanswered, kvpb.FromStatus(err)
	}
	_ = s.CloseSend() // it never fails; the receipt says what went wrong
	first, err := s.receive()
	if err != nil {
		return unanswered, err
	}
	if _, err = kvpb.FromChange(first); err == nil && first.GetKeyspaceId() != r.GetKeyspaceId() {
		// A node that all calls enter by goes by the name.
		err = &store.Error{Code: store.NoSuchKeyspace, Op: "watch", Keyspace: r.GetKeyspace(), Msg: "the keyspace was deleted, and another has its name now"}
	}
	return answered, err
}

func (s *changeStream) receive() (*kvpb.WatchResponse, error) {
	s.quiet.Reset(watchSilence)
	defer s.quiet.Stop()
	r := new(kvpb.WatchResponse)
	switch err := s.RecvMsg(r); {
	case errors.Is(err, io.EOF):
		return nil, &store.Error{Code: store.Unavailable, Op: "watch", Msg: "the node ended the watch without a word"}
	case err != nil:
		return nil, kvpb.FromStatus(err)
	}
	return r, nil
}

// passed folds a change of a watch into what the watch has passed.
func (s *Session) passed(c *Client, u update) error {
	if u.since != "" {
		t, err := token.Parse(u.since)
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.tok.Merge(t)
	}
	t, _ := c.router.known()
	return s.goOn(t, u.Group, u.entry)
}

// saw folds a change into the session.
func (s *Session) saw(c *Client, u update) error {
	if len(u.token) > 0 {
		return s.merge(u.token, nil)
	}
	t, _ := c.router.known()
	return s.read(t, answer{group: u.Group, entry: u.entry, deps: u.deps})
}

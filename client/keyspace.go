package client

import (
	"context"
	"sync"
	"time"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/store"
)

// Keyspace is a handle on a named set of keys. All errors of its methods are
// *store.Error.
type Keyspace struct {
	c    *Client
	name string
}

// Item is what a read found.
type Item struct {
	Key      string
	Found    bool
	Value    []byte   // if there is exactly one
	Values   [][]byte // all; several only on siblings, set (its members) and map keyspaces
	Fields   []string // of a map: what each of Values is the value of, in byte order
	Revision uint64   // cp: of the write that put it there; of the group, if it is absent
	Created  uint64   // cp: of the write that created it
	Version  uint64   // cp: writes since then, that one included
	Lease    uint64   // cp: the lease it is attached to, 0 if none
	Context  []byte   // ap: for the write that follows this read
	// Remaining is, on ap, how long each of Values has left, by the clock of the node
	// that answered: 0 if it stays; nil if all stay.
	Remaining []time.Duration
	Proof     store.Proof
	// Degraded says that it was answered by a later step of Prefer, and Fallback by which
	// kind. Age is how old the value of a LastSeen is, counted from before it was asked for.
	Degraded bool
	Fallback FallbackKind
	Age      time.Duration
}

// Result is what a write did. With a Conflict, Found, Value and Revision are what
// the condition saw; with NotReplicated, Acked is how far it got.
type Result struct {
	Revision uint64 // cp: of this write
	Replaced uint64 // cp: the revision it replaced, 0 if there was none
	Found    bool   // the key, or its member or field, was there before
	Value    []byte // of an increment: the sum
	Lease    uint64 // cp: made for a Put with a TTL
	Context  []byte // ap: for another write of the key by the same writer
	Acked    int    // ap: replicas that hold it
	Wanted   int    // ap: replicas that had to
	Proof    store.Proof
}

// Name returns the name the handle was made with.
func (k *Keyspace) Name() string { return k.name }

// Mode returns which side of CAP the keyspace takes.
func (k *Keyspace) Mode(ctx context.Context) (store.Mode, error) {
	ctx, cancel := k.c.bounded(ctx, 0)
	defer cancel()
	ks, err := k.c.resolve(ctx, k.name)
	return ks.Mode, err
}

// Policy returns how an ap keyspace shows what was written concurrently; 0 on cp.
func (k *Keyspace) Policy(ctx context.Context) (store.Policy, error) {
	ctx, cancel := k.c.bounded(ctx, 0)
	defer cancel()
	ks, err := k.c.resolve(ctx, k.name)
	return ks.Policy, err
}

// Get reads a key. That it is absent is an answer, not an error: Found is false.
func (k *Keyspace) Get(ctx context.Context, key string, opts ...Option) (item Item, err error) {
	ctx, traced := k.begin(ctx, "get")
	defer func() { spans.End(traced, err) }()
	o, err := k.c.getOptions(ctx, opts)
	switch {
	case err != nil:
		return Item{Key: key}, err
	case o.prefer != nil:
		return k.prefer(ctx, key, o)
	}
	return k.get(ctx, key, o)
}

func (k *Keyspace) get(ctx context.Context, key string, o options) (Item, error) {
	page, err := k.readWith(ctx, store.Query{Key: key}, o)
	if len(page.Items) > 0 {
		return itemOf(page, page.Items[0]), err
	}
	return Item{Key: key, Revision: page.Revision, Context: page.Context, Proof: page.Proof}, err
}

func itemOf(page store.Page, found store.Item) Item {
	item := Item{
		Key: found.Key, Found: true, Values: found.Values, Fields: found.Fields, Revision: found.Revision,
		Created: found.Created, Version: found.Version, Lease: found.Lease, Remaining: found.Remaining,
		Context: page.Context, Proof: page.Proof,
	}
	if len(item.Values) == 1 {
		item.Value = item.Values[0]
	}
	return item
}

// Put sets a key.
func (k *Keyspace) Put(ctx context.Context, key string, value []byte, opts ...Option) (Result, error) {
	return k.write(ctx, store.Command{Op: store.Put, Key: key, Value: value}, opts)
}

// Delete removes a key.
func (k *Keyspace) Delete(ctx context.Context, key string, opts ...Option) (Result, error) {
	return k.write(ctx, store.Command{Op: store.Delete, Key: key}, opts)
}

// CompareAndSwap sets a key if it holds the expected value; else it fails with
// Conflict and the Result says what was there. cp only.
func (k *Keyspace) CompareAndSwap(ctx context.Context, key string, expect, value []byte, opts ...Option) (Result, error) {
	condition := store.Condition{Kind: store.IfValue, Value: expect}
	return k.write(ctx, store.Command{Op: store.Put, Key: key, Value: value, If: condition}, opts)
}

func (k *Keyspace) write(ctx context.Context, c store.Command, opts []Option) (Result, error) {
	r, err := k.Write(ctx, c, opts...)
	return resultOf(r), err
}

func resultOf(r store.Result) Result {
	return Result{
		Revision: r.Revision, Replaced: r.Replaced, Found: r.Found, Value: r.Value, Lease: r.Lease,
		Context: r.Context, Acked: r.Acked, Wanted: r.Wanted, Proof: r.Proof,
	}
}

// Read is the general form of a read: the options add to the query. With a Limit or
// with Count it is one page of a range, of one group: the keyspace's only one, that of
// InGroup, or that of a prefix with a {tag}. With a Page it goes to the node that keeps
// the view, and nowhere else. The context of the page is sealed, for WithContext; its
// entry is in the session already.
func (k *Keyspace) Read(ctx context.Context, q store.Query, opts ...Option) (page store.Page, err error) {
	ctx, traced := k.begin(ctx, opOf(q))
	defer func() { spans.End(traced, err) }()
	o, err := k.c.readOptions(ctx, opts)
	if err != nil {
		return store.Page{}, err
	}
	return k.readWith(ctx, q, o)
}

func (k *Keyspace) readWith(ctx context.Context, q store.Query, o options) (store.Page, error) {
	if o.level != store.LevelDefault {
		q.Level, q.Bound = o.level, o.bound
	}
	if err := q.Check(); err != nil {
		return store.Page{}, err
	}
	if o.shard != nil && !q.Scan() {
		return store.Page{}, invalid("a read of one key goes to the group of the key", "client.InGroup with a range")
	}
	ctx, cancel := k.c.bounded(ctx, o.timeout)
	defer cancel()
	if k.c.cfg.At != "" && !q.Scan() {
		return k.readAt(ctx, q, 0, o.session)
	}
	var page store.Page
	err := k.routed(ctx, func(ks shard.Keyspace) error {
		n, err := oneShard(ks, q, o.shard)
		if err == nil {
			page, err = k.page(ctx, ks, n, q, o.session)
		}
		return err
	})
	return page, err
}

// page reads from one group of the keyspace.
func (k *Keyspace) page(ctx context.Context, ks shard.Keyspace, n uint32, q store.Query, s *Session) (store.Page, error) {
	if k.c.cfg.At != "" {
		return k.readAt(ctx, q, n, s)
	}
	return k.c.read(ctx, ks, store.GroupID{Keyspace: ks.ID, Shard: n}, q, s)
}

// Write is the general form of a write: the options add to the command. Its
// context is a sealed one, as reads and results give it.
func (k *Keyspace) Write(ctx context.Context, c store.Command, opts ...Option) (result store.Result, err error) {
	ctx, traced := k.begin(ctx, c.Name())
	defer func() { spans.End(traced, err) }()
	o, err := k.c.writeOptions(ctx, opts)
	if err != nil {
		return store.Result{}, err
	}
	if err := o.write.addTo(&c); err != nil {
		return store.Result{}, err
	}
	if err := c.Check(); err != nil {
		return store.Result{}, err
	}
	ctx, cancel := k.c.bounded(ctx, o.timeout)
	defer cancel()
	if o.write.fence != nil {
		return k.fenced(ctx, c, o)
	}
	return k.submit(ctx, c, o)
}

func (k *Keyspace) submit(ctx context.Context, c store.Command, o options) (result store.Result, err error) {
	if k.c.cfg.At != "" && hasKey(c) && o.write.lease == nil {
		return k.writeAt(ctx, c, 0, o.session) // that node's client finds the group
	}
	err = k.routed(ctx, func(ks shard.Keyspace) error {
		group, err := groupOf(ks, c, o)
		if err == nil {
			err = o.write.checkLease(ks, c, group)
		}
		if err != nil {
			return err
		}
		if k.c.cfg.At != "" {
			result, err = k.writeAt(ctx, c, group.Shard, o.session)
		} else {
			result, err = k.c.write(ctx, ks, group, c, o.session)
		}
		return err
	})
	return result, err
}

// routed does something with the keyspace that has the name. If that turns out to
// be gone it looks once whether another has the name now.
func (k *Keyspace) routed(ctx context.Context, do func(shard.Keyspace) error) error {
	was, err := k.c.resolve(ctx, k.name)
	if err != nil {
		return k.explain(err)
	}
	err = do(was)
	if err == nil || store.AsError(err).Code != store.NoSuchKeyspace {
		return k.explain(err)
	}
	now, lookUp := k.c.lookUp(ctx, k.name)
	if lookUp == nil && now.ID != was.ID {
		err = do(now)
	}
	return k.explain(err)
}

func (k *Keyspace) explain(err error) error {
	if err == nil {
		return nil
	}
	e := *store.AsError(err)
	if e.Keyspace == "" {
		e.Keyspace = k.name
	}
	return &e
}

func (c *Client) read(ctx context.Context, ks shard.Keyspace, group store.GroupID, q store.Query, s *Session) (page store.Page, err error) {
	tok, err := s.encode(group)
	if err != nil {
		return page, err
	}
	if q.Page != "" {
		// What the session has seen was asked for with the first page. The view stays
		// as it was, whatever the session has written since.
		tok = nil
	}
	if c.shared(q) {
		page, err = c.readShared(ctx, ks, group, q, s, tok)
	} else {
		page, err = c.readOne(ctx, ks, group, q, tok, s)
	}
	if err != nil {
		return store.Page{}, err
	}
	t, _ := c.router.known()
	return page, s.read(t, answer{group, page.Entry, page.Deps, tok, q.Level})
}

func (c *Client) readOne(ctx context.Context, ks shard.Keyspace, group store.GroupID, q store.Query, tok []byte, s *Session) (store.Page, error) {
	if c.hedges != nil && !q.Scan() {
		return c.readHedged(ctx, ks, group, q, tok, c.hostsOf(q, s))
	}
	return c.readCall(ctx, ks, group, q, tok, c.hostsOf(q, s), false)
}

// hostsOf is who knows where such a read is served: the same bound by the same nodes for
// everybody, what a session has seen by others for each.
func (c *Client) hostsOf(q store.Query, s *Session) *hosts {
	switch q.Level {
	case store.Bounded:
		return &c.router.hosts
	case store.Eventual:
		return nil // nobody turns it away
	}
	return &s.hosts
}

// readCall is one call; a second one makes one attempt, where the first has not begun.
func (c *Client) readCall(ctx context.Context, ks shard.Keyspace, group store.GroupID, q store.Query, tok []byte, h *hosts, second bool) (page store.Page, err error) {
	level := q.Level.Or(ks.Mode)
	k := &call{c: c, op: opOf(q), keyspace: ks, group: group, hosts: h, toLeader: ledBest(level, ks.Mode)}
	c.noteLevel(ctx, level)
	if k.second = second; second {
		k.pick = others
	}
	if q.Page != "" {
		if k.pick, err = c.keeper(ctx, q.Page); err != nil {
			return page, err
		}
	}
	k.send = func(ctx context.Context, cc *conn, _ bool) (reach, error) {
		r, response := kvpb.ToQuery(q), &kvpb.ReadResponse{}
		r.Keyspace, r.KeyspaceId, r.Shard, r.Token, r.Trace = ks.Name, group.Keyspace, group.Shard, tok, c.place(ctx)
		came, err := cc.read(ctx, endpoint{node: k.node}, r, response)
		kvpb.FromSpans(ctx, response.GetSpans())
		if err == nil {
			page, err = kvpb.FromPage(response)
		}
		return came, err
	}
	if err := k.run(ctx); err != nil {
		return store.Page{}, err
	}
	return page, nil
}

func (c *Client) write(ctx context.Context, ks shard.Keyspace, group store.GroupID, cmd store.Command, s *Session) (result store.Result, err error) {
	tok, err := s.encode(group)
	if err != nil {
		return result, err
	}
	k := &call{c: c, op: cmd.Name(), keyspace: ks, group: group, effect: atNode, hosts: &s.hosts}
	open := randomSession
	if ks.Mode == store.CP {
		k.effect, k.toLeader = named, true
		open = func(ctx context.Context) (uint64, error) { return c.openSession(ctx, ks, group) }
	}
	request, end, err := c.numbers(group).begin(ctx, open)
	if err != nil {
		return result, err
	}
	cmd.Request = request
	k.send = sendCommand(k, cmd, tok, &result)
	err = k.run(ctx)
	end(err)
	return result, c.remember(s, group, tok, result, err)
}

// openSession opens an exactly-once session in a cp group. One that nobody uses
// harms nobody, so it may be opened twice.
func (c *Client) openSession(ctx context.Context, ks shard.Keyspace, group store.GroupID) (uint64, error) {
	k := &call{c: c, op: store.OpenSession.String(), keyspace: ks, group: group, toLeader: true}
	var result store.Result
	k.send = sendCommand(k, store.Command{Op: store.OpenSession}, nil, &result)
	if err := k.run(ctx); err != nil {
		return 0, err
	}
	life := spans.Apart(context.WithoutCancel(ctx)) // whoever opens it, it is closed for all
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened[group] = func() { c.closeSession(life, ks, group, result.Revision) }
	return result.Revision, nil
}

// goodbye bounds the closing of the sessions of a client that ends.
const goodbye = 250 * time.Millisecond

// closeSession tells the group that nobody uses the session any more. One that it does
// not hear of is evicted once it was idle for long.
func (c *Client) closeSession(ctx context.Context, ks shard.Keyspace, group store.GroupID, session uint64) {
	ctx, cancel := context.WithTimeout(ctx, goodbye)
	defer cancel()
	k := &call{c: c, op: store.CloseSession.String(), keyspace: ks, group: group, toLeader: true}
	k.send = sendCommand(k, store.Command{Op: store.CloseSession, Request: store.Request{Session: session}}, nil, new(store.Result))
	_ = k.run(ctx)
}

// closeSessions closes what openSession has opened, all at once.
func (c *Client) closeSessions() {
	c.mu.Lock()
	opened := c.opened
	c.opened = make(map[store.GroupID]func())
	c.mu.Unlock()
	var all sync.WaitGroup
	for _, leave := range opened {
		all.Go(leave)
	}
	all.Wait()
}

func sendCommand(k *call, cmd store.Command, tok []byte, result *store.Result) func(context.Context, *conn, bool) (reach, error) {
	return func(ctx context.Context, cc *conn, retry bool) (reach, error) {
		cmd.Request.Retry = retry
		r, response := kvpb.ToCommand(cmd), &kvpb.WriteResponse{}
		r.Keyspace, r.KeyspaceId, r.Shard, r.Token, r.Trace = k.keyspace.Name, k.group.Keyspace, k.group.Shard, tok, k.c.place(ctx)
		*result = store.Result{}
		came, err := cc.write(ctx, endpoint{node: k.node}, r, response)
		kvpb.FromSpans(ctx, response.GetSpans())
		if err == nil {
			*result, err = kvpb.FromResult(response)
		}
		return came, err
	}
}

// remember folds the answer to a write into the session: what was written, or what
// a failed condition has read. A session that cannot take it in has a hole, and says
// so; errors.Is still finds the Conflict.
func (c *Client) remember(s *Session, group store.GroupID, tok []byte, r store.Result, outcome error) error {
	t, _ := c.router.known()
	came := answer{group, r.Entry, r.Deps, tok, store.LevelDefault}
	switch {
	case outcome == nil:
		if err := s.wrote(t, came); err != nil {
			return &store.Error{Code: store.Unknown, Group: group, Msg: "the answer's entry cannot be read", Cause: err}
		}
	case answersNo(outcome):
		if err := s.read(t, came); err != nil {
			return forgotten(outcome, err)
		}
	}
	return outcome
}

// answersNo reports whether a write's error is an answer that tells of the state.
func answersNo(err error) bool {
	code := store.AsError(err).Code
	return code == store.Conflict || code == store.NotFound
}

func forgotten(outcome, why error) error {
	e := *store.AsError(outcome)
	e.Code, e.Cause = store.Corrupt, outcome
	e.Msg, e.Try = "nothing was written, and the session cannot remember what was seen: "+why.Error(), "a new session"
	return &e
}

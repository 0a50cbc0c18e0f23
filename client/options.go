package client

import (
	"context"
	"fmt"
	"time"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// Option changes one call. One that means nothing to the call is refused, Invalid.
type Option func(*options)

type options struct {
	session  *Session
	timeout  time.Duration
	level    store.Level // reads
	bound    time.Duration
	prefer   []Step  // gets; nil: no list
	shard    *uint32 // of what goes over a range
	progress bool    // watches
	since    *string // watches of ap keyspaces
	anywhere bool    // restores
	write    writeOptions
}

type writeOptions struct {
	w       store.W // ap
	context []byte  // ap
	blind   bool    // ap
	If      store.Condition
	ttl     *time.Duration // nil: the key stays
	lease   *Lease
	fence   *Fence
	place   string // a key of the group, for a command that has none
}

// In makes the call part of a session. Without it that of the context is used, see
// Client.Within, or else the client's own.
func In(s *Session) Option { return func(o *options) { o.session = s } }

// WithTimeout bounds the call, beside its context. Of a Scan it bounds each page, of a
// Watch the time until it is established, of a Lock or a Campaign all the waiting.
func WithTimeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// At asks for a level. Without it cp keyspaces answer Strong, ap keyspaces Causal.
func At(level store.Level) Option { return func(o *options) { o.level, o.bound = level, 0 } }

// Bounded asks for a read that shows every write acknowledged more than d before the
// read began. It stands in the place of At.
func Bounded(d time.Duration) Option {
	return func(o *options) { o.level, o.bound = store.Bounded, d }
}

// WithW says how many replicas of an ap keyspace must hold the write.
func WithW(w store.W) Option { return func(o *options) { o.write.w = w } }

// WithContext makes the write follow a read of the key on an ap keyspace: it
// supersedes exactly what that read showed.
func WithContext(context []byte) Option { return func(o *options) { o.write.context = context } }

// Blind lets the write stand beside whatever the key holds on a siblings keyspace.
func Blind() Option { return func(o *options) { o.write.blind = true } }

// Create lets the write happen only if the key is absent. cp only.
func Create() Option {
	return func(o *options) { o.write.If = store.Condition{Kind: store.IfAbsent} }
}

// IfRevision lets the write happen only if the key was last written at this
// revision. cp only.
func IfRevision(revision uint64) Option {
	return func(o *options) { o.write.If = store.Condition{Kind: store.IfRevision, Revision: revision} }
}

// WithTTL lets a Put live for d: the key is deleted unless it is put again before,
// never earlier. The group makes a lease for it, which is Result.Lease. On ap it is the
// value that is deleted, at its deadline by the clock of the node that took it, and there
// is no lease.
func WithTTL(d time.Duration) Option { return func(o *options) { o.write.ttl = &d } }

// WithLease attaches the key of a Put to a lease: it is deleted when the lease ends. A
// lease belongs to one group; with a key of another the put is Invalid and nothing is
// sent. cp only.
func WithLease(l *Lease) Option { return func(o *options) { o.write.lease = l } }

// Fenced makes a Put, Delete, CompareAndSwap, Increment or Txn happen only while the
// lock or the leadership of the fence is still held. Else it fails with Conflict, and
// nothing is done: a holder that was paused for too long cannot overwrite what its
// successor wrote. A fence belongs to one group; with a key of another the write is
// Invalid and nothing is sent. A fenced Txn cannot write in its Else. cp only.
func Fenced(f Fence) Option { return func(o *options) { o.write.fence = &f } }

// InGroup restricts what goes over a range to one group of the keyspace, by the
// number of its shard: a Scan, a Count, Leases, a Watch, or a Read of one page. With a
// Write that has no key it says which group's lease is meant.
func InGroup(shard uint32) Option { return func(o *options) { o.shard = &shard } }

// Progress makes a Watch return notices of progress, too, which are changes without
// events: everything up to their revision was returned. The first of each group says
// behind which revision the watch begins.
func Progress() Option { return func(o *options) { o.progress = true } }

// Since makes a Watch of an ap keyspace go on behind a Change.Resume, or behind all that
// a session has read, given as its Token: scan a range in a new session, and watch since
// its token, and nothing is left out or comes twice. A group of which the token has read
// nothing is watched from its first write on.
func Since(token string) Option { return func(o *options) { o.since = &token } }

// FromAnywhere lets a Restore take a snapshot of another cluster, or of another keyspace.
func FromAnywhere() Option { return func(o *options) { o.anywhere = true } }

// inGroupOf is InGroup by a key, for a command that has none.
func inGroupOf(key string) Option { return func(o *options) { o.write.place = key } }

func (c *Client) options(s *Session, opts []Option) (options, error) {
	o := options{session: s}
	for _, opt := range opts {
		opt(&o)
	}
	switch {
	case o.session == nil:
		return o, invalid("the session is nil", "client.NewSession")
	case o.timeout < 0:
		return o, invalid("the timeout is negative: "+o.timeout.String(), "")
	}
	return o, nil
}

func (c *Client) readOptions(ctx context.Context, opts []Option) (options, error) {
	o, err := c.getOptions(ctx, opts)
	if err == nil && o.prefer != nil {
		err = noList()
	}
	return o, err
}

// noList is for everything but a Get.
func noList() *store.Error { return invalid("a list of steps is for a Get", "client.At") }

func (c *Client) getOptions(ctx context.Context, opts []Option) (options, error) {
	o, err := c.options(c.sessionIn(ctx), opts)
	switch {
	case err != nil:
	case o.write.set():
		err = invalid("a read has no w, no context to follow, no condition, no lease and no fence", "")
	case o.progress:
		err = invalid("a read has no notices of progress", "client.Progress with a Watch")
	case o.since != nil:
		err = invalid("a read goes on behind nothing", "client.Since with a Watch")
	case o.anywhere:
		err = invalid("a read is from the keyspace", "client.FromAnywhere with a Restore")
	}
	return o, err
}

func (c *Client) writeOptions(ctx context.Context, opts []Option) (options, error) {
	o, err := c.options(c.sessionIn(ctx), opts)
	switch {
	case err != nil:
	case o.level != store.LevelDefault:
		err = invalid("a write has no level, it was given "+o.level.String(), "a read at that level in the same session")
	case o.prefer != nil:
		err = noList()
	case o.progress:
		err = invalid("a write has no notices of progress", "client.Progress with a Watch")
	case o.since != nil:
		err = invalid("a write goes on behind nothing", "client.Since with a Watch")
	case o.anywhere:
		err = invalid("a write is from the caller", "client.FromAnywhere with a Restore")
	}
	return o, err
}

func (c *Client) watchOptions(ctx context.Context, opts []Option) (options, error) {
	o, err := c.options(c.sessionIn(ctx), opts)
	if err == nil && (o.level != store.LevelDefault || o.prefer != nil || o.write.set() || o.anywhere) {
		err = invalid("a watch has no level, and nothing that belongs to a write or a restore", "")
	}
	return o, err
}

func (c *Client) snapshotOptions(opts []Option) (options, error) {
	o, err := c.options(c.session, opts)
	if err == nil && (o.session != c.session || o.level != store.LevelDefault || o.prefer != nil || o.shard != nil || o.progress || o.since != nil || o.write.set()) {
		err = invalid("a snapshot has a timeout, and nothing that belongs to a read, a watch or a write", "")
	}
	return o, err
}

func (o *writeOptions) set() bool {
	return o.w != 0 || o.context != nil || o.blind || o.If.Kind != store.Always || o.ttl != nil || o.lease != nil || o.fence != nil
}

// addTo puts the options into a command. The fence is for the caller.
func (o *writeOptions) addTo(c *store.Command) error {
	if c.Op == store.OpenSession {
		return invalid("exactly-once sessions are the client's own affair", "")
	}
	if o.If.Kind != store.Always {
		if c.If.Kind != store.Always {
			return invalid("the write has two conditions", "")
		}
		c.If = o.If
	}
	if o.w != store.WDefault {
		c.W = o.w
	}
	if o.context != nil {
		c.Context = o.context
	}
	c.Blind = c.Blind || o.blind
	return o.addLife(c)
}

func (o *writeOptions) addLife(c *store.Command) error {
	if o.ttl == nil && o.lease == nil {
		return nil
	}
	if c.Op != store.Put || c.TTL != 0 || c.Lease != 0 {
		return invalid(fmt.Sprintf("a TTL or a lease was given beside a %v that takes none", c.Op), "a put with one TTL or one lease")
	}
	if o.lease != nil {
		c.Lease = o.lease.id
	}
	if o.ttl != nil {
		c.TTL = *o.ttl
		return store.CheckTTL(c.TTL) // a TTL of zero would mean none
	}
	return nil
}

// checkLease refuses a lease of another group than the command's: there its id is
// that of another lease, or of none.
func (o *writeOptions) checkLease(ks shard.Keyspace, c store.Command, group store.GroupID) error {
	if o.lease == nil || ks.Groups <= 1 || o.lease.key != "" && ks.Group(o.lease.key) == group {
		return nil
	}
	key := c.Key
	c.Keys(func(k string) bool { key = k; return false })
	return apart(o.lease.key, key)
}

func invalid(msg, try string) *store.Error {
	return &store.Error{Code: store.Invalid, Msg: msg, Try: try}
}

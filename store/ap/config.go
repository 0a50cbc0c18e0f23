package ap

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/store"
)

// Config opens a replica.
type Config struct {
	// Node is this node's name; it is one of the members.
	Node  string
	Group store.GroupID
	// Placement says who holds the group, as far as the caller knows. A replica that
	// has confirmed a newer one goes on with that.
	Placement Placement
	// Policy is how concurrent values are shown and when a write is refused for
	// them. Default lww.
	Policy store.Policy
	// W is how many members must hold a write that does not say. Default local.
	W store.W
	// Durability is what must have happened to a write before anybody is told of
	// it. Default fsync.
	Durability store.Durability
	// LogBytes bounds the entries of the log. What every member holds is dropped long
	// before; a member that lacks what was dropped is sent a snapshot. Default 64 MiB.
	LogBytes uint64
	// Engine keeps the state, in a space of the group's own. It stays the
	// caller's, who closes it after Run has returned.
	Engine *engine.Engine
	// Memory keeps the state instead, with durability memory. A replica that is opened
	// again while it lives goes on with what it holds; Engine keeps that it was there.
	Memory *engine.Engine
	// Peers reaches the other members. It may be nil if there never are any.
	Peers Peers
	// Clock feeds the hybrid clock, the peers' too, and says when a TTL has passed.
	// Default time.Now.
	Clock  func() time.Time
	Events Events
}

// Peers reaches the other members of the group. Who answers is the very member that
// was named.
type Peers interface {
	// Call sends a message that ends up in ServeCall at node to, and returns its
	// answer.
	Call(ctx context.Context, to string, payload []byte) ([]byte, error)
	// Stream opens a stream that ends up in ServeStream at node to. The stream
	// lives until ctx ends: then a Send or Recv that blocks must return.
	Stream(ctx context.Context, to string) (Stream, error)
}

// Stream carries frames in order, or fails. One goroutine sends and one receives.
type Stream interface {
	// Send may block while the other side does not receive. It does not keep frame.
	Send(frame []byte) error
	// Recv returns the next frame, which the caller then owns.
	Recv() (frame []byte, err error)
}

// Events tells what happens inside; every function is optional and must return at
// once.
type Events struct {
	// Ready is called when the replica begins to serve.
	Ready func()
	// Committed is called after every batch that reached the disk: how many
	// writes it held, how many of them this replica took, how long it took.
	Committed func(writes, local int, took time.Duration)
	// Connected is called when a peer has answered the hello of our stream.
	Connected func(peer string)
	// Disconnected is called when our stream to a peer has ended.
	Disconnected func(peer string, err error)
	// Sent is called when a peer that lacked more than the log holds was sent a
	// snapshot of so many rows.
	Sent func(peer string, rows int, took time.Duration)
	// Installed is called when a peer's snapshot of so many rows was merged, of which
	// some changed this replica's state.
	Installed func(peer string, rows, changed int, took time.Duration)
	// Emptied is called when a replica in memory begins without what it held before: so
	// many writes, at least.
	Emptied func(held uint64)
	// Refilled is called when it begins to serve again. Of the writes that it once held so
	// many are not there any more, as far as it knows then.
	Refilled func(lost uint64)
	// Refused is called when a peer has sent what does not read as a frame of the
	// protocol. None of it was applied, and the stream is closed.
	Refused func(peer string, err error)
}

func (c Config) withDefaults() Config {
	if c.Policy == 0 {
		c.Policy = store.LWW
	}
	if c.W == store.WDefault {
		c.W = store.WLocal
	}
	if c.Durability == 0 {
		c.Durability = store.Fsync
	}
	if c.LogBytes == 0 {
		c.LogBytes = 64 << 20
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	c.Events = c.Events.withDefaults()
	c.Placement = c.Placement.clone()
	return c
}

func (e Events) withDefaults() Events {
	if e.Ready == nil {
		e.Ready = func() {}
	}
	if e.Committed == nil {
		e.Committed = func(int, int, time.Duration) {}
	}
	if e.Connected == nil {
		e.Connected = func(string) {}
	}
	if e.Disconnected == nil {
		e.Disconnected = func(string, error) {}
	}
	if e.Sent == nil {
		e.Sent = func(string, int, time.Duration) {}
	}
	if e.Installed == nil {
		e.Installed = func(string, int, int, time.Duration) {}
	}
	if e.Emptied == nil {
		e.Emptied = func(uint64) {}
	}
	if e.Refilled == nil {
		e.Refilled = func(uint64) {}
	}
	if e.Refused == nil {
		e.Refused = func(string, error) {}
	}
	return e
}

func (c Config) validate() error {
	invalid := func(format string, args ...any) error {
		return &store.Error{Code: store.Invalid, Group: c.Group, Node: c.Node, Msg: "ap config: " + fmt.Sprintf(format, args...)}
	}
	members := c.Placement.Members
	switch {
	case !slices.Contains(members, c.Node):
		return invalid("node %q is not one of the members %q", c.Node, members)
	case len(slices.Compact(slices.Clone(members))) != len(members):
		return invalid("the members %q name a node twice", members)
	case c.Engine == nil:
		return invalid("there is no engine")
	case c.Peers == nil && len(members) > 1:
		return invalid("there is no way to the other members")
	case c.Policy < store.LWW || c.Policy > store.Map:
		return invalid("%s is no conflict policy", c.Policy)
	case c.W > store.WAll:
		return invalid("%s says nothing", c.W)
	case c.Durability > store.Memory:
		return invalid("%s is not known", c.Durability)
	case c.Durability == store.Memory && c.Memory == nil:
		return invalid("there is no engine in memory")
	}
	return nil
}

// Package membership says who is there and how to reach them, by gossip
// (hashicorp/memberlist: SWIM with Lifeguard).
//
// What it says is a hint. A member in the list may be dead for seconds and a living
// one may be missing; nothing that must be right, a quorum or who is in a minority,
// may be derived from it. No data travels here.
//
// Nodes are known by name alone. Bytes go through the node's link.Endpoint, which
// finds the address of a name; what a node tells the others about itself (its
// cluster, its addresses, and the meta that the caller gives) travels with its name.
//
// memberlist by itself never heals a symmetric partition: both sides declare the
// other dead and forget it. So every few seconds a node joins again those of its
// peers that are missing.
package membership

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/dialkv/dialkv/store"
)

// Member is a node that is thought to be alive.
type Member struct {
	Name   string
	Addr   string // where it takes Raft and RPC
	Gossip string // where it gossips
	Meta   []byte // as its Config gave it; not to be changed
}

func (m Member) equal(o Member) bool {
	return m.Name == o.Name && m.Addr == o.Addr && m.Gossip == o.Gossip && slices.Equal(m.Meta, o.Meta)
}

// Members is a node's view of who is there.
type Members struct {
	cfg     Config
	self    []byte // what travels with our name
	keyring *memberlist.Keyring
	view    view
	leave   chan chan struct{}
	over    chan struct{} // closed when Run returned
}

// Open checks cfg. Until Run, the node sees only itself.
func Open(cfg Config) (*Members, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	m := &Members{cfg: cfg, leave: make(chan chan struct{}), over: make(chan struct{})}
	e := cfg.Endpoint
	var err error
	if m.self, err = encodeMeta(cfg.Cluster, Member{Addr: e.Addr(), Gossip: e.GossipAddr(), Meta: cfg.Meta}); err != nil {
		return nil, err
	}
	if len(cfg.Keys) > 0 {
		if m.keyring, err = memberlist.NewKeyring(cfg.Keys, cfg.Keys[0]); err != nil {
			return nil, badKey(err)
		}
	}
	m.view.put(Member{Name: e.Name(), Addr: e.Addr(), Gossip: e.GossipAddr(), Meta: cfg.Meta})
	return m, nil
}

// leaveTimeout bounds how long a leaving node waits for its farewell to go out.
const leaveTimeout = time.Second

// Run gossips until ctx ends, then says farewell and returns; that takes at most
// leaveTimeout. It may be called once, and closes the endpoint's Gossip listener.
// Some of memberlist's timers outlive it by seconds; they do nothing more.
func (m *Members) Run(ctx context.Context) error {
	defer close(m.over)
	life, end := context.WithCancel(context.WithoutCancel(ctx)) // farewells come after ctx
	defer end()
	t := newTransport(life, end, m.cfg.Endpoint)
	list, err := memberlist.Create(m.settings(t))
	if err != nil {
		return fmt.Errorf("membership: %w", err)
	}
	rounds, stop := context.WithCancel(ctx)
	defer stop()
	var work sync.WaitGroup
	work.Go(t.forwardPackets)
	work.Go(t.acceptStreams)
	work.Go(func() { m.announce(ctx) })
	work.Go(func() { m.rejoin(rounds, list) })

	var asked chan struct{}
	select {
	case <-ctx.Done():
	case asked = <-m.leave:
	}
	stop()
	_ = list.Leave(leaveTimeout) // unheard, the others will notice by themselves
	for asked != nil {
		close(asked)
		select {
		case asked = <-m.leave: // said already
		case <-ctx.Done():
			asked = nil
		}
	}
	err = list.Shutdown()
	work.Wait()
	return err
}

// Leave says farewell and returns when it is out, or leaveTimeout has passed. The
// node no longer sees itself or looks for anybody; Run goes on to its end. Before
// Run, Leave waits for it.
func (m *Members) Leave(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case m.leave <- done:
	case <-m.over:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// List returns who is thought to be alive, this node included, in order of name.
func (m *Members) List() []Member { return m.view.list() }

// Changed returns a channel that is closed at the next change of List. Take it
// before List, and nothing is missed.
func (m *Members) Changed() <-chan struct{} { return m.view.changes() }

// SetKeys replaces the gossip keys while running; the first encrypts. To rotate
// without losing anybody: first add the new key everywhere, then put it first, then
// drop the old one.
func (m *Members) SetKeys(keys [][]byte) error {
	if m.keyring == nil || len(keys) == 0 {
		return &store.Error{Code: store.Invalid, Msg: "gossip cannot be turned from plain text to encrypted or back while running", Try: "restart every node with keys"}
	}
	for _, key := range keys {
		if err := memberlist.ValidateKey(key); err != nil {
			return badKey(err)
		}
	}
	return m.replaceKeys(keys)
}

func (m *Members) replaceKeys(keys [][]byte) error {
	for _, key := range keys {
		if err := m.keyring.AddKey(key); err != nil {
			return badKey(err)
		}
	}
	if err := m.keyring.UseKey(keys[0]); err != nil {
		return badKey(err)
	}
	for _, old := range m.keyring.GetKeys() {
		if !slices.ContainsFunc(keys, func(key []byte) bool { return slices.Equal(key, old) }) {
			if err := m.keyring.RemoveKey(old); err != nil {
				return badKey(err)
			}
		}
	}
	return nil
}

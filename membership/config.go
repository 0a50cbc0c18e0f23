package membership

import (
	"io"
	"log"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/store"
)

// Config opens a node's membership.
type Config struct {
	Cluster  string         // only members of the same cluster see each other
	Endpoint *link.Endpoint // the node's door, and its name; its Gossip listener and packets become ours
	Meta     []byte         // what to tell the others; at most MaxMeta less the cluster and addresses
	// Peers names whom to look for, this node among them or not: configured seeds and
	// every node heard of. It is asked before each round and must not wait.
	Peers   func() []string
	Profile Profile
	Keys    [][]byte // gossip keys of 16, 24 or 32 bytes; the first encrypts, all decrypt; none: plain text
	Events  Events
}

// MaxMeta is the most bytes that travel with a node's name.
const MaxMeta = memberlist.MetaMaxSize

// Events tells what happens; each function may be nil.
type Events struct {
	Joined func(Member)      // also when a member's meta or addresses changed
	Left   func(Member)      // left or was declared dead
	Log    func(line string) // memberlist's own words; must not wait nor call Members
}

func (c Config) validate() error {
	if c.Endpoint == nil {
		return &store.Error{Code: store.Invalid, Msg: "membership needs an endpoint"}
	}
	return store.CheckName("cluster", c.Cluster)
}

func (c Config) withDefaults() Config {
	if c.Peers == nil {
		c.Peers = func() []string { return nil }
	}
	if c.Events.Joined == nil {
		c.Events.Joined = func(Member) {}
	}
	if c.Events.Left == nil {
		c.Events.Left = func(Member) {}
	}
	if c.Events.Log == nil {
		c.Events.Log = func(string) {}
	}
	c.Meta = slices.Clone(c.Meta)
	return c
}

func badKey(err error) error {
	return &store.Error{Code: store.Invalid, Msg: "a gossip key cannot be used", Try: "keys of 16, 24 or 32 bytes", Cause: err}
}

// Profile says how fast a cluster notices, and what that costs.
type Profile uint8

const (
	LAN       Profile = iota // a dead node is dropped after about 6 s
	Classroom                // after about 1 s; for a few nodes in one process
)

func (p Profile) settings() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.BindPort, c.AdvertisePort = madeUpPort, madeUpPort
	c.TCPTimeout = 2 * time.Second // a join into a hole must not hold up its round for 10
	c.DeadNodeReclaimTime = 10 * time.Second
	c.UDPBufferSize = 1300 // with link's preface still one Ethernet frame
	c.EnableCompression = false
	if p == Classroom {
		c.ProbeInterval = 200 * time.Millisecond
		c.ProbeTimeout = 100 * time.Millisecond
		c.SuspicionMult = 3
		c.SuspicionMaxTimeoutMult = 3
		c.GossipInterval = 50 * time.Millisecond
		c.PushPullInterval = 5 * time.Second
	}
	return c
}

// round draws how long to wait before peers are looked for again.
func (p Profile) round() time.Duration {
	if p == Classroom {
		return 500*time.Millisecond + rand.N(time.Second)
	}
	return 2*time.Second + rand.N(3*time.Second)
}

func (m *Members) settings(t *transport) *memberlist.Config {
	c := m.cfg.Profile.settings()
	c.Name = m.cfg.Endpoint.Name()
	c.Label = m.cfg.Cluster
	c.Transport = t
	c.RequireNodeNames = true
	c.Keyring = m.keyring
	hooks := &hooks{m}
	c.Delegate, c.Events, c.Alive, c.Merge = hooks, hooks, hooks, hooks
	c.Logger = log.New(lines(m.cfg.Events.Log), "", 0)
	return c
}

// lines is an io.Writer that hands on one line of log at a time.
type lines func(line string)

var _ io.Writer = lines(nil)

func (f lines) Write(b []byte) (int, error) {
	f(strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}

package nemesis

import (
	"context"
	"slices"
	"time"

	"github.com/dialkv/dialkv/internal/engine"
)

// The faults.
const (
	Partition = "partition"      // silence between two sides, both ways
	Isolate   = "isolate-leader" // silence around who leads a group, or owns keys
	Ring      = "ring"           // each node hears a majority, and no two hear the same one
	OneWay    = "oneway"         // what the others send to a minority does not arrive; what it sends does
	Away      = "away"           // silence around one node, for so long that others may forget what it lacks
	Bridge    = "bridge"         // silence between two halves, and one node that hears both
	Reset     = "reset"          // a partition whose links break with errors
	Delay     = "delay"          // every link is late, and out of step
	Jitter    = "jitter"         // every link is late by anything up to a bound
	Loss      = "loss"           // every link loses packets, and what streams lose is sent again
	Duplicate = "duplicate"      // every link delivers packets twice
	Reorder   = "reorder"        // packets overtake each other
	Bandwidth = "bandwidth"      // every link is narrow
	Matrix    = "matrix"         // silence on the links that were named

	Kill       = "kill"       // kill -9 of a minority, then a restart
	Zone       = "zone"       // kill -9 of a whole zone at once
	Power      = "power"      // kill -9 of all nodes at once; in memory, un-synced bytes are lost
	Restart    = "restart"    // one node after the other ends in an orderly way and comes back
	Pause      = "pause"      // SIGSTOP of a minority, then SIGCONT
	Succession = "succession" // a leader is killed, and every link is late from then on
	Revive     = "revive"     // a node is cut off, killed there, and started again once the links are whole

	DiskSlow  = "disk-slow"  // every sync of a minority takes longer
	DiskFull  = "disk-full"  // a minority has no space left, and ends
	DiskError = "disk-error" // writes and syncs of a minority fail, and it ends
	Stall     = "stall"      // a leader's disk stands still while it is cut off: it does not notice

	Skew   = "skew"   // the wall clocks of a minority are wrong by up to ten seconds
	Strobe = "strobe" // a wall clock goes to and fro by seconds, many times a second
	Jump   = "jump"   // a node is cut off and starts again there, with its clock set back

	Flood = "flood" // many connections to a minority, which stay open

	Transfer   = "transfer"   // leaders hand their groups to other members
	Membership = "membership" // a node leaves, and a new one takes its place
	Wipe       = "wipe"       // a node dies and its disk with it, and a new one takes its place
)

// kind is what is known of one fault.
type kind struct {
	name  string
	nodes int           // that there must be, so that it is one
	on    target        // what it is drawn for
	slot  time.Duration // that it needs, if more than leastSlot: for another leader, or a start
	hold  float64       // of slot, at least
	links bool          // made by link rules
	needs func(Cluster) bool
	make  func(n *nemesis, ctx context.Context, s Step) fault
}

// target is which nodes are drawn for a fault.
type target int

const (
	aMinority target = iota
	one
	theLeader     // or one, if nobody leads
	sides         // of any Shape
	leaderOrFew   // the leader, or a minority
	bridgeAndHalf // the bridge first
	aThird        // but no majority
	everyNode     // in any order
)

func disks(c Cluster) bool   { _, ok := c.(Disks); return ok }
func clocks(c Cluster) bool  { _, ok := c.(Clocks); return ok }
func doors(c Cluster) bool   { _, ok := c.(Doors); return ok }
func members(c Cluster) bool { _, ok := c.(Members); return ok }

var kinds = []kind{
	{name: Partition, nodes: 2, on: sides, links: true, make: func(n *nemesis, ctx context.Context, s Step) fault { return n.partition(ctx, n.leading(ctx, s)) }},
	{name: OneWay, nodes: 2, links: true, make: func(n *nemesis, ctx context.Context, s Step) fault { return n.oneWay(ctx, s.Nodes) }},
	{name: Away, nodes: 2, on: one, slot: 16 * time.Second, links: true, make: func(n *nemesis, ctx context.Context, s Step) fault { return n.partition(ctx, s.Nodes) }},
	{name: Bridge, nodes: 3, on: bridgeAndHalf, links: true, make: func(n *nemesis, ctx context.Context, s Step) fault { return n.bridge(ctx, s.Nodes[0], s.Nodes[1:]) }},
	{name: Kill, nodes: 3, on: leaderOrFew, make: func(n *nemesis, ctx context.Context, s Step) fault { return n.kill(n.leading(ctx, s)) }},
	{name: Pause, nodes: 3, make: func(n *nemesis, _ context.Context, s Step) fault { return n.pause(s.Nodes) }},
	{name: Reset, nodes: 2, on: sides, links: true, make: func(n *nemesis, ctx context.Context, s Step) fault { return n.reset(ctx, n.leading(ctx, s)) }},
	{name: Delay, nodes: 2, links: true, make: func(n *nemesis, ctx context.Context, _ Step) fault { return n.late(ctx) }},
	{name: Power, nodes: 1, slot: 4 * time.Second, make: func(n *nemesis, _ context.Context, _ Step) fault { return n.outage() }},
	{name: DiskSlow, nodes: 2, needs: disks, make: func(n *nemesis, ctx context.Context, s Step) fault { return n.slowDisk(ctx, s.Nodes) }},
	{name: Skew, nodes: 2, needs: clocks, make: func(n *nemesis, _ context.Context, s Step) fault { return n.skew(s.Nodes) }},
	{name: Stall, nodes: 3, on: theLeader, slot: 4 * time.Second, hold: 0.73, links: true, needs: disks, make: func(n *nemesis, ctx context.Context, s Step) fault { return n.stall(ctx, n.leading(ctx, s)[0]) }},
	{name: Succession, nodes: 3, on: theLeader, slot: 6 * time.Second, hold: 0.73, links: true, make: func(n *nemesis, ctx context.Context, s Step) fault { return n.succession(ctx, n.leading(ctx, s)[0]) }},
	{name: Transfer, nodes: 2, on: one, make: func(n *nemesis, ctx context.Context, _ Step) fault { return n.transfer(ctx) }},
	{name: Membership, nodes: 2, on: one, slot: 4 * time.Second, needs: members, make: func(n *nemesis, _ context.Context, s Step) fault { return n.membership(s.Nodes[0]) }},
	{name: Revive, nodes: 3, on: one, slot: 8 * time.Second, hold: 0.6, links: true, make: func(n *nemesis, ctx context.Context, s Step) fault { return n.revive(ctx, s.Nodes[0]) }},
	{name: Jump, nodes: 3, on: one, slot: 8 * time.Second, hold: 0.6, links: true, needs: clocks, make: func(n *nemesis, ctx context.Context, s Step) fault { return n.jump(ctx, s.Nodes[0], s.Hold) }},
	{name: Wipe, nodes: 3, on: one, slot: 8 * time.Second, needs: members, make: func(n *nemesis, _ context.Context, s Step) fault { return n.wipe(s.Nodes[0]) }},
	{name: Restart, nodes: 3, on: everyNode, slot: 12 * time.Second, make: func(n *nemesis, ctx context.Context, s Step) fault { return n.restart(ctx, s.Nodes) }},
	{name: Isolate, nodes: 3, on: theLeader, slot: 4 * time.Second, hold: 0.73, links: true, make: func(n *nemesis, ctx context.Context, s Step) fault { return n.isolate(ctx, n.leading(ctx, s)[0]) }},
	{name: Ring, nodes: 4, on: everyNode, links: true, make: func(n *nemesis, ctx context.Context, s Step) fault { return n.ring(ctx, s.Nodes) }},
	{name: Zone, nodes: 3, on: aThird, slot: 4 * time.Second, make: func(n *nemesis, _ context.Context, s Step) fault { return n.power(s.Nodes) }},
	// Who was away is sent nothing for as long again: within this time it has to write.
	{name: DiskFull, nodes: 3, slot: 4 * time.Second, hold: 0.73, needs: disks, make: func(n *nemesis, ctx context.Context, s Step) fault { return n.failDisk(ctx, s.Nodes, engine.Full) }},
	{name: DiskError, nodes: 3, slot: 4 * time.Second, hold: 0.73, needs: disks, make: func(n *nemesis, ctx context.Context, s Step) fault { return n.failDisk(ctx, s.Nodes, engine.Broken) }},
	{name: Loss, nodes: 2, links: true, make: func(n *nemesis, ctx context.Context, _ Step) fault { return n.loss(ctx) }},
	{name: Jitter, nodes: 2, links: true, make: func(n *nemesis, ctx context.Context, _ Step) fault { return n.jitter(ctx) }},
	{name: Duplicate, nodes: 2, slot: 4 * time.Second, links: true, make: func(n *nemesis, ctx context.Context, _ Step) fault { return n.duplicate(ctx) }},
	{name: Reorder, nodes: 2, slot: 4 * time.Second, links: true, make: func(n *nemesis, ctx context.Context, _ Step) fault { return n.reorder(ctx) }},
	{name: Bandwidth, nodes: 2, links: true, make: func(n *nemesis, ctx context.Context, _ Step) fault { return n.bandwidth(ctx) }},
	{name: Matrix, nodes: 2, links: true, make: func(n *nemesis, ctx context.Context, _ Step) fault { return n.matrix(ctx) }},
	{name: Flood, nodes: 2, slot: 2 * time.Second, needs: doors, make: func(n *nemesis, _ context.Context, s Step) fault { return n.flood(s.Nodes) }},
	{name: Strobe, nodes: 2, on: one, slot: 2 * time.Second, needs: clocks, make: func(n *nemesis, _ context.Context, s Step) fault { return n.strobe(s.Nodes[0]) }},
}

// Names lists the faults. "none" asks for none of them.
var Names = func() (names []string) {
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}()

// kindOf is the fault of a name that is known.
func kindOf(name string) kind {
	return kinds[slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })]
}

// Wipes reports whether a fault takes a disk away, and with it what no other node had.
func Wipes(fault string) bool { return fault == Wipe }

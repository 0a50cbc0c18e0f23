package link

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"

	"github.com/dialkv/dialkv/store"
)

// Incarnation is one run of a node's process.
type Incarnation struct {
	Start uint64 // orders the runs of a node: above that of every run before it
	Run   uint64 // drawn by the process
}

// before is the order of starts. It is the same for all who compare two, so that all
// refuse the same one.
func (i Incarnation) before(o Incarnation) bool {
	return i.Start < o.Start || i.Start == o.Start && i.Run < o.Run
}

// presence is how a process introduces itself beside its node's name: which run of
// which cluster's node it is, and where it can be asked whether it still is there. A
// process that is of no cluster yet has 0 and claims nothing.
type presence struct {
	Incarnation
	cluster uint64
	addr    string
}

// Two processes under one name are only a contradiction within one cluster.
func (p presence) rivals(o presence) bool {
	return p.cluster != 0 && p.cluster == o.cluster && p.Run != o.Run
}

func clusterNumber(name string) uint64 {
	if name == "" {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return h.Sum64()
}

const (
	maxAddr     = 255
	presenceMax = 3*8 + 1 + maxAddr
)

// encode writes cluster, start and run, eight bytes each, then length and bytes of the
// address. An address that is too long is left out: then nobody can ask there.
func (p presence) encode() []byte {
	if len(p.addr) > maxAddr {
		p.addr = ""
	}
	b := make([]byte, 0, presenceMax)
	for _, n := range []uint64{p.cluster, p.Start, p.Run} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return append(append(b, byte(len(p.addr))), p.addr...)
}

// readPresence reads what encode wrote, and not a byte more.
func readPresence(r io.Reader) (presence, error) {
	var head [3*8 + 1]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return presence{}, err
	}
	p := presence{
		cluster:     binary.BigEndian.Uint64(head[:]),
		Incarnation: Incarnation{Start: binary.BigEndian.Uint64(head[8:]), Run: binary.BigEndian.Uint64(head[16:])},
	}
	addr := make([]byte, head[24])
	if _, err := io.ReadFull(r, addr); err != nil {
		return presence{}, err
	}
	p.addr = string(addr)
	return p, nil
}

// Twins are two processes of one node that were both seen to live: one of the two runs
// on a copy of the other's data directory.
type Twins struct {
	Node                  string
	Kept, Refused         Incarnation // the one that was started later is refused
	KeptAddr, RefusedAddr string
}

// error is what the refused one is told.
func (t Twins) error() *store.Error {
	return &store.Error{
		Code: store.AlreadyExists, Op: "start", Node: t.Node,
		Msg: fmt.Sprintf("two processes run as node %s: this one at %s, and one at %s that was started before; one data directory is a copy of the other, and the later process stops",
			t.Node, t.RefusedAddr, t.KeptAddr),
		Try: "a new node with an empty --data directory and an --id that was never used; delete the copy",
	}
}

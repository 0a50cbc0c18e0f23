package link

import (
	"encoding/binary"
	"errors"
)

// What a frame is.
const (
	packetFrame  = iota + 1 // a gossip packet
	segmentFrame            // a piece of a connection, numbered
	ackFrame                // what has arrived of a connection
	resetFrame              // the end of a connection, at once
)

// headLen is what a frame has before its data.
const headLen = 4 + 3*8

// frame is one message of a Carrier. On the wire: kind, flags, what it opens, a zero,
// then stream, seq and ack, eight bytes each, then the data.
type frame struct {
	kind     uint8
	byDialer bool   // it was sent by the end that dialled
	last     bool   // of a segment: nothing follows
	open     uint8  // of segment 0: the Kind of the connection
	stream   uint64 // drawn by the dialer
	seq      uint64 // of a segment: its number in its direction, from 0
	ack      uint64 // the number of the next segment that is waited for
	data     []byte
}

const (
	flagDialer = 1 << iota
	flagLast
)

var errFrame = errors.New("not a frame")

// opens reports whether a frame begins a connection.
func (f frame) opens() bool { return f.kind == segmentFrame && f.seq == 0 }

func (f frame) encode() []byte {
	var flags byte
	if f.byDialer {
		flags |= flagDialer
	}
	if f.last {
		flags |= flagLast
	}
	b := append(make([]byte, 0, headLen+len(f.data)), f.kind, flags, f.open, 0)
	for _, n := range []uint64{f.stream, f.seq, f.ack} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return append(b, f.data...)
}

// openFrame reads what encode wrote. The frame's data is part of b.
func openFrame(b []byte) (frame, error) {
	if len(b) < headLen || len(b) > MaxFrame || b[0] < packetFrame || b[0] > resetFrame || b[1] > flagDialer|flagLast {
		return frame{}, errFrame
	}
	return frame{
		kind: b[0], byDialer: b[1]&flagDialer != 0, last: b[1]&flagLast != 0, open: b[2],
		stream: binary.BigEndian.Uint64(b[4:]), seq: binary.BigEndian.Uint64(b[12:]), ack: binary.BigEndian.Uint64(b[20:]),
		data: b[headLen:],
	}, nil
}

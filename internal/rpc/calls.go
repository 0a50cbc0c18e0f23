package rpc

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/store"
)

// A call between replicas is no gRPC. A strong read waits for one, and what gRPC does
// for each (a stream with its headers, and on both ends goroutines that hand the message
// on) costs more than all the rest of that read. Here a call is a frame on a connection
// that nodes keep for them, and its answer one on the way back, with the same number;
// whoever has a frame writes it. A frame is four bytes of length and a message.

const (
	// maxCalls is how many calls of one connection are served at a time. The next is
	// not read before one of them is done.
	maxCalls = 1024
	// writeWithin is how long a frame may take to leave: who does not read that long
	// will not read the rest.
	writeWithin = time.Second
	frameHead   = 4
)

func writeFrame(conn net.Conn, m proto.Message) error {
	size := proto.Size(m)
	if size > kvpb.MaxMessage {
		return fmt.Errorf("rpc: a frame of %d bytes, the limit is %d", size, kvpb.MaxMessage)
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 0, frameHead+size), uint32(size))
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, m)
	if err != nil {
		return err
	}
	_ = conn.SetWriteDeadline(time.Now().Add(writeWithin)) // a closed one fails below
	_, err = conn.Write(b)
	return err
}

func readFrame(r io.Reader, m proto.Message) error {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > kvpb.MaxMessage {
		return fmt.Errorf("rpc: a frame of %d bytes, the limit is %d", size, kvpb.MaxMessage)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	return proto.Unmarshal(b, m)
}

// ServeCalls answers the calls that other nodes' Pools make, until ctx ends, which is
// nil, or l fails. It returns when nothing is being served any more.
func ServeCalls(ctx context.Context, l net.Listener, cfg Config) error {
	ctx, cancel := context.WithCancel(ctx)
	var served sync.WaitGroup
	defer served.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		served.Go(func() { serveCaller(ctx, conn, cfg) })
	}
}

// counter is where the calls of one connection are answered.
type counter struct {
	cfg  Config
	peer *peer
	conn net.Conn

	mu sync.Mutex // held by whoever writes
}

// serveCaller answers one connection until it ends. It needs no answer to what it was
// asked for last, so it does not wait for that: a call ends with ctx.
func serveCaller(ctx context.Context, conn net.Conn, cfg Config) {
	ctx, cancel := context.WithCancel(ctx)
	c := &counter{cfg: cfg, peer: &peer{node: cfg.Node}, conn: conn}
	var calls sync.WaitGroup
	defer calls.Wait()
	defer cancel()
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	slots := make(chan struct{}, maxCalls)
	in := bufio.NewReader(conn)
	for {
		r := new(kvpb.CallRequest)
		if readFrame(in, r) != nil {
			return // the caller's end is told by its own
		}
		if r.GetId() == 0 {
			c.write(new(kvpb.CallResponse)) // a ping
			continue
		}
		if c.atOnce(ctx, r) {
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		calls.Go(func() {
			defer func() { <-slots }()
			c.answer(ctx, r)
		})
	}
}

// atOnce answers a call that needs no waiting, where it was read. A goroutine of its own
// would wake another processor, which costs more than such a call.
func (c *counter) atOnce(ctx context.Context, r *kvpb.CallRequest) (done bool) {
	defer func() {
		if c.cfg.recovered(ctx, recover(), nil) != nil {
			done = false
		}
	}()
	if r.GetSettled() > 0 {
		return false
	}
	replica, err := c.peer.find(c.conn.RemoteAddr(), r)
	if err != nil {
		return false
	}
	prompt, ok := replica.(Prompt)
	if !ok {
		return false
	}
	ctx = kvpb.FromTrace(ctx, r.GetTrace())
	ctx, traced := c.cfg.begin(ctx, r.GetTrace(), "kv.peer.", "serve")
	payload, ok := prompt.ServeAtOnce(r.GetFrom(), r.GetPayload())
	if !ok {
		return false // and the span is that of another attempt to serve it
	}
	c.traced(traced, r, nil)
	c.write(&kvpb.CallResponse{Node: r.GetTo(), Payload: payload, Id: r.GetId(), Spans: kvpb.ToSpans(ctx, r.GetTrace())})
	return true
}

func (c *counter) answer(ctx context.Context, r *kvpb.CallRequest) {
	if r.GetTimeoutNs() > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, kvpb.AnswerWithin(time.Duration(r.GetTimeoutNs())))
		defer cancel()
	}
	ctx = kvpb.FromTrace(ctx, r.GetTrace())
	ctx, traced := c.cfg.begin(ctx, r.GetTrace(), "kv.peer.", "serve")
	response := &kvpb.CallResponse{Node: r.GetTo()}
	var err error
	if response.Payload, err = c.serve(ctx, r); err != nil {
		response.Error = kvpb.ToError(store.AsError(err))
	}
	c.traced(traced, r, err)
	response.Spans = kvpb.ToSpans(ctx, r.GetTrace())
	if err := kvpb.CheckSize(response); err != nil {
		response = &kvpb.CallResponse{Node: r.GetTo(), Error: kvpb.ToError(store.AsError(err))}
	}
	response.Id = r.GetId()
	c.write(response)
}

func (c *counter) write(response *kvpb.CallResponse) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if writeFrame(c.conn, response) != nil {
		_ = c.conn.Close() // a part of a frame may have left
	}
}

// serve answers one call. A panic ends that one and no other.
func (c *counter) serve(ctx context.Context, r *kvpb.CallRequest) (payload []byte, err error) {
	defer func() { err = c.cfg.recovered(ctx, recover(), err) }()
	replica, err := c.peer.find(c.conn.RemoteAddr(), r)
	if r.GetSettled() > 0 && errors.Is(err, store.Unavailable) {
		return nil, c.none(r, err)
	}
	if err != nil {
		return nil, err
	}
	if r.GetSettled() > 0 {
		return replica.Settled(ctx, r.GetPayload(), time.Duration(r.GetNotedNs()))
	}
	return replica.ServeCall(ctx, r.GetFrom(), r.GetPayload())
}

// none says NotFound where a node without a replica will not come to have one either: it
// has heard of the catalog that the asker knows.
func (c *counter) none(r *kvpb.CallRequest, err error) error {
	t := c.cfg.Node.Topology()
	group := store.GroupID{Keyspace: r.GetKeyspaceId(), Shard: r.GetShard()}
	k, ok := t.KeyspaceByID(group.Keyspace)
	if t.Revision < r.GetSettled() || ok && slices.Contains(k.Members(group.Shard), t.Node) {
		return err
	}
	return &store.Error{Code: store.NotFound, Op: "peer", Group: group, Node: t.Node, Msg: "this node has no replica of group " + group.String()}
}

package nemesis

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// Doors is a cluster to whose nodes anybody can connect.
type Doors interface {
	// Knock connects to where a node takes clients. No fault cuts it.
	Knock(ctx context.Context, name string) (net.Conn, error)
}

const (
	floodSize = 200 // connections of each node
	floodWait = 5 * time.Second
	// hello is what a client of HTTP/2 says first: its preface, and settings of none. A node
	// that has taken the connection answers with its own.
	hello = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
)

// flood opens many connections to some nodes and leaves them open, as clients do that do
// not know how to share one.
func (n *nemesis) flood(nodes []string) fault {
	var taken crowd
	return fault{
		detail: fmt.Sprintf("%d connections to %s", floodSize, strings.Join(nodes, ",")),
		begin: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, floodWait)
			defer cancel()
			var all sync.WaitGroup
			for _, node := range nodes {
				for range floodSize {
					all.Go(func() { taken.add(n.knock(ctx, node)) })
				}
			}
			all.Wait()
			return nil
		},
		effect: func(context.Context) string {
			if len(taken.conns) == 0 {
				return ""
			}
			return fmt.Sprintf("%d of %d connections were taken and answered", len(taken.conns), floodSize*len(nodes))
		},
		heal: func(ctx context.Context) error {
			taken.leave()
			return each(nodes, func(node string) error {
				ctx, cancel := context.WithTimeout(ctx, lookTimeout)
				defer cancel()
				c, err := n.knock(ctx, node)
				if err != nil {
					return unhealed("it takes no connection: " + err.Error())
				}
				_ = c.Close() // whatever it says, it was answered
				return n.ready(ctx, node)
			})
		},
	}
}

// knock returns a connection on which the node has answered.
func (n *nemesis) knock(ctx context.Context, node string) (net.Conn, error) {
	c, err := n.cluster.(Doors).Knock(ctx, node)
	if err != nil {
		return nil, err
	}
	by, _ := ctx.Deadline()
	_ = c.SetDeadline(by) // the answer tells
	if _, err = c.Write([]byte(hello)); err == nil {
		_, err = io.ReadFull(c, make([]byte, 1))
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// crowd is connections that are held open.
type crowd struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (c *crowd) add(conn net.Conn, err error) {
	if err != nil {
		return // refused: how many are not counts
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, conn)
}

func (c *crowd) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

package client

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/store"
)

// A client with Config.At hands every call to the node of that name, whose own
// client makes the attempts. So there is one attempt here, with the whole deadline.

func (k *Keyspace) readAt(ctx context.Context, q store.Query, shard uint32, s *Session) (store.Page, error) {
	tok, err := s.all()
	if err != nil {
		return store.Page{}, k.explainAt("get", err)
	}
	r, response := kvpb.ToQuery(q), &kvpb.ReadResponse{}
	r.Keyspace, r.Shard, r.Token, r.Trace = k.name, shard, tok, k.c.place(ctx)
	if err := k.c.enter(ctx, kvpb.Front_Read_FullMethodName, r, response); err != nil {
		return store.Page{}, k.explainAt("get", asRead(store.AsError(err)))
	}
	kvpb.FromSpans(ctx, response.GetSpans())
	page, err := kvpb.FromPage(response)
	if err == nil {
		err = s.merge(response.GetToken(), tok)
	}
	return page, k.explainAt("get", err)
}

func (k *Keyspace) writeAt(ctx context.Context, c store.Command, shard uint32, s *Session) (store.Result, error) {
	tok, err := s.all()
	if err != nil {
		return store.Result{}, k.explainAt(c.Name(), err)
	}
	r, response := kvpb.ToCommand(c), &kvpb.WriteResponse{}
	r.Keyspace, r.Shard, r.Token, r.Trace = k.name, shard, tok, k.c.place(ctx)
	if err := k.c.enter(ctx, kvpb.Front_Write_FullMethodName, r, response); err != nil {
		return store.Result{}, k.explainAt(c.Name(), err)
	}
	kvpb.FromSpans(ctx, response.GetSpans())
	result, err := kvpb.FromResult(response)
	switch merged := s.merge(response.GetToken(), tok); {
	case merged == nil:
	case err == nil:
		err = &store.Error{Code: store.Unknown, Msg: "the answer's token cannot be read", Cause: merged}
	case answersNo(err):
		err = forgotten(err, merged)
	}
	return result, k.explainAt(c.Name(), err)
}

// enter makes the one attempt, once the node is connected.
func (c *Client) enter(ctx context.Context, method string, request, response proto.Message) error {
	if err := c.locate(ctx); err != nil {
		return err
	}
	at := endpoint{node: c.cfg.At}
	cc, err := c.conns.ready(ctx, at)
	if err != nil {
		return err
	}
	_, err = cc.invoke(ctx, at, method, request, response)
	return err
}

// locate makes sure that the node's address is known.
func (c *Client) locate(ctx context.Context) error {
	if t, _ := c.router.known(); c.knows(t.Cluster) {
		return nil
	}
	if err := c.fetch(ctx, ""); err != nil {
		return err
	}
	if t, _ := c.router.known(); c.knows(t.Cluster) {
		return nil
	}
	return &store.Error{Code: store.Invalid, Node: c.cfg.At, Msg: "the cluster has no node of this name"}
}

func (c *Client) knows(cluster string) bool { return cluster != "" && c.router.addr(c.cfg.At) != "" }

// explainAt fills in what nobody has said.
func (k *Keyspace) explainAt(op string, err error) error {
	if err == nil {
		return nil
	}
	e := *store.AsError(err)
	if e.Op == "" {
		e.Op = op
	}
	if e.Node == "" {
		e.Node = k.c.cfg.At
	}
	return k.explain(&e)
}

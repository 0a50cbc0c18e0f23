package localcluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/internal/telemetry"
	"github.com/dialkv/dialkv/store"
)

// traced is a cluster whose nodes and client keep their spans in one place.
type traced struct {
	*localcluster.Memory
	kept *tracetest.InMemoryExporter
	by   *sdktrace.TracerProvider // the client's
}

func tracedCluster(t *testing.T) traced {
	kept := tracetest.NewInMemoryExporter()
	c := traced{
		memoryOf(t, localcluster.MemoryConfig{Nodes: 3, Spans: sdktrace.NewSimpleSpanProcessor(kept)}),
		kept, sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept)),
	}
	create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp"})
	create(t, c, &kvpb.CreateKeyspaceRequest{Name: "carts", Mode: "ap"})
	return c
}

// open opens a client, of a traced application or of another.
func (c traced) open(t *testing.T, by trace.TracerProvider, change func(*client.Config)) *client.Client {
	t.Helper()
	cfg, err := c.Outside()
	if err != nil {
		t.Fatal(err)
	}
	cfg.TracerProvider = by
	if change != nil {
		change(&cfg)
	}
	cl, err := client.Open(within(t, time.Minute), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cl.Close() })
	return cl
}

// tracesMade waits for what goes on behind the call, and returns the spans that were kept since
// it was called last.
func (c traced) tracesMade() tracetest.SpanStubs {
	time.Sleep(time.Second)
	defer c.kept.Reset()
	return c.kept.GetSpans()
}

// paths are the names from the root to each span, sorted: how the tree looks, whatever the
// order in which the spans ended. All must be in one trace.
func paths(t *testing.T, list tracetest.SpanStubs) []string {
	t.Helper()
	byID := make(map[trace.SpanID]tracetest.SpanStub)
	for _, s := range list {
		if s.SpanContext.TraceID() != list[0].SpanContext.TraceID() {
			t.Errorf("%s is in another trace than %s", s.Name, list[0].Name)
		}
		byID[s.SpanContext.SpanID()] = s
	}
	var out []string
	for _, s := range list {
		path := s.Name
		for s.Parent.IsValid() {
			parent, ok := byID[s.Parent.SpanID()]
			if !ok {
				t.Fatalf("%s has a parent that nobody kept", path)
			}
			s, path = parent, parent.Name+" › "+path
		}
		out = append(out, path)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (c traced) hold(t *testing.T, what string, list tracetest.SpanStubs, want ...string) {
	t.Helper()
	if len(list) == 0 {
		t.Fatalf("%s: no spans", what)
	}
	got := paths(t, list)
	for _, path := range want {
		if !slices.Contains(got, path) {
			t.Errorf("%s: there is no %s among\n%s", what, path, strings.Join(got, "\n"))
		}
	}
}

// notesOf are the events of the spans of a name, with the attributes of the spans.
func notesOf(list tracetest.SpanStubs, name string) (notes []string, attributes map[string]string) {
	attributes = make(map[string]string)
	for _, s := range list {
		if s.Name != name {
			continue
		}
		for _, e := range s.Events {
			notes = append(notes, e.Name)
		}
		for _, a := range s.Attributes {
			attributes[string(a.Key)] = a.Value.String()
		}
	}
	return notes, attributes
}

func TestACallIsOneTreeFromTheClientToThePeers(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := tracedCluster(t)
		cl := c.open(t, c.by, nil)
		orders, ctx := cl.Keyspace("orders"), within(t, time.Minute)

		if _, err := orders.Put(ctx, "k", []byte("a value")); err != nil {
			t.Fatal(err)
		}
		list := c.tracesMade()
		c.hold(t, "put", list, "kv.put", "kv.put › kv.attempt", "kv.put › kv.attempt › kv.node.put")
		notes, at := notesOf(list, "kv.node.put")
		if want := []string{"proposed", "committed", "on the disk of the leader", "applied"}; !slices.Equal(notes, want) {
			t.Errorf("the node of the put has noted %q, want %q", notes, want)
		}
		if at["kv.keyspace"] != "orders" || at["kv.group"] == "" || at["kv.node"] == "" {
			t.Errorf("the put has the attributes %v", at)
		}

		if _, err := orders.Get(ctx, "k"); err != nil {
			t.Fatal(err)
		}
		list = c.tracesMade()
		const node = "kv.get › kv.attempt › kv.node.get"
		c.hold(t, "strong get", list, "kv.get", node,
			node+" › kv.readindex › kv.peer", node+" › kv.readindex › kv.peer › kv.peer.serve")
		if notes, at := notesOf(list, "kv.node.get"); !slices.Equal(notes, []string{"read index confirmed", "applied up to the read index"}) || at["kv.level"] != "strong" {
			t.Errorf("the node of the get has noted %q, %v", notes, at)
		}
		if _, at := notesOf(list, "kv.attempt"); at["kv.attempt"] != "1" || at["kv.address"] == "" || at["kv.op"] != "get" {
			t.Errorf("the attempt has the attributes %v", at)
		}
		if got := fmt.Sprint(list); strings.Contains(got, "a value") {
			t.Errorf("a span holds the value: %s", got)
		}
	})
}

// A follower that must prove how fresh it is asks the leader, and the leader its voters.
func TestAFollowersQuestionIsInTheTree(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := tracedCluster(t)
		ctx := within(t, time.Minute)
		item, err := c.open(t, nil, nil).Keyspace("orders").Get(ctx, "k")
		if err != nil {
			t.Fatal(err)
		}
		follower := "n1"
		if item.Proof.Node == follower {
			follower = "n2"
		}
		near := c.open(t, c.by, func(cfg *client.Config) { cfg.Near = follower }).Keyspace("orders")
		if item, err = near.Get(ctx, "k", client.Bounded(time.Nanosecond)); err != nil || item.Proof.Node != follower {
			t.Fatalf("%s was to answer: %+v, %v", follower, item.Proof, err)
		}
		const asked = "kv.get › kv.attempt › kv.node.get › kv.readindex › kv.peer › kv.peer.serve"
		c.hold(t, "bounded get", c.tracesMade(), asked, asked+" › kv.readindex › kv.peer › kv.peer.serve")
	})
}

func TestQuorumsOfAPKeyspacesAreInTheTree(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := tracedCluster(t)
		carts, ctx := c.open(t, c.by, nil).Keyspace("carts"), within(t, time.Minute)
		if _, err := carts.Put(ctx, "k", []byte("v"), client.WithW(store.WMajority)); err != nil {
			t.Fatal(err)
		}
		if notes, _ := notesOf(c.tracesMade(), "kv.node.put"); !slices.Equal(notes, []string{"held by the node that took it", "acknowledged"}) {
			t.Errorf("the node of the put has noted %q", notes)
		}
		if _, err := carts.Get(ctx, "k", client.At(client.Quorum)); err != nil {
			t.Fatal(err)
		}
		list := c.tracesMade()
		c.hold(t, "quorum get", list, "kv.get › kv.attempt › kv.node.get › kv.quorum › kv.peer › kv.peer.serve")
		if notes, _ := notesOf(list, "kv.node.get"); !slices.Contains(notes, "applied what the session has seen") {
			t.Errorf("the node of the get has noted %q", notes)
		}
	})
}

// A watch is traced until it is established: what it brings after that belongs to no call.
func TestTheBeginningOfAWatchIsInTheTree(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := tracedCluster(t)
		cl, ctx := c.open(t, c.by, nil), within(t, time.Minute)
		for _, keyspace := range []string{"orders", "carts"} {
			watch, err := cl.Keyspace(keyspace).Watch(ctx, store.WatchQuery{All: true})
			if err != nil {
				t.Fatal(err)
			}
			list := c.tracesMade()
			c.hold(t, "watch of "+keyspace, list, "kv.watch", "kv.watch › kv.attempt › kv.node.scan", "kv.watch › kv.attempt › kv.node.watch")
			if _, at := notesOf(list, "kv.node.watch"); at["kv.keyspace"] != keyspace || at["kv.group"] == "" || at["kv.node"] == "" {
				t.Errorf("the node of the watch has the attributes %v", at)
			}
			if _, err := c.open(t, nil, nil).Keyspace(keyspace).Put(ctx, "k", []byte("v")); err != nil {
				t.Fatal(err)
			}
			if _, err := watch.Next(ctx); err != nil {
				t.Fatal(err)
			}
			watch.Close()
			if list := c.tracesMade(); len(list) > 0 {
				t.Errorf("a change of %s made %d spans, the first is %s", keyspace, len(list), list[0].Name)
			}
		}
	})
}

// A node begins no trace, and neither does a client without a TracerProvider, whatever the
// application does beside it.
func TestWhatNobodyTracesMakesNoSpan(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := tracedCluster(t)
		ctx, outer := c.by.Tracer("an application").Start(within(t, time.Minute), "its own")
		defer outer.End()
		plain := c.open(t, nil, nil)
		never := c.open(t, sdktrace.NewTracerProvider(sdktrace.WithSyncer(c.kept), sdktrace.WithSampler(sdktrace.NeverSample())), nil)
		for _, cl := range []*client.Client{plain, c.open(t, nil, func(cfg *client.Config) { cfg.At = "n2" })} {
			if _, err := cl.Keyspace("orders").Put(ctx, "k", []byte("v")); err != nil {
				t.Fatal(err)
			}
			if _, err := cl.Keyspace("carts").Get(ctx, "k"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := never.Keyspace("orders").Get(within(t, time.Minute), "k"); err != nil {
			t.Fatal(err)
		}
		if list := c.tracesMade(); len(list) > 0 {
			t.Errorf("%d spans were made, the first is %s", len(list), list[0].Name)
		}
	})
}

// What enters at a node is served through that node's own client, in the same tree.
func TestACallThatEntersAtANodeIsOneTree(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := tracedCluster(t)
		cl := c.open(t, c.by, func(cfg *client.Config) { cfg.At = "n2" })
		if _, err := cl.Keyspace("orders").Put(within(t, time.Minute), "k", []byte("v")); err != nil {
			t.Fatal(err)
		}
		c.hold(t, "put at n2", c.tracesMade(), "kv.put › kv.front.write › kv.put › kv.attempt › kv.node.put")
	})
}

// Clients in other languages say where they are in a trace as everybody does: in metadata.
func TestAPlainGRPCClientIsTheParentOfTheNodesSpan(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := tracedCluster(t)
		cfg, err := c.Outside()
		if err != nil {
			t.Fatal(err)
		}
		conn, err := kvpb.Dial(cfg.Seeds[0], func(ctx context.Context, addr string) (net.Conn, error) { return cfg.Dial(ctx, "", addr) })
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		const (
			id      = "0af7651916cd43dd8448eb211c80319c"
			sampled = "00-" + id + "-b7ad6b7169203331-01"
			another = "00-" + id + "-00f067aa0ba902b7-01"
		)
		get := func(own *kvpb.Trace, fields ...string) tracetest.SpanStubs {
			ctx := metadata.AppendToOutgoingContext(within(t, time.Minute), fields...)
			r, err := kvpb.NewKVClient(conn).Read(ctx, &kvpb.ReadRequest{Keyspace: "carts", Key: "k", Trace: own})
			if err = errors.Join(err, kvpb.FromStatus(err)); err != nil || r.GetError() != nil || len(r.GetSpans()) > 0 {
				t.Errorf("with %q: %v, %v, %d spans came back", fields, err, r.GetError(), len(r.GetSpans()))
			}
			return c.tracesMade()
		}
		for name, list := range map[string]tracetest.SpanStubs{
			"metadata":              get(nil, "traceparent", sampled, "tracestate", "vendor=1", "tracestate", "other=2"),
			"the field comes first": get(&kvpb.Trace{Parent: sampled}, "traceparent", another),
		} {
			if len(list) != 1 {
				t.Fatalf("%s: %d spans", name, len(list))
			}
			s := list[0]
			if s.Name != "kv.node.get" || s.SpanContext.TraceID().String() != id || s.Parent.SpanID().String() != "b7ad6b7169203331" || !s.Parent.IsRemote() {
				t.Errorf("%s: %s in trace %s below %s", name, s.Name, s.SpanContext.TraceID(), s.Parent.SpanID())
			}
			if state := s.SpanContext.TraceState().String(); name == "metadata" && state != "vendor=1,other=2" {
				t.Errorf("the state is %q", state)
			}
		}
		for name, fields := range map[string][]string{
			"nothing":              nil,
			"it was not sampled":   {"traceparent", strings.TrimSuffix(sampled, "1") + "0"},
			"garbage":              {"traceparent", "00-no-trace-01"},
			"two of them":          {"traceparent", sampled, "traceparent", another},
			"more than is allowed": {"traceparent", sampled + strings.Repeat("-", 200)},
		} {
			if list := get(nil, fields...); len(list) > 0 {
				t.Errorf("%s: %d spans", name, len(list))
			}
		}
		ctx := metadata.AppendToOutgoingContext(within(t, time.Minute), "traceparent", sampled)
		w, err := kvpb.NewFrontClient(conn).Write(ctx, &kvpb.WriteRequest{Keyspace: "orders", Op: kvpb.Op_OP_PUT, Key: "k"})
		if err != nil || w.GetError() != nil {
			t.Fatalf("%v, %v", err, w.GetError())
		}
		front := c.tracesMade()
		if !slices.ContainsFunc(front, func(s tracetest.SpanStub) bool {
			return s.Name == "kv.front.write" && s.Parent.SpanID().String() == "b7ad6b7169203331"
		}) {
			t.Errorf("what enters at a node has %d spans, none below the caller's", len(front))
		}
	})
}

// An echo brings the nodes' spans back to who asks for it, though no node keeps any.
func TestAnEchoBringsTheSpansBack(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 3)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "orders", Mode: "cp"})
		own := telemetry.NewTracing("", nil)
		ctx, echo := spans.WithEcho(spans.WithProvider(within(t, time.Minute), own.Provider()))
		for _, at := range []string{"", "n2"} {
			cl, err := c.Client(ctx, at)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = cl.Keyspace("orders").Get(ctx, "k"); err != nil {
				t.Fatal(err)
			}
			_ = cl.Close()
		}
		at := make(map[string][]string)
		known := make(map[trace.SpanID]bool)
		for _, r := range echo.Records() {
			at[r.Name], known[r.ID] = append(at[r.Name], r.Node), true
		}
		for _, name := range []string{"kv.get", "kv.attempt", "kv.node.get", "kv.readindex", "kv.peer", "kv.peer.serve", "kv.front.read"} {
			if len(at[name]) == 0 {
				t.Errorf("no %s came back; %v did", name, at)
			}
		}
		for _, r := range echo.Records() {
			if r.Parent.IsValid() && !known[r.Parent] {
				t.Errorf("%s of %q has a parent that did not come back", r.Name, r.Node)
			}
			if r.Took < 0 || r.Name == "kv.node.get" && r.Node == "" {
				t.Errorf("%+v", r)
			}
		}
	})
}

// A record of a node that is made for a traced request names the trace.
func TestRecordsOfTracedRequestsNameTheTrace(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(telemetry.Logs(slog.NewTextHandler(&out, nil))).With("node", "n1").WithGroup("g")
	at := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	log.InfoContext(trace.ContextWithSpanContext(context.Background(), at), "traced")
	log.InfoContext(context.Background(), "plain")
	first, second, _ := strings.Cut(out.String(), "\n")
	if !strings.Contains(first, "trace_id="+at.TraceID().String()) || !strings.Contains(first, "span_id="+at.SpanID().String()) {
		t.Errorf("the record is %s", first)
	}
	if strings.Contains(second, "trace_id") {
		t.Errorf("the record of what nobody traces is %s", second)
	}
}

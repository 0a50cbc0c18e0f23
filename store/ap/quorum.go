package ap

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// sight is what one replica shows of a key.
type sight struct {
	vector   causal.Vector
	siblings []causal.Sibling
	deps     token.Deps // what the writes it includes depend on in other groups
}

// reply is a peer's answer to a quorum read.
type reply struct {
	peer string
	sight
	err error
}

// quorumPage serves a get. What a session must remember of it, and the context, are of
// the merged state, which no replica may be in yet.
func (r *Replica) quorumPage(ctx context.Context, v *view, q store.Query, proof *store.Proof) (store.Page, error) {
	siblings, err := v.siblings(q.Key)
	if err != nil {
		return store.Page{}, err
	}
	began := time.Now()
	inner, traced := spans.Below(ctx, "kv.quorum", trace.SpanKindInternal)
	saw, err := r.quorum(inner, q.Key, sight{v.vector, siblings, v.deps})
	spans.End(traced, err)
	if err != nil {
		return store.Page{}, err
	}
	if len(r.placed.Load().counted) > 1 {
		proof.Waited += time.Since(began)
		proof.WaitedFor = "a majority"
	}
	seen := short(saw.vector, v.closures, v.covered) // what v covers, the join does
	proof.Vector = seen.text()
	page := store.Page{Entry: encodeDots(seen.dots(v.closures)), Context: encodeContext(seen, v.closures), Deps: saw.deps.Encode()}
	if alive := causal.Alive(saw.siblings); len(alive) > 0 {
		page.Items = []store.Item{r.shown(q.Key, alive, q.Siblings)}
	}
	return page, nil
}

// quorum adds to the sight of this replica's view that of as many peers as make a
// majority of the members with it. They are asked after the read began, so one of
// them holds what a majority acknowledged before. It changes nothing that the
// replicas hold: a single key written past the stream would come without what it
// depends on. Who lags is caught up by its stream, which is told to hurry.
func (r *Replica) quorum(ctx context.Context, key string, own sight) (sight, error) {
	members := r.placed.Load()
	need := len(members.counted) / 2 // besides this one
	select {
	case <-r.whole:
	case <-r.stopped:
		return sight{}, errStopped
	case <-ctx.Done():
		return sight{}, &store.Error{Code: store.Unavailable, Msg: partText, Try: "another replica", Cause: context.Cause(ctx)}
	}
	if need == 0 {
		return own, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	peers := members.others
	replies := make(chan reply, len(peers))
	question := &logpb.APGetRequest{Key: key, Vector: protoVector(own.vector)}
	for _, peer := range peers {
		go func() { replies <- r.askUntil(ctx, peer, question) }()
	}
	merged := sight{own.vector.Clone(), own.siblings, own.deps}
	silent := slices.Clone(peers)
	for range peers {
		var got reply
		select {
		case got = <-replies:
		case <-r.stopped:
			return sight{}, errStopped
		}
		if got.err != nil {
			return sight{}, r.noMajority(ctx, silent, len(peers)-len(silent)+1, need+1, got.err)
		}
		if !own.vector.Covers(got.vector) {
			r.fresh.hurry(got.peer)
		}
		merged.siblings = causal.Merge(merged.siblings, merged.vector, got.siblings, got.vector)
		merged.vector.Join(got.vector)
		merged.deps = merged.deps.Join(got.deps)
		silent = slices.DeleteFunc(silent, func(p string) bool { return p == got.peer })
		if need--; need == 0 {
			break
		}
	}
	return merged, nil
}

func (r *Replica) noMajority(ctx context.Context, silent []string, heard, needed int, last error) error {
	e := store.Expired(ctx, "a majority of the members")
	e.Msg = fmt.Sprintf("%d of the %d members that make a majority have answered; not heard: %s", heard, needed, strings.Join(silent, ", "))
	e.Cause, e.Try = last, "a node on the majority side, a longer --timeout, or --level causal"
	return e
}

// askPause is how long a peer that could not answer is left alone.
const askPause = 50 * time.Millisecond

// askUntil asks until the peer has answered or ctx ends.
func (r *Replica) askUntil(ctx context.Context, peer string, question *logpb.APGetRequest) reply {
	for {
		saw, err := r.askGet(ctx, peer, question)
		if err == nil {
			return reply{peer, saw, nil}
		}
		select {
		case <-time.After(askPause):
		case <-ctx.Done():
			return reply{peer, sight{}, fmt.Errorf("%s: %w", peer, err)}
		}
	}
}

// ask puts a question to another member.
func (r *Replica) ask(ctx context.Context, peer string, question *logpb.APRequest) (*logpb.APResponse, error) {
	b, err := proto.Marshal(question)
	if err != nil {
		return nil, fmt.Errorf("encode a question: %w", err)
	}
	if b, err = r.cfg.Peers.Call(ctx, peer, b); err != nil {
		return nil, err
	}
	var pb logpb.APResponse
	if err := proto.Unmarshal(b, &pb); err != nil {
		return nil, garbage("the answer to a question: %w", err)
	}
	return &pb, nil
}

func (r *Replica) askGet(ctx context.Context, peer string, question *logpb.APGetRequest) (sight, error) {
	pb, err := r.ask(ctx, peer, &logpb.APRequest{Kind: &logpb.APRequest_Get{Get: question}})
	if err != nil {
		return sight{}, err
	}
	if pb.GetGet() == nil {
		return sight{}, garbage("the answer to a quorum read is something else")
	}
	vector, err := recvVector(pb.GetGet().Vector)
	if err != nil {
		return sight{}, err
	}
	if _, known, _, err := r.views.seen(); err == nil && len(known.Beyond(vector)) > 0 {
		return sight{}, garbage("the answer to a quorum read includes %s, of an actor that was closed before", known.Beyond(vector)[0])
	}
	siblings, err := siblingsOf(pb.GetGet().Siblings)
	if err != nil {
		return sight{}, errGarbage{err}
	}
	if !r.cfg.fits(siblings) {
		return sight{}, garbage("the answer to a quorum read is not of a %v", r.cfg.Policy)
	}
	for _, s := range siblings {
		if !vector.Has(s.Dot) {
			return sight{}, garbage("the answer to a quorum read shows %s, which its vector has not", s.Dot)
		}
	}
	deps, err := token.DecodeDeps(pb.GetGet().Deps)
	if err != nil {
		return sight{}, errGarbage{err}
	}
	return sight{vector, siblings, deps}, nil
}

// ServeCall answers a question of another member.
func (r *Replica) ServeCall(ctx context.Context, from string, payload []byte) ([]byte, error) {
	if !r.placed.Load().isPeer(from) {
		return nil, r.fault(store.Denied, "peer", fmt.Sprintf("%q is not another member of the group", from), "")
	}
	var request logpb.APRequest
	if err := proto.Unmarshal(payload, &request); err != nil || request.Kind == nil {
		return nil, r.fault(store.Invalid, "peer", "a call from "+from+" asks nothing this release knows", "")
	}
	if _, err := r.await(ctx, "peer", need{}); err != nil {
		return nil, err
	}
	answer, err := &logpb.APResponse{}, error(nil)
	if request.GetReport() != nil {
		var said *logpb.APReportResponse
		said, err = r.serveReport()
		answer.Kind = &logpb.APResponse_Report{Report: said}
	} else {
		var got *logpb.APGetResponse
		got, err = r.serveGet(from, request.GetGet())
		answer.Kind = &logpb.APResponse_Get{Get: got}
	}
	if err != nil {
		return nil, r.signed("peer", err)
	}
	b, err := proto.Marshal(answer)
	return b, r.signed("peer", err)
}

// serveGet says what this replica's view shows of a key. A value that the asker's vector
// covers is left away, as the asker has it or has superseded it. An asker that knows more
// than this replica makes it hurry.
func (r *Replica) serveGet(from string, question *logpb.APGetRequest) (*logpb.APGetResponse, error) {
	theirs, err := vectorOf(question.Vector)
	if err != nil {
		return nil, r.fault(store.Invalid, "peer", "a call from "+from+": "+err.Error(), "")
	}
	if err := r.absent("peer"); err != nil {
		return nil, err
	}
	if !r.isWhole() {
		return nil, r.fault(store.Unavailable, "peer", partText, "another replica")
	}
	v, _, err := r.views.acquire()
	if err != nil {
		return nil, err
	}
	defer r.views.release(v)
	if !v.vector.Covers(theirs) {
		r.fresh.hurry(from)
	}
	siblings, err := v.siblings(question.Key)
	if err != nil {
		return nil, unreadable(err)
	}
	for i := range siblings {
		if theirs.Has(siblings[i].Dot) {
			siblings[i].Value = nil
		}
	}
	return &logpb.APGetResponse{Vector: protoVector(v.vector), Siblings: protoSiblings(siblings), Deps: v.others()}, nil
}

package cp

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/store"
)

// Peers carries a call to another replica of the same group. It returns an error
// unless the very node that was asked answered, as a member of the same cluster.
type Peers interface {
	Call(ctx context.Context, to string, payload []byte) ([]byte, error)
}

// waiter is a strong read that waits for the next round.
type waiter struct {
	done chan round // of one
	from *spans.Origin
}

// round is what a read-index round found: every write acknowledged before asked is
// at or below index.
type round struct {
	index uint64
	asked time.Time
	err   error
	from  *spans.Origin // the reader's
}

// readIndex returns a round that began after the call: a state that has applied its
// index holds every write acknowledged before the call. It tries until ctx ends.
func (r *Replica) readIndex(ctx context.Context) (round, error) {
	for {
		changed := r.changed.next()
		out, err := r.oneRound(ctx)
		if err == nil {
			return out, nil
		}
		retry := time.NewTimer(r.cfg.Timing.Heartbeat / 3)
		select {
		case <-changed:
		case <-retry.C:
		case <-r.down:
			retry.Stop()
			return round{}, r.stopping()
		case <-ctx.Done():
			retry.Stop()
			return round{}, unavailable(ctx, err)
		}
		retry.Stop()
	}
}

// unavailable is what a strong read says at its deadline: why the last round failed.
func unavailable(ctx context.Context, last error) *store.Error {
	e := store.Expired(ctx, "a majority to confirm the leader")
	if !errors.Is(last, context.DeadlineExceeded) && !errors.Is(last, context.Canceled) {
		e.Cause = last
	}
	e.Try = "a node on the majority side, a longer --timeout, or --level eventual"
	return e
}

// oneRound joins the next round, which has not noted its index yet.
func (r *Replica) oneRound(ctx context.Context) (round, error) {
	w := &waiter{done: make(chan round, 1), from: spans.From(ctx)}
	select {
	case r.rounds <- w:
	case <-ctx.Done():
		return round{}, store.Expired(ctx, "a read-index round")
	}
	select {
	case out := <-w.done:
		out.from = w.from
		return out, out.err
	case <-r.down:
		return round{}, r.stopping()
	case <-ctx.Done():
		return round{}, store.Expired(ctx, "a read-index round")
	}
}

// runRounds runs one round at a time for all reads that wait when it begins.
func (r *Replica) runRounds(ctx context.Context) {
	for {
		var waiting []*waiter
		select {
		case w := <-r.rounds:
			waiting = append(waiting, w)
		case <-ctx.Done():
			return
		}
		runtime.Gosched() // those who are about to ask come along, where a processor is what they wait for
		for more := true; more; {
			select {
			case w := <-r.rounds:
				waiting = append(waiting, w)
			default:
				more = false
			}
		}
		out := r.askFor(ctx, waiting)
		r.counts.round(len(waiting), out.err)
		for _, w := range waiting {
			w.done <- out
		}
	}
}

// askFor runs a round for those who wait. To a trace it belongs as a whole: it is a span
// below the first reader that is traced, with links to the others.
func (r *Replica) askFor(ctx context.Context, waiting []*waiter) round {
	var first *spans.Origin
	var links []trace.Link
	for _, w := range waiting {
		if first == nil {
			first = w.from
		} else if w.from != nil {
			links = append(links, w.from.Link())
		}
	}
	if first == nil {
		return r.ask(ctx)
	}
	ctx, traced := spans.Below(first.Into(ctx), "kv.readindex", trace.SpanKindInternal, links...)
	out := r.ask(ctx)
	if traced != nil {
		traced.SetAttributes(spans.Group.String(r.cfg.Group.String()), spans.Readers.Int(len(waiting)), spans.Role.String(roleOf(r.raft.Load())))
	}
	spans.End(traced, out.err)
	return out
}

// ask runs one round: at the leader itself, else by asking the leader. It gives up
// when the leader changes, because then somebody else must be asked.
func (r *Replica) ask(ctx context.Context) round {
	ctx, cancel := context.WithTimeout(ctx, 4*r.cfg.Timing.Election)
	defer cancel()
	changed := r.changed.next()
	go func() {
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	}()
	out := round{asked: time.Now()}
	if ra := r.raft.Load(); ra.State() == raft.Leader {
		out.index, out.err = r.confirm(ctx, ra)
	} else {
		out.index, out.err = r.askLeader(ctx, ra)
	}
	return out
}

func (r *Replica) askLeader(ctx context.Context, ra *raft.Raft) (uint64, error) {
	leader := leaderOf(ra)
	if leader == "" || leader == r.cfg.Node {
		return 0, &store.Error{Code: store.Unavailable, Msg: "no leader is known"}
	}
	resp, err := r.call(ctx, leader, &logpb.CPRequest{Kind: &logpb.CPRequest_ReadIndex{ReadIndex: &logpb.ReadIndexRequest{}}})
	if err != nil {
		return 0, err
	}
	if resp.GetReadIndex() == nil {
		return 0, fmt.Errorf("cp: %s answered a read-index question with something else", leader)
	}
	return resp.GetReadIndex().Index, nil
}

// confirm proves that no other leader can have committed anything before it began:
// a majority of voters, asked now, are at no later term. Noting the commit index
// before asking makes it at least as high as anything acknowledged before.
//
// A voter raises its term on disk before it votes, so a later leader's majority
// would share a voter with ours. Replies to earlier requests and votes of
// non-voters prove nothing and are not counted; raft's VerifyLeader counts both.
func (r *Replica) confirm(ctx context.Context, ra *raft.Raft) (uint64, error) {
	term := ra.CurrentTerm()
	opened, err := r.wait(ctx, func(v *view) bool { return v.term == term || ra.CurrentTerm() != term || mutant.M31 })
	if err != nil {
		return 0, err
	}
	opened.Close()
	index := ra.CommitIndex()
	switch {
	case mutant.M2:
		return index, nil
	case mutant.M24:
		return index, r.verifyLeader(ctx, ra)
	}
	conf := ra.GetConfiguration().Configuration()
	question := &logpb.TermRequest{Round: r.roundNumber.Add(1)}
	if err := r.askVoters(ctx, conf, term, question); err != nil {
		return 0, err
	}
	if ra.State() != raft.Leader || ra.CurrentTerm() != term || !slices.Equal(ra.GetConfiguration().Configuration().Servers, conf.Servers) {
		return 0, &store.Error{Code: store.Unavailable, Msg: "leadership or membership changed during the round"}
	}
	return index, nil
}

// verifyLeader is mutant M24: raft's own check, which also counts the replies to
// requests that it had sent before.
func (r *Replica) verifyLeader(ctx context.Context, ra *raft.Raft) error {
	verified := make(chan error, 1)
	go func() { verified <- ra.VerifyLeader().Error() }()
	select {
	case err := <-verified:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *Replica) call(ctx context.Context, to string, req *logpb.CPRequest) (*logpb.CPResponse, error) {
	req.Lineage = lineage{r.machine}.own()
	b, err := r.cfg.Peers.Call(ctx, to, encode(req))
	if err != nil {
		return nil, err
	}
	resp := new(logpb.CPResponse)
	if err := proto.Unmarshal(b, resp); err != nil {
		return nil, fmt.Errorf("cp: answer of %s: %w", to, err)
	}
	return resp, nil
}

// firstTerm is the term that bootstrap writes, before any election. A replica that is
// still at it has voted for nobody, or has lost its disk since: it knows nothing that
// speaks for a leader.
const firstTerm = 1

// ServeCall answers another replica of the group. A replica that is not running,
// or is not a voter, answers with an error, never with a term.
func (r *Replica) ServeCall(ctx context.Context, from string, payload []byte) ([]byte, error) {
	req := new(logpb.CPRequest)
	if err := proto.Unmarshal(payload, req); err != nil {
		return nil, &store.Error{Code: store.Invalid, Group: r.cfg.Group, Node: r.cfg.Node, Msg: "a peer call from " + from + " cannot be decoded", Cause: err}
	}
	ra, err := r.up(ctx)
	if err != nil {
		return nil, r.at(err, "peer")
	}
	if !r.readers.enter() {
		return nil, r.at(r.stopping(), "peer")
	}
	defer r.readers.leave()
	if own := (lineage{r.machine}); !own.admits(req.Lineage) {
		return nil, r.at(&store.Error{Code: store.Denied, Msg: fmt.Sprintf("%s is of lineage %d of the group, this node of %d", from, req.Lineage, own.own())}, "peer")
	}
	resp, err := r.serve(ctx, ra, req)
	if err != nil {
		return nil, r.at(err, "peer")
	}
	return encode(resp), nil
}

// ServeAtOnce answers a question for the term of a replica that runs. All else may have
// to wait, or is an error, and is left to ServeCall.
func (r *Replica) ServeAtOnce(_ string, payload []byte) (answer []byte, ok bool) {
	select {
	case <-r.running:
	default:
		return nil, false
	}
	req := new(logpb.CPRequest)
	if err := proto.Unmarshal(payload, req); err != nil || req.GetTerm() == nil || !r.readers.enter() {
		return nil, false
	}
	defer r.readers.leave()
	if !(lineage{r.machine}).admits(req.Lineage) {
		return nil, false
	}
	resp, err := r.ownTerm(r.raft.Load(), req.GetTerm())
	if err != nil {
		return nil, false
	}
	return encode(resp), true
}

// ownTerm says at which term this replica is, if it votes.
func (r *Replica) ownTerm(ra *raft.Raft, asked *logpb.TermRequest) (*logpb.CPResponse, error) {
	term := ra.CurrentTerm()
	if term <= firstTerm || ra.State() == raft.Shutdown || !votes(ra, r.cfg.Node) && !mutant.M23 {
		return nil, &store.Error{Code: store.Unavailable, Msg: "this replica is not a running voter"}
	}
	return &logpb.CPResponse{Kind: &logpb.CPResponse_Term{Term: &logpb.TermResponse{Round: asked.Round, Term: term}}}, nil
}

func (r *Replica) serve(ctx context.Context, ra *raft.Raft, req *logpb.CPRequest) (*logpb.CPResponse, error) {
	switch kind := req.Kind.(type) {
	case *logpb.CPRequest_Term:
		return r.ownTerm(ra, kind.Term)
	case *logpb.CPRequest_ReadIndex:
		if ra.State() != raft.Leader {
			return nil, &store.Error{Code: store.NotLeader, Leader: leaderOf(ra)}
		}
		out, err := r.oneRound(ctx)
		if err != nil {
			return nil, err
		}
		return &logpb.CPResponse{Kind: &logpb.CPResponse_ReadIndex{ReadIndex: &logpb.ReadIndexResponse{Index: out.index, Term: ra.CurrentTerm()}}}, nil
	case *logpb.CPRequest_Applied:
		v, err := r.wait(ctx, func(v *view) bool { return v.index >= kind.Applied.Index })
		if err != nil {
			return nil, err
		}
		defer v.Close()
		if kind.Applied.Synced {
			if err := r.cfg.Engine.Sync(); err != nil {
				return nil, err
			}
		}
		return &logpb.CPResponse{Kind: &logpb.CPResponse_Applied{Applied: &logpb.AppliedResponse{Index: v.index, Term: ra.CurrentTerm()}}}, nil
	}
	return nil, &store.Error{Code: store.Invalid, Msg: "the peer call asks nothing this release knows"}
}

func votes(ra *raft.Raft, node string) bool {
	for _, s := range ra.GetConfiguration().Configuration().Servers {
		if string(s.ID) == node {
			return s.Suffrage == raft.Voter
		}
	}
	return false
}

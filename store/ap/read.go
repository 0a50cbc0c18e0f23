package ap

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// Read serves q from one view, which covers q.After unless the level is eventual:
//
//	eventual                             that of the last commit
//	monotonic, read-your-writes, causal  the first that covers q.After
//	bounded                              the first that is proved to be young enough
//	quorum                               merged with what a majority shows of the key
//
// There is nobody to ask for strong. At the deadline a bounded read is TooStale, a
// quorum read Unavailable, and a session's whose writes have not come
// SessionUnreachable. A later page of a scan comes from the view of the first and waits
// for nothing.
func (r *Replica) Read(ctx context.Context, q store.Query) (store.Page, error) {
	op := "get"
	if q.Scan() {
		op = "scan"
	}
	taken := time.Now()
	needed, err := r.needs(q)
	if err = cmp.Or(err, r.absent(op)); err != nil {
		return store.Page{}, r.signed(op, err)
	}
	if q.Page != "" {
		page, err := r.nextPage(ctx, q, taken)
		return page, r.signed(op, unreadable(err))
	}
	waited, err := r.await(ctx, op, needed)
	if err != nil {
		return store.Page{}, err
	}
	if !needed.empty() {
		spans.From(ctx).Note("applied what the session has seen")
	}
	proof := r.proof("", waited, !needed.empty())
	if q.Level == store.Bounded {
		if err := r.provedWithin(ctx, taken, q.Bound, &proof); err != nil {
			return store.Page{}, r.signed(op, err)
		}
	}
	// The proof comes before the view: a later one may be of a later view.
	if vector, _, err := r.views.peek(); err == nil {
		proof.Staleness, proof.Fresh = r.fresh.age(taken, vector)
	}
	v, _, err := r.views.acquire()
	if err != nil {
		return store.Page{}, r.signed(op, err)
	}
	defer r.views.release(v)
	proof.Vector, proof.Asked = v.text(), q.Level.Or(store.AP)
	proof.Served = proof.Asked
	page, more, err := r.answer(ctx, v, q, &proof)
	if err != nil {
		return store.Page{}, r.signed(op, unreadable(err))
	}
	page.Proof = proof
	if more != "" {
		page.Next = r.keep(v, q, more, page.Proof, taken)
	}
	return page, nil
}

// answer reads what q asks for from the view and, for quorum, from peers. more is the
// key at which the next page of a scan begins, "" if there is none.
func (r *Replica) answer(ctx context.Context, v *view, q store.Query, proof *store.Proof) (page store.Page, more string, err error) {
	if q.Level == store.Quorum {
		page, err = r.quorumPage(ctx, v, q, proof)
		return page, "", err
	}
	page, more, err = r.page(ctx, v, q)
	v.sign(&page, len(page.Items) > 0 || q.Scan())
	if mutant.M35 && r.cfg.Policy == store.LWW && !q.Scan() {
		siblings, _ := v.siblings(q.Key)
		if winner, ok := causal.Winner(siblings); ok {
			page.Context = encodeDots(causal.Of(winner.Dot).Dots())
		}
	}
	return page, more, err
}

// needs returns what the view must cover to serve q, or why q is refused.
func (r *Replica) needs(q store.Query) (need, error) {
	if err := q.Check(); err != nil {
		return need{}, err
	}
	if q.Leases {
		return need{}, noLease()
	}
	switch q.Level.Or(store.AP) {
	case store.Eventual:
		return need{}, nil
	case store.Quorum:
		if q.Scan() {
			return need{}, &store.Error{
				Code: store.LevelUnsupported, Msg: "an ap keyspace is not scanned at level quorum: replicas at different vectors have no page in common",
				Try: "a get, or a scan with --level bounded:2s or causal",
			}
		}
		fallthrough
	case store.Bounded, store.Monotonic, store.ReadYourWrites, store.Causal:
		if mutant.M10 {
			return need{}, nil
		}
		return decodeNeed(q.After)
	case store.Strong:
		return need{}, &store.Error{
			Code: store.LevelUnsupported, Msg: "an ap keyspace has no strong reads: every side of a cut takes writes",
			Try: "--level causal, or a cp keyspace",
		}
	}
	return need{}, &store.Error{Code: store.Invalid, Msg: q.Level.String() + " is not known", Try: "eventual, bounded, monotonic, read-your-writes, causal or quorum"}
}

// unreadable classifies what reading a view can bring.
func unreadable(err error) error {
	if err == nil {
		return nil
	}
	if e := store.AsError(err); e.Code != store.Unknown {
		return e
	}
	return &store.Error{Code: store.Unavailable, Msg: "the storage cannot be read", Cause: err}
}

// proof is what an answer of this replica is worth, but for its freshness.
func (r *Replica) proof(vector string, waited time.Duration, session bool) store.Proof {
	p := store.Proof{Node: r.cfg.Node, Group: r.cfg.Group, Role: role, Vector: vector}
	if session {
		p.Waited, p.WaitedFor = waited, "session"
	}
	return p
}

// vector is the published vector for people, "" if there is none any more.
func (r *Replica) vector() string {
	v, _, err := r.views.acquire()
	if err != nil {
		return ""
	}
	defer r.views.release(v)
	return v.text()
}

// page is the first page of a scan, or the one key of a get.
func (r *Replica) page(ctx context.Context, v *view, q store.Query) (page store.Page, more string, err error) {
	if q.Scan() {
		return r.scan(ctx, v, q, spanOf(q))
	}
	siblings, err := v.siblings(q.Key)
	siblings = r.alive(siblings)
	if err != nil || len(siblings) == 0 {
		return store.Page{}, "", err
	}
	return store.Page{Items: []store.Item{r.shown(q.Key, siblings, q.Siblings)}}, "", nil
}

// item reads a row of the view. A counter that was deleted is not found.
func (r *Replica) item(key string, row []byte, dots bool) (item store.Item, found bool, err error) {
	siblings, err := decodeSiblings(row)
	if err != nil {
		return store.Item{}, false, fmt.Errorf("key %q: %w", key, err)
	}
	siblings = r.alive(siblings)
	return r.shown(key, siblings, dots), len(siblings) > 0, nil
}

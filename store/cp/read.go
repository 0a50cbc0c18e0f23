package cp

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/mutant"
	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// Read serves q from one consistent view of the state.
//
//	strong, quorum    the view holds all that a read index names, which the leader
//	                  noted after the read began and a majority of voters confirmed
//	bounded           the same of a read index asked for no longer than the bound
//	                  before the read began; if the replica has none, it asks now
//	session's levels  the view covers q.After
//	eventual          the view is the latest here; q.After is not looked at
//
// Every level but eventual covers q.After. A replica that has not caught up since it
// joined serves nothing that it has not proved. A later page of a scan comes from the
// view of the first and waits for nothing.
//
// At the deadline a strong read is Unavailable, a bounded one TooStale, a session's
// SessionUnreachable. No read is ever answered below its level.
func (r *Replica) Read(ctx context.Context, q store.Query) (store.Page, error) {
	op := "get"
	if q.Scan() {
		op = "scan"
	}
	page, err := r.read(ctx, q)
	if err != nil {
		return store.Page{}, r.at(err, op)
	}
	return page, nil
}

func (r *Replica) read(ctx context.Context, q store.Query) (store.Page, error) {
	if err := q.Check(); err != nil {
		return store.Page{}, err
	}
	ra, err := r.up(ctx)
	if err != nil {
		return store.Page{}, err
	}
	if !r.readers.enter() {
		return store.Page{}, r.stopping()
	}
	defer r.readers.leave()
	began := time.Now()
	var b basis
	var page store.Page
	switch {
	case q.Page != "":
		b, page, err = r.nextPage(ctx, q)
	case q.Scan():
		b, page, err = r.firstPage(ctx, q, began)
	default:
		b, page, err = r.get(ctx, q, began)
	}
	if err != nil {
		return store.Page{}, err
	}
	page.Revision, page.Entry = b.view.revision, entryOf(b.view.epoch, b.view.revision)
	page.Deps = b.view.told(len(page.Items) > 0 || q.Scan())
	page.Proof = r.proofOf(ra)
	b.describe(&page.Proof, began)
	return page, nil
}

func (r *Replica) get(ctx context.Context, q store.Query, began time.Time) (basis, store.Page, error) {
	b, err := r.basisFor(ctx, q, began)
	if err != nil {
		return b, store.Page{}, err
	}
	defer b.view.Close()
	rec, err := b.view.record(q.Key)
	if err != nil || rec == nil {
		return b, store.Page{}, err
	}
	return b, store.Page{Items: []store.Item{itemOf(q, q.Key, rec)}}, nil
}

// basis is what a read is served from: a view, and what it is worth.
type basis struct {
	view          *view // retained for the reader, who closes it
	asked, served store.Level
	waited        time.Duration
	waitedFor     string     // "" if for nothing
	proved        *time.Time // when the proof that the view is fresh was asked for; nil: there is none
}

// describe says in a proof what the basis is worth to a read that began then.
func (b *basis) describe(p *store.Proof, began time.Time) {
	p.Asked, p.Served = b.asked, b.served
	p.Waited, p.WaitedFor = b.waited, b.waitedFor
	if b.proved != nil {
		p.Fresh, p.Staleness = true, max(0, began.Sub(*b.proved))
	}
}

// basisFor waits for what the query's level asks.
func (r *Replica) basisFor(ctx context.Context, q store.Query, began time.Time) (basis, error) {
	level := q.Level.Or(store.CP)
	// The proof is taken before the view: a later one may be of a later view.
	b := basis{asked: level, served: level, proved: r.proof.Load()}
	var after seen
	var err error
	if level != store.Eventual && !mutant.M10 {
		if after, err = seenIn(q.After); err != nil {
			return b, err
		}
	}
	switch {
	case (level == store.Strong || level == store.Quorum) && !mutant.M1:
		b.served = store.Strong
		err = r.strong(ctx, &b, after)
	case level == store.Bounded:
		err = r.bounded(ctx, &b, q.Bound, began, after)
	case !r.caughtUp.happened():
		err = &store.Error{Code: store.Unavailable, Msg: "this replica has not caught up since it joined"}
	default:
		err = r.covering(ctx, &b, after)
	}
	if err != nil {
		return b, err
	}
	if b.waitedFor != "" {
		b.waited = time.Since(began)
	}
	if err := after.check(b.view); err != nil {
		b.view.Close()
		return b, err
	}
	return b, nil
}

// strong waits for a view that has a read index noted after this call.
func (r *Replica) strong(ctx context.Context, b *basis, after seen) error {
	round, err := r.readIndex(ctx)
	if err != nil {
		return err
	}
	if round.from != nil {
		round.from.Note("read index confirmed", spans.Index.Int64(int64(round.index)))
	}
	b.waitedFor = "read index"
	b.view, err = r.wait(ctx, func(v *view) bool { return (v.index >= round.index || mutant.M3) && after.met(v) })
	if err != nil {
		return expired(ctx, err, store.Expired(ctx, fmt.Sprintf("log entry %d and %v to be applied", round.index, after)))
	}
	round.from.Note("applied up to the read index")
	r.fresh(round.asked)
	b.proved = &round.asked
	return nil
}

// covering waits for a view that has what the session has seen.
func (r *Replica) covering(ctx context.Context, b *basis, after seen) (err error) {
	if after.revision > 0 {
		b.waitedFor = "session"
	}
	b.view, err = r.wait(ctx, after.met)
	if err != nil {
		return expired(ctx, err, &store.Error{
			Code: store.SessionUnreachable, Cause: context.Cause(ctx),
			Msg: fmt.Sprintf("the session has seen %v, which is not here", after),
			Try: "another node, or a longer --timeout",
		})
	}
	if after.revision > 0 {
		spans.From(ctx).Note("applied what the session has seen")
	}
	return nil
}

// expired is what a wait that failed with err is called if it was for its deadline.
func expired(ctx context.Context, err error, deadline *store.Error) error {
	if ctx.Err() == nil {
		return err
	}
	return deadline
}

// seen is what a session has seen of the group: a revision of an epoch. The zero
// value is nothing.
type seen struct{ epoch, revision uint64 }

// seenIn reads a session's entry. A session that has seen two epochs is of the older.
func seenIn(e store.Entry) (seen, error) {
	components, err := token.DecodeEntry(e)
	if err != nil || len(components) == 0 {
		return seen{}, err
	}
	for _, c := range components {
		if c.ID >= token.MaxEpoch {
			return seen{}, &store.Error{Code: store.TokenMismatch, Msg: "the session's entry for this group is not of a cp keyspace", Try: "a new session"}
		}
	}
	if len(components) > 1 {
		return seen{}, anotherEpoch(components[0].ID, components[len(components)-1].ID)
	}
	return seen{components[0].ID, components[0].N}, nil
}

func anotherEpoch(from, to uint64) *store.Error {
	return &store.Error{
		Code: store.TokenMismatch,
		Msg:  fmt.Sprintf("the group was restored since the session saw it: the session is of epoch %d, the group in %d", from, to),
		Try:  "a new session",
	}
}

// met reports whether there is nothing more to wait for: the view has all that was
// seen, or never will.
func (s seen) met(v *view) bool {
	return s.revision == 0 || v.epoch > s.epoch || v.epoch == s.epoch && v.revision >= s.revision
}

// check refuses what was seen before the group was restored.
func (s seen) check(v *view) error {
	if s.revision > 0 && v.epoch > s.epoch {
		return anotherEpoch(s.epoch, v.epoch)
	}
	return nil
}

func (s seen) String() string {
	if s.epoch == 0 {
		return fmt.Sprintf("revision %d", s.revision)
	}
	return fmt.Sprintf("revision %d of epoch %d", s.revision, s.epoch)
}

// wait returns the first view that is good enough, retained for the caller.
func (r *Replica) wait(ctx context.Context, good func(*view) bool) (*view, error) {
	for {
		v := r.machine.views.Load()
		if v == nil {
			return nil, r.stopping()
		}
		if good(v) {
			if v.Retain() {
				return v, nil
			}
			continue // replaced meanwhile
		}
		select {
		case <-v.next:
		case <-ctx.Done():
			return nil, store.Expired(ctx, "the state")
		}
	}
}

// Changed returns the revision of the state as soon as it is above since and the
// replica has caught up. It is how a node follows its own copy of the catalog.
func (r *Replica) Changed(ctx context.Context, since uint64) (uint64, error) {
	if _, err := r.up(ctx); err != nil {
		return 0, r.at(err, "watch")
	}
	if !r.readers.enter() {
		return 0, r.at(r.stopping(), "watch")
	}
	defer r.readers.leave()
	select {
	case <-r.caughtUp.ch:
	case <-r.down:
		return 0, r.at(r.stopping(), "watch")
	case <-ctx.Done():
		return 0, r.at(store.Expired(ctx, "the replica to catch up"), "watch")
	}
	v, err := r.wait(ctx, func(v *view) bool { return v.revision > since })
	if err != nil {
		return 0, r.at(err, "watch")
	}
	defer v.Close()
	return v.revision, nil
}

func (r *Replica) proofOf(ra *raft.Raft) store.Proof {
	return store.Proof{Node: r.cfg.Node, Group: r.cfg.Group, Role: roleOf(ra), Term: ra.CurrentTerm()}
}

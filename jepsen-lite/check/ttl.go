package check

import (
	"math"
	"slices"
	"time"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// ttlSlack is how long behind its time an expired key may still be there: an expiry is
// proposed, committed and applied like a write, by a leader that may be new.
const ttlSlack = 10 * time.Second

const never = time.Duration(math.MaxInt64)

func (r *record) expires() bool {
	return r.any(func(op *history.Op) bool { return op.TTL > 0 })
}

// life is one write of a key that ends.
type life struct {
	op      *history.Op
	ends    time.Duration // not before this; never without a TTL
	ttl     time.Duration
	deletes bool
	kept    []*history.Op // who gave its lease another TTL
	revoked []*history.Op // who ended its lease
}

// endsFor is when it may end for somebody who was called after those answered who kept
// it alive.
func (l *life) endsFor(a *act) time.Duration {
	ends := l.ends
	for _, op := range l.kept {
		if op.OK() && op.End < a.call {
			ends = max(ends, op.Start+l.ttl)
		}
	}
	for _, op := range l.revoked {
		if op.Begin < a.ret {
			return 0
		}
	}
	return ends
}

// ttl judges keys that end. A TTL is counted from the moment before the call was sent,
// on the clock of the record, so that an absence seen before its end is too early
// whatever clocks the nodes have. That a key goes is judged once no fault was in force
// for two TTLs and a slack: a new leader may give a lease its whole TTL again.
func ttl(r *record) Result {
	var c Compared
	gone := 0
	for _, k := range r.touched {
		lives := r.lives(k)
		if len(lives) == 0 {
			continue
		}
		absent := int64(math.MaxInt64) // when the key was first seen to have gone
		for i := range r.acts[k] {
			a := &r.acts[k][i]
			if !a.reads || a.writes {
				continue
			}
			c.Ops++
			v, ended := r.livesOn(a, lives), false
			if a.absent {
				v, ended = r.tooEarly(k, a, lives)
			}
			if v != nil {
				return withCompared(v.result("lives"), c)
			}
			if ended {
				gone++
				absent = min(absent, a.ret)
			}
		}
		if v := r.returned(k, lives); v != nil {
			return withCompared(v.result("lives"), c)
		}
		if v := r.leftOver(k, lives); v != nil {
			return withCompared(v.result("dumps"), c)
		}
	}
	more, v, err := r.ttlAP(&c)
	switch {
	case err != nil:
		return Result{Verdict: Unknown, Compared: c, Sentence: err.Error()}
	case v != nil:
		return withCompared(v.result("lives"), c)
	}
	return endings(c, gone+more)
}

// lives are the writes of a key, if one of them has a TTL.
func (r *record) lives(k ref) []life {
	var out []life
	ends := false
	for i := range r.acts[k] {
		a := &r.acts[k][i]
		if !a.writes || a.deletes && a.op.Kind == history.Put {
			continue // not the end of a life itself
		}
		l := life{op: a.op, ends: never, ttl: time.Duration(a.op.TTL) * time.Millisecond, deletes: a.deletes}
		if l.ttl > 0 {
			l.ends, ends = a.op.Start+l.ttl, true
			l.kept, l.revoked = r.leaseCalls(a.op)
		}
		out = append(out, l)
	}
	if !ends {
		return nil
	}
	return out
}

// leaseCalls finds the calls of the lease that a put made.
func (r *record) leaseCalls(put *history.Op) (kept, revoked []*history.Op) {
	for _, op := range r.leases[put.Keyspace] {
		switch {
		case op.Failed() || put.Answer.Lease == 0 || op.Call.Lease != put.Answer.Lease:
		case op.Kind == history.KeepAlive:
			kept = append(kept, op)
		case op.Kind == history.Revoke:
			revoked = append(revoked, op)
		}
	}
	return kept, revoked
}

// tooEarly judges a read that found nothing. Every write that can have been the last
// one before it must still live; ended says that one can have ended.
func (r *record) tooEarly(k ref, a *act, lives []life) (v *violation, ended bool) {
	var last *life
	for i := range lives {
		l := &lives[i]
		if l.op.Begin > a.ret || r.covered(l, lives, a) {
			continue
		}
		if l.deletes || l.endsFor(a) <= a.op.Stop {
			return nil, !l.deletes
		}
		if l.op.OK() && l.op.End < a.call {
			last = l
		}
	}
	if last == nil {
		return nil, false // nobody had certainly written it
	}
	return broken([]*history.Op{last.op, a.op}, "%s at %s found nothing of %s; %s was put at %s for %v, and that is not over at %s",
		a.op.Kind, at(a.op.Start), k, show(last.op.Call.Value), at(last.op.Start), last.ttl, at(a.op.Stop)), false
}

// covered reports whether another write certainly came between l and the read.
func (r *record) covered(l *life, lives []life, a *act) bool {
	if !l.op.OK() {
		return false
	}
	for _, m := range lives {
		if m.op.OK() && m.op.Begin > l.op.End && m.op.End < a.call {
			return true
		}
	}
	return false
}

// livesOn judges a read that found a value: its life must not be long over in quiet.
func (r *record) livesOn(a *act, lives []life) *violation {
	for _, l := range lives {
		if l.op.Call.Value != a.seen || l.ttl == 0 {
			continue
		}
		if by := r.over(l, a.call); a.op.Start > by {
			return broken([]*history.Op{l.op, a.op}, "%s at %s found %s, put at %s for %v, and no fault had been in force since %s",
				a.op.Kind, at(a.op.Start), show(a.seen), at(l.op.Start), l.ttl, at(by-2*l.ttl-ttlSlack))
		}
	}
	return nil
}

// over is when a life must be over, looking from seq: never while a fault is in force.
func (r *record) over(l life, seq int64) time.Duration {
	quiet := l.op.Stop
	for _, op := range append(slices.Clone(l.kept), l.op) {
		if op.End == history.Open {
			return never
		}
		quiet = max(quiet, op.Stop)
	}
	for _, w := range r.h.Faults {
		if w.Begin < seq {
			if w.End > seq {
				return never
			}
			quiet = max(quiet, w.Stop)
		}
	}
	return quiet + 2*l.ttl + ttlSlack
}

// returned finds a value that was read after it had been seen to have gone.
func (r *record) returned(k ref, lives []life) *violation {
	written := map[string]int64{} // when a value was certainly there
	for _, l := range lives {
		if l.op.OK() {
			written[l.op.Call.Value] = l.op.End
		}
	}
	for _, l := range lives {
		value, since := l.op.Call.Value, written[l.op.Call.Value]
		var ended *act
		for i := range r.acts[k] {
			a := &r.acts[k][i]
			if !a.reads || a.writes {
				continue
			}
			if a.absent && since > 0 && a.call > since && (ended == nil || a.ret < ended.ret) {
				ended = a
			}
		}
		if ended == nil || l.deletes {
			continue
		}
		for i := range r.acts[k] {
			if a := &r.acts[k][i]; a.reads && !a.absent && a.seen == value && a.call > ended.ret {
				return broken([]*history.Op{l.op, ended.op, a.op}, "%s at %s found %s of %s again, which had gone at %s", a.op.Kind, at(a.op.Start), show(value), k, at(ended.op.Stop))
			}
		}
	}
	return nil
}

// leftOver finds a value that a replica still holds long after its life.
func (r *record) leftOver(k ref, lives []life) *violation {
	when := map[int64]time.Duration{}
	for i := range r.h.Events {
		when[r.h.Events[i].Seq] = r.h.Events[i].T
	}
	for _, rep := range r.h.Replicas {
		if rep.Keyspace != k.keyspace {
			continue
		}
		for _, d := range rep.Keys {
			if d.Key != k.key || len(held(&d)) == 0 {
				continue
			}
			value := held(&d)[0]
			for _, l := range lives {
				if l.op.Call.Value == value && l.ttl > 0 && when[rep.Seq] > r.over(l, rep.Seq) {
					return broken([]*history.Op{l.op}, "after the heal %s still holds %s of %s, put at %s for %v", show(rep.Node), show(value), k, at(l.op.Start), l.ttl)
				}
			}
		}
	}
	return nil
}

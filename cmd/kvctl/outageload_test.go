package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// loadPace is how often a caller begins a call, if the one before has ended.
const loadPace = 20 * time.Millisecond

// outageLoad is callers of one client, as an application has it, who go on whatever
// becomes of the cluster. Each has a key, which only one of them writes: so it is known
// what every answer may be.
type outageLoad struct {
	b      *testing.B
	client *client.Client
	cp, ap *client.Keyspace
	flows  []*flow
	stop   context.CancelFunc
	all    sync.WaitGroup

	calls, retries, dials atomic.Int64
}

// counted is a key whose value is a number that grows. The answer to a call is between
// what was acknowledged before it began and what was asked for before it ended.
type counted struct {
	name         string
	acked, asked atomic.Int64
}

// flow is what became of the calls of one kind.
type flow struct {
	name string
	mu   sync.Mutex
	done []ending
}

type ending struct {
	began, ended time.Time
	outcome      store.Outcome
}

// begin begins with so many callers of each kind.
func (l *outageLoad) begin(b *testing.B, c *client.Client, callers int) {
	l.b, l.client, l.cp, l.ap = b, c, c.Keyspace("orders"), c.Keyspace("carts")
	ctx, stop := context.WithCancel(b.Context())
	l.stop = stop
	kinds := []struct {
		name string
		do   func(k *counted) func(context.Context) error
	}{
		{"cp write", l.increments}, {"cp strong", l.strong}, {"cp causal", l.reads(l.cp, client.Causal)}, {"cp eventual", l.reads(l.cp, client.Eventual)},
		{"ap write", l.puts}, {"ap new", l.anew}, {"ap causal", l.reads(l.ap, client.Causal)}, {"ap eventual", l.reads(l.ap, client.Eventual)},
	}
	orders, carts := make([]counted, callers), make([]counted, callers)
	for _, kind := range kinds {
		f := &flow{name: kind.name}
		l.flows = append(l.flows, f)
		keys := orders
		if kind.name[:2] == "ap" {
			keys = carts
		}
		for i := range keys {
			keys[i].name = fmt.Sprintf("key-%d", i)
			l.all.Go(func() { f.run(ctx, kind.do(&keys[i])) })
		}
	}
	b.Cleanup(func() { l.end(orders) })
}

func (f *flow) run(ctx context.Context, do func(context.Context) error) {
	tick := time.NewTicker(loadPace)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		e := ending{began: time.Now()}
		e.outcome = store.OutcomeOf(do(context.WithoutCancel(ctx)))
		e.ended = time.Now()
		f.mu.Lock()
		f.done = append(f.done, e)
		f.mu.Unlock()
	}
}

// increments counts a key up. What one returns tells of each before it.
func (l *outageLoad) increments(k *counted) func(context.Context) error {
	return func(ctx context.Context) error {
		k.asked.Add(1)
		sum, _, err := l.cp.Increment(ctx, k.name, 1)
		switch {
		case err == nil:
			l.within(k, "an increment", k.acked.Load()+1, sum)
			k.acked.Store(sum)
		case !store.AsError(err).MaybeApplied():
			k.asked.Add(-1)
		}
		return err
	}
}

func (l *outageLoad) strong(k *counted) func(context.Context) error {
	return func(ctx context.Context) error {
		least := k.acked.Load()
		item, err := l.cp.Get(ctx, k.name)
		if err == nil {
			l.within(k, "a strong read", least, number64(item.Value))
		}
		return err
	}
}

// puts writes the next number, in a session: they are ordered.
func (l *outageLoad) puts(k *counted) func(context.Context) error {
	session := l.client.NewSession()
	return func(ctx context.Context) error {
		_, err := l.ap.Put(ctx, k.name, strconv.AppendInt(nil, k.asked.Add(1), 10), client.In(session))
		return err
	}
}

// anew writes in a session that has seen nothing: any replica may take it. One that has
// written where nobody can be reached waits for that node.
func (l *outageLoad) anew(k *counted) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := l.ap.Put(ctx, "new-"+k.name, []byte("v"), client.In(l.client.NewSession()))
		return err
	}
}

// reads reads in a session of its own, and never less than before if that is causal.
func (l *outageLoad) reads(ks *client.Keyspace, level store.Level) func(k *counted) func(context.Context) error {
	return func(k *counted) func(context.Context) error {
		session, least := l.client.NewSession(), int64(0)
		return func(ctx context.Context) error {
			item, err := ks.Get(ctx, k.name, client.At(level), client.In(session))
			if err == nil {
				got := number64(item.Value)
				l.within(k, level.String()+" read", least, got)
				if level == client.Causal {
					least = got
				}
			}
			return err
		}
	}
}

func number64(value []byte) int64 {
	n, err := strconv.ParseInt(cmp.Or(string(value), "0"), 10, 64)
	if err != nil {
		return -1 // below any answer that may be
	}
	return n
}

// within wants an answer between the two.
func (l *outageLoad) within(k *counted, what string, least, got int64) {
	if most := k.asked.Load(); got < least || got > most {
		l.b.Errorf("%s of %s is %d, and must be between %d and %d", what, k.name, got, least, most)
	}
}

// end stops the callers, and wants each increment to have been done once, if at all.
func (l *outageLoad) end(orders []counted) {
	l.stop()
	l.all.Wait()
	for i := range orders {
		k := &orders[i]
		item, err := l.cp.Get(context.WithoutCancel(l.b.Context()), k.name, client.WithTimeout(10*time.Second))
		if err != nil {
			l.b.Errorf("at the end: %v", err)
			return
		}
		l.within(k, "at the end the value", k.acked.Load(), number64(item.Value))
	}
	say(l.b, "every answer was one that may be, and no increment was lost or done twice")
}

// summary is of the calls of a flow that ended within a time.
type summary struct {
	calls, failed, unknown int
	p50, p99, longest, gap time.Duration // the gap is from one that succeeded to the next
}

// say is b.Logf, of which no more than ten lines are shown.
func say(b *testing.B, format string, args ...any) {
	fmt.Fprintf(os.Stderr, b.Name()+": "+format+"\n", args...)
}

// print shows what became of the calls of a time.
func (l *outageLoad) print(b *testing.B, what string, from, until time.Time) {
	b.Helper()
	var out strings.Builder
	fmt.Fprintf(&out, "%s, %v:\n%-12s %6s %6s %7s %8s %8s %8s %8s\n", what, until.Sub(from).Round(time.Second), "", "calls", "failed", "unknown", "p50", "p99", "longest", "gap")
	for _, f := range l.flows {
		of := f.between(from, until)
		fmt.Fprintf(&out, "%-12s %6d %6d %7d %8s %8s %8s %8s\n", f.name, of.calls, of.failed, of.unknown, rough(of.p50), rough(of.p99), rough(of.longest), rough(of.gap))
	}
	say(b, "%s", &out)
}

// amplified wants no more than a fifth of all calls to have been made twice, since then.
func (l *outageLoad) amplified(b *testing.B, calls, retries int64) {
	b.Helper()
	calls, retries = l.calls.Load()-calls, l.retries.Load()-retries
	times := 1 + float64(retries)/float64(calls)
	say(b, "%d calls and %d retries", calls, retries)
	b.ReportMetric(times, "x-load")
	if savings := int64(100); retries > calls/5+savings { // that the time before has left
		b.Errorf("%d calls were retried %d times", calls, retries)
	}
}

// recovers says how long after then each flow was served again; all, if none is named.
func (l *outageLoad) recovers(b *testing.B, what string, then time.Time, names ...string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	longest := time.Duration(0)
	for _, f := range l.flows {
		if len(names) > 0 && !slices.Contains(names, f.name) {
			continue
		}
		at, err := f.served(ctx, then)
		need(b, err)
		say(b, "%s: %v after %s", f.name, at.Sub(then).Round(time.Millisecond), what)
		longest = max(longest, at.Sub(then))
	}
	b.ReportMetric(longest.Seconds(), "s-after-"+strings.ReplaceAll(what, " ", "-"))
}

func (l *outageLoad) flow(name string) *flow {
	return l.flows[slices.IndexFunc(l.flows, func(f *flow) bool { return f.name == name })]
}

func (f *flow) between(from, until time.Time) summary {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out summary
	took, ends := []time.Duration{}, []time.Time{from, until}
	for _, e := range f.done {
		if e.ended.Before(from) || e.ended.After(until) {
			continue
		}
		out.calls++
		took = append(took, e.ended.Sub(e.began))
		switch {
		case e.outcome == store.OK:
			ends = append(ends, e.ended)
		case e.outcome == store.Unclear:
			out.unknown++
		default:
			out.failed++
		}
	}
	if out.calls == 0 {
		return out
	}
	slices.Sort(took)
	slices.SortFunc(ends, time.Time.Compare)
	for i := range ends[1:] {
		out.gap = max(out.gap, ends[i+1].Sub(ends[i]))
	}
	out.p50, out.p99, out.longest = took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
	return out
}

// served returns when the first call ended well that began after then; it waits for it.
func (f *flow) served(ctx context.Context, then time.Time) (time.Time, error) {
	tick := time.NewTicker(loadPace)
	defer tick.Stop()
	for {
		f.mu.Lock()
		for _, e := range f.done {
			if e.outcome == store.OK && e.ended.After(then) {
				f.mu.Unlock()
				return e.ended, nil
			}
		}
		f.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return time.Time{}, store.Expired(ctx, "a call that is served: "+f.name)
		}
	}
}

package telemetry

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dialkv/dialkv/store"
)

const (
	// maxKeyspaces is how many keyspaces have numbers of their own; the others share those
	// of otherKeyspace. A name of a keyspace begins with a letter or a digit.
	maxKeyspaces  = 100
	otherKeyspace = "_other"
	// noKeyspace is where requests for a keyspace that is not there are counted.
	noKeyspace = "_none"
)

// ops are what is counted apart, in the words of rpc.Served; all else is "other".
var ops = [...]string{"get", "scan", "put", "cas", "delete", "incr", "txn", "lease-grant", "lease-keepalive", "lease-revoke", "open-session", "close-session", "other"}

// outcomes are the ways a request ends, as store.OutcomeOf tells them.
var outcomes = [...]store.Outcome{store.OK, store.Failed, store.Unclear}

const numLevels = int(store.Strong) + 1

// bounds of the latency buckets: a read from memory takes some 20 µs, and nobody waits
// longer than 10 s.
var bounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// Requests counts the reads and writes that a node serves. It is the one thing that is
// done for each of them, so it waits for nobody and allocates nothing.
type Requests struct {
	other tally // of the keyspaces beyond maxKeyspaces

	adding    sync.Mutex
	keyspaces atomic.Pointer[map[string]*tally] // replaced as a whole

	latency [len(ops)][numLevels]latency
}

// latency is a histogram. Prometheus' own takes twice as long to be told of a duration.
type latency struct {
	within [len(bounds) + 1]atomic.Uint64 // each of what the bounds before it do not take
	sum    atomic.Int64                   // nanoseconds
}

func (l *latency) observe(took time.Duration) {
	i := 0
	for i < len(bounds) && took > bounds[i] {
		i++
	}
	l.within[i].Add(1)
	l.sum.Add(int64(took))
}

func (l *latency) collect(out emitter, labels ...string) {
	within, count := make(map[float64]uint64, len(bounds)), uint64(0)
	for i := range l.within {
		count += l.within[i].Load()
		if i < len(bounds) {
			within[bounds[i].Seconds()] = count
		}
	}
	if count > 0 {
		out <- prometheus.MustNewConstHistogram(requestSeconds.desc, count, time.Duration(l.sum.Load()).Seconds(), within, labels...)
	}
}

// tally is of one keyspace.
type tally struct {
	ended  [len(ops)][numLevels][len(outcomes)]atomic.Uint64
	shed   [len(ops)]atomic.Uint64
	errors [numCodes]atomic.Uint64
}

// numCodes is len(store.Codes), which a test holds it to.
const numCodes = 24

func newRequests() *Requests {
	r := new(Requests)
	r.keyspaces.Store(&map[string]*tally{})
	return r
}

// Served counts a request, as rpc.Served describes it.
func (r *Requests) Served(keyspace, op string, level store.Level, err error, took time.Duration) {
	o := indexOf(op)
	if int(level) >= numLevels {
		level = store.LevelDefault
	}
	t := r.of(keyspace)
	if err == nil {
		t.ended[o][level][0].Add(1)
	} else {
		t.failed(o, level, err)
	}
	r.latency[o][level].observe(took)
}

// indexOf is where an op is in ops. Those that come often are first.
func indexOf(op string) int {
	for i, known := range ops {
		if op == known {
			return i
		}
	}
	return len(ops) - 1
}

func (t *tally) failed(o int, level store.Level, err error) {
	t.ended[o][level][slices.Index(outcomes[:], store.OutcomeOf(err))].Add(1)
	if i := slices.Index(store.Codes, store.AsError(err).Code); i >= 0 {
		t.errors[i].Add(1)
	}
	if errors.Is(err, store.Overloaded) {
		t.shed[o].Add(1)
	}
}

// of is the tally of a keyspace.
func (r *Requests) of(keyspace string) *tally {
	if keyspace == "" {
		keyspace = noKeyspace
	}
	if t := (*r.keyspaces.Load())[keyspace]; t != nil {
		return t
	}
	r.adding.Lock()
	defer r.adding.Unlock()
	was := *r.keyspaces.Load()
	if t := was[keyspace]; t != nil {
		return t
	}
	if len(was) >= maxKeyspaces {
		return &r.other
	}
	now := maps.Clone(was)
	now[keyspace] = new(tally)
	r.keyspaces.Store(&now)
	return now[keyspace]
}

// keep drops the tallies of keyspaces that are there no more, and so makes room.
func (r *Requests) keep(there func(keyspace string) bool) {
	r.adding.Lock()
	defer r.adding.Unlock()
	now := maps.Clone(*r.keyspaces.Load())
	maps.DeleteFunc(now, func(name string, _ *tally) bool { return name != noKeyspace && !there(name) })
	r.keyspaces.Store(&now)
}

// levelLabel is "" for what has no level.
func levelLabel(l store.Level) string {
	if l == store.LevelDefault {
		return ""
	}
	return l.String()
}

func (r *Requests) collect(out emitter) {
	all := maps.Clone(*r.keyspaces.Load())
	all[otherKeyspace] = &r.other
	for name, t := range all {
		t.collect(out, name)
	}
	for o := range r.latency {
		for level := range r.latency[o] {
			r.latency[o][level].collect(out, ops[o], levelLabel(store.Level(level)))
		}
	}
}

// collect shows what has happened at all: of a hundred keyspaces not every op is used at
// every level.
func (t *tally) collect(out emitter, keyspace string) {
	for o, op := range ops {
		for level := range numLevels {
			for i, outcome := range outcomes {
				if n := t.ended[o][level][i].Load(); n > 0 {
					out.put(requests, float64(n), keyspace, op, levelLabel(store.Level(level)), string(outcome))
				}
			}
		}
		if n := t.shed[o].Load(); n > 0 {
			out.put(shed, float64(n), keyspace, op)
		}
	}
	for i, code := range store.Codes {
		if n := t.errors[i].Load(); n > 0 {
			out.put(failures, float64(n), keyspace, string(code))
		}
	}
}

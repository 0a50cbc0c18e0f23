package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// opMix is the operation that --mix describes.
const opMix = "mix"

// benchOps are what a bench can do.
var benchOps = []string{opMix, "get", "put", "incr", "txn", "scan", "watch"}

// benchPage is how many keys one scan reads.
const benchPage = 100

// load is what each client does.
type load struct {
	op, mix string
	read    int // percent
	at      []client.Option
	value   []byte
}

func (l *load) check() (err error) {
	if !slices.Contains(benchOps, l.op) {
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("--op %.40q is not known", l.op), Try: "--op " + strings.Join(benchOps, ", ")}
	}
	switch l.op {
	case "get":
		l.read = 100
	case opMix:
		l.read, err = parseMix(l.mix)
	}
	return err
}

// String is what the result calls it.
func (l load) String() string {
	if l.op == opMix {
		return l.mix
	}
	return l.op
}

// reads reports whether the keys must be there.
func (l load) reads() bool { return l.read > 0 || l.op == "scan" }

func (l load) cpOnly() bool { return l.op == "incr" || l.op == "txn" || l.op == "watch" }

// worker is one client.
type worker struct {
	load
	k       *client.Keyspace
	session *client.Session
	own     string // key that nobody else writes
	watch   *client.Watch
}

func (w *worker) begin(ctx context.Context) (err error) {
	if w.op == "watch" {
		w.watch, err = w.k.Watch(ctx, store.WatchQuery{Key: w.own}, client.In(w.session), client.WithTimeout(benchTimeout))
	}
	return err
}

func (w *worker) end() {
	if w.watch != nil {
		w.watch.Close()
	}
}

// operate does one operation.
func (w *worker) operate(ctx context.Context) (kind opKind, err error) {
	key := benchKey(rand.IntN(benchKeys))
	opts := []client.Option{client.In(w.session), client.WithTimeout(benchTimeout)}
	switch {
	case w.op == "incr":
		_, _, err = w.k.Increment(ctx, "count-"+key, 1, opts...)
	case w.op == "txn":
		_, err = w.k.Txn(ctx, w.txn(key), opts...)
	case w.op == "scan":
		return aRead, w.scan(ctx, key, append(opts, w.at...))
	case w.op == "watch":
		return aWrite, w.noticed(ctx, opts)
	case rand.IntN(100) < w.read:
		_, err = w.k.Get(ctx, key, append(opts, w.at...)...)
		return aRead, err
	default:
		_, err = w.k.Put(ctx, key, w.value, opts...)
	}
	return aWrite, err
}

// txn compares, and writes two keys of one group.
func (w *worker) txn(key string) store.Txn {
	a, b := "{"+key+"}/value", "{"+key+"}/writes"
	return store.Txn{
		If:   []store.Compare{{Key: a, Target: store.TargetLease, Relation: store.Equal}},
		Then: []store.Step{client.PutStep(a, w.value), client.IncrementStep(b, 1)},
	}
}

func (w *worker) scan(ctx context.Context, from string, opts []client.Option) error {
	for _, err := range w.k.Scan(ctx, store.Query{Key: from, Limit: benchPage}, opts...) {
		if err != nil {
			return err
		}
	}
	return nil
}

// noticed writes the client's own key and waits until the watch has seen that.
func (w *worker) noticed(ctx context.Context, opts []client.Option) error {
	r, err := w.k.Put(ctx, w.own, w.value, opts...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, benchTimeout)
	defer cancel()
	for {
		change, err := w.watch.Next(ctx)
		if err != nil || change.Revision >= r.Revision {
			return err
		}
	}
}

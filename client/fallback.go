package client

import (
	"context"
	"errors"
	"time"

	"github.com/dialkv/dialkv/store"
)

// Step is one way to answer a Get, in a list that the caller wrote down: see Prefer.
type Step struct {
	kind    FallbackKind
	level   store.Level
	bound   time.Duration
	timeout time.Duration
	age     time.Duration
	value   []byte
	ask     func(ctx context.Context, key string, cause error) ([]byte, error)
}

// FallbackKind is what answered in the place of the first step of a list.
type FallbackKind string

// The kinds.
const (
	FallbackLevel    FallbackKind = "level"    // a node, at a weaker level
	FallbackLast     FallbackKind = "last"     // the value seen last
	FallbackStatic   FallbackKind = "static"   // a value that was written down
	FallbackFunction FallbackKind = "function" // the caller's function
)

// maxSteps bounds a list.
const maxSteps = 8

// Prefer makes a Get try the steps in their order, the best first, until one answers
// (Terry et al., "Consistency-Based Service Level Agreements for Cloud Storage", SOSP
// 2013). The first is a Try. A later one is tried if those before it failed in a way that
// may pass: a node said or did nothing, or the time of the step was over. What is certain,
// such as Invalid or NoSuchKeyspace, is not hidden, and who has cancelled gets no answer.
//
// An answer of a later step is marked: Item.Degraded, Item.Fallback and Item.Proof say
// what was served. It stands in the place of At and Bounded.
func Prefer(steps ...Step) Option {
	return func(o *options) { o.prefer = append([]Step{}, steps...) }
}

// Try is a read at a level, for so long; with a timeout of 0 for all the time that is
// left of the call.
func Try(level store.Level, timeout time.Duration) Step {
	return Step{kind: FallbackLevel, level: level, timeout: timeout}
}

// TryBounded is a read as that of Bounded, for so long.
func TryBounded(d, timeout time.Duration) Step {
	return Step{kind: FallbackLevel, level: store.Bounded, bound: d, timeout: timeout}
}

// LastSeen is the answer that this client has got last to a Get of the key with a list
// that has a LastSeen, if that is not older; Item.Age says how old it is. It promises
// nothing, and may be of another session. A client keeps 1024 answers and 16 MiB.
func LastSeen(age time.Duration) Step { return Step{kind: FallbackLast, age: age} }

// Static is a value.
func Static(value []byte) Step { return Step{kind: FallbackStatic, value: value} }

// Ask is the answer of a function, which is told why the steps before it failed. If it
// returns an error the next step is tried.
func Ask(f func(ctx context.Context, key string, cause error) ([]byte, error)) Step {
	return Step{kind: FallbackFunction, ask: f}
}

func checkSteps(o options) error {
	if len(o.prefer) == 0 || len(o.prefer) > maxSteps || o.prefer[0].kind != FallbackLevel {
		return invalid("a list has 1 to 8 steps, and the first is a level", "client.Prefer(client.Try(level, timeout), …)")
	}
	if o.level != store.LevelDefault {
		return invalid("a read has a level and a list of levels", "client.Prefer alone")
	}
	for _, s := range o.prefer {
		switch {
		case s.timeout < 0 || s.bound < 0:
			return invalid("a step's time is negative", "")
		case s.kind == FallbackLevel && s.level == store.LevelDefault:
			return invalid("a step at no level", "one of the levels")
		case s.kind == FallbackLast && s.age <= 0:
			return invalid("LastSeen needs an age above zero", "")
		case s.kind == FallbackFunction && s.ask == nil || s.kind == "":
			return invalid("a step without anything to do", "")
		}
	}
	return nil
}

// prefer goes through the list.
func (k *Keyspace) prefer(ctx context.Context, key string, o options) (item Item, err error) {
	if err := checkSteps(o); err != nil {
		return Item{Key: key}, err
	}
	ctx, cancel := k.c.bounded(ctx, o.timeout)
	defer cancel()
	steps := o.prefer
	var failure *store.Error // of the last level
	var beside []error
	for i, s := range steps {
		if errors.Is(ctx.Err(), context.Canceled) {
			break
		}
		began, ok := time.Now(), false
		switch s.kind {
		case FallbackLevel:
			item, err = k.try(ctx, key, s, o)
			if ok = err == nil; ok {
				k.keep(steps, key, item, began)
			} else if failure = store.AsError(err); !failure.Retryable() {
				return item, err
			}
		case FallbackLast:
			item, ok = k.c.seen.last(k.c, k.name, key, s.age)
		case FallbackStatic:
			item, ok = known(key, s.value), true
		case FallbackFunction:
			var value []byte
			if value, err = s.ask(ctx, key, failure); err != nil {
				beside = append(beside, err)
			}
			item, ok = known(key, value), err == nil
		}
		if ok {
			return k.mark(ctx, item, steps[0], s, i), nil
		}
	}
	if failure == nil {
		failure = store.Expired(ctx, "a first attempt")
	}
	e := *failure
	e.Cause = errors.Join(append([]error{e.Cause}, beside...)...)
	return Item{Key: key}, &e
}

// try is a read at the level of a step.
func (k *Keyspace) try(ctx context.Context, key string, s Step, o options) (Item, error) {
	o.prefer, o.level, o.bound, o.timeout = nil, s.level, s.bound, s.timeout
	return k.get(ctx, key, o)
}

// mark says of an item which step it is from.
func (k *Keyspace) mark(ctx context.Context, item Item, first, s Step, i int) Item {
	weaker := s.kind != FallbackLevel || s.level < first.level || s.level == first.level && s.bound > first.bound
	if i == 0 || !weaker {
		return item
	}
	item.Degraded, item.Fallback, item.Proof.Degraded, item.Proof.Asked = true, s.kind, true, first.level
	if s.kind != FallbackLevel {
		item.Proof.Served = store.LevelDefault
	}
	tell(k.c.cfg.Observe.Fallback, FallbackEvent{Keyspace: k.name, Kind: s.kind})
	k.c.noteKind(ctx, "fallback", string(s.kind))
	return item
}

func known(key string, value []byte) Item {
	return Item{Key: key, Found: true, Value: value, Values: [][]byte{value}}
}

// keep remembers an answer, if the list may ask for it later.
func (k *Keyspace) keep(steps []Step, key string, item Item, began time.Time) {
	for _, s := range steps {
		if s.kind == FallbackLast {
			k.c.seen.keep(k.name, key, item, began)
			return
		}
	}
}

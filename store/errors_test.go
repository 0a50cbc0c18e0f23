package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/store"
)

// What each code says of a call. It is written out so that a new code, or a change
// of mind about an old one, is a decision.
var codes = map[store.Code]struct{ retryable, maybeApplied bool }{
	store.NotLeader:          {true, false},
	store.Unavailable:        {true, false},
	store.Unknown:            {true, true},
	store.NotReplicated:      {true, true},
	store.LevelUnsupported:   {false, false},
	store.Unsupported:        {false, false},
	store.SessionUnreachable: {true, false},
	store.SessionExpired:     {false, true},
	store.TokenMismatch:      {false, false},
	store.WritesLost:         {false, false},
	store.TooStale:           {true, false},
	store.Conflict:           {false, false},
	store.TooManySiblings:    {false, false},
	store.NotFound:           {false, false},
	store.NoSuchKeyspace:     {false, false},
	store.AlreadyExists:      {false, false},
	store.TooLarge:           {false, false},
	store.Overloaded:         {true, false},
	store.QuotaExceeded:      {false, false},
	store.Compacted:          {false, false},
	store.CircuitOpen:        {true, false},
	store.Denied:             {false, false},
	store.Invalid:            {false, false},
	store.Corrupt:            {false, false},
}

func TestEveryCodeSaysWhatHappened(t *testing.T) {
	if len(store.Codes) != len(codes) {
		t.Errorf("%d codes, the table has %d", len(store.Codes), len(codes))
	}
	for _, code := range store.Codes {
		want, known := codes[code]
		if !known {
			t.Errorf("%s is not in the table", code)
			continue
		}
		e := &store.Error{Code: code}
		if code.Retryable() != want.retryable || e.Retryable() != want.retryable {
			t.Errorf("%s: retryable %v, want %v", code, code.Retryable(), want.retryable)
		}
		if code.MaybeApplied() != want.maybeApplied || e.MaybeApplied() != want.maybeApplied {
			t.Errorf("%s: maybe applied %v, want %v", code, code.MaybeApplied(), want.maybeApplied)
		}
	}
}

func TestErrorIsItsCodeAndItsCause(t *testing.T) {
	var err error = &store.Error{Code: store.NotLeader, Cause: io.ErrUnexpectedEOF}
	for _, wrapped := range []error{err, fmt.Errorf("client: %w", err), errors.Join(io.EOF, err)} {
		if !errors.Is(wrapped, store.NotLeader) || errors.Is(wrapped, store.Unavailable) {
			t.Errorf("%v: is NotLeader %v, is Unavailable %v", wrapped, errors.Is(wrapped, store.NotLeader), errors.Is(wrapped, store.Unavailable))
		}
		if !errors.Is(wrapped, io.ErrUnexpectedEOF) {
			t.Errorf("%v does not lead to its cause", wrapped)
		}
		var e *store.Error
		if !errors.As(wrapped, &e) || e.Code != store.NotLeader {
			t.Errorf("%v is not found by errors.As", wrapped)
		}
	}
}

func TestErrorTextNamesWhatAUserNeeds(t *testing.T) {
	for want, e := range map[string]*store.Error{
		"Invalid":                         {Code: store.Invalid},
		"NotLeader put (leader is n2)":    {Code: store.NotLeader, Op: "put", Leader: "n2"},
		"Unavailable get at n1: too late": {Code: store.Unavailable, Op: "get", Node: "n1", Msg: "too late"},
		"Corrupt: bad page: EOF":          {Code: store.Corrupt, Msg: "bad page", Cause: io.EOF},
	} {
		if got := e.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestUnclassifiedErrorIsUnknown(t *testing.T) {
	classified := &store.Error{Code: store.TooStale}
	for _, c := range []struct {
		err  error
		want store.Code
	}{
		{io.EOF, store.Unknown},
		{context.DeadlineExceeded, store.Unknown},
		{store.Conflict, store.Conflict},
		{fmt.Errorf("engine: %w", store.Corrupt), store.Corrupt},
		{classified, store.TooStale},
		{fmt.Errorf("rpc: %w", classified), store.TooStale},
	} {
		if got := store.AsError(c.err); got.Code != c.want {
			t.Errorf("AsError(%v) is %s, want %s", c.err, got.Code, c.want)
		}
	}
	if store.AsError(nil) != nil {
		t.Error("AsError(nil) is an error")
	}
	if cause := store.AsError(io.EOF).Cause; !errors.Is(cause, io.EOF) {
		t.Errorf("the cause is %v", cause)
	}
}

func TestExpiredWasCertainlyNotApplied(t *testing.T) {
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	e := store.Expired(ctx, "the leader")
	if e.Code != store.Unavailable || e.MaybeApplied() || !errors.Is(e, context.DeadlineExceeded) || !strings.Contains(e.Error(), "the leader") {
		t.Errorf("got %v", e)
	}
}

func TestOutcomeOfACall(t *testing.T) {
	if got := store.OutcomeOf(nil); got != store.OK {
		t.Errorf("no error is %s", got)
	}
	for _, code := range store.Codes {
		want := store.Failed
		if slices.Contains([]store.Code{store.Unknown, store.NotReplicated, store.SessionExpired}, code) {
			want = store.Unclear
		}
		if got := store.OutcomeOf(&store.Error{Code: code}); got != want {
			t.Errorf("%s is %s, want %s", code, got, want)
		}
	}
	if got := store.OutcomeOf(io.EOF); got != store.Unclear {
		t.Errorf("an error nobody classified is %s", got)
	}
}

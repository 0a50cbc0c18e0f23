package client

import (
	"testing"

	"github.com/dialkv/dialkv/internal/spans"
	"github.com/dialkv/dialkv/store"
)

// What a call does for traces, where nobody traces.
func TestUntracedCallAllocatesNothingMore(t *testing.T) {
	c, err := Open(t.Context(), Config{Seeds: []string{"n1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ks, op := c.Keyspace("orders"), "get"
	k := &call{c: c, op: op}
	if n := testing.AllocsPerRun(100, func() {
		ctx, call := ks.begin(t.Context(), op)
		c.noteLevel(ctx, store.Strong)
		inner, attempt := k.traceAttempt(ctx)
		k.note(ctx, "circuit open", "n1")
		k.noteWait(ctx, "wait")
		c.noteKind(ctx, "hedge", op)
		if c.place(inner) != nil {
			t.Error("the request says that it is traced")
		}
		spans.End(attempt, nil)
		spans.End(call, nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

package client

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// A group keeps the answers of all numbers from the lowest open one on, and refuses
// more than a window of them. One slow write must not let the others run into that.
func TestNumbersDoNotRunAheadOfTheLowestOpenByMoreThanTheWindow(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		n := newNumbers()
		open := func(context.Context) (uint64, error) { return 7, nil }
		_, endSlow, err := n.begin(t.Context(), open)
		if err != nil {
			t.Fatal(err)
		}
		for i := range window - 1 {
			r, end, err := n.begin(t.Context(), open)
			if err != nil || r.Number-r.Lowest >= window {
				t.Fatalf("write %d: %+v, %v", i, r, err)
			}
			end(nil)
		}
		got := make(chan store.Request)
		go func() {
			r, end, err := n.begin(t.Context(), open)
			if err != nil {
				t.Error(err)
			} else {
				end(nil)
			}
			got <- r
		}()
		synctest.Wait()
		select {
		case r := <-got:
			t.Fatalf("%+v while number 1 is open", r)
		default:
		}
		endSlow(nil)
		if r := <-got; r.Number != window+1 || r.Lowest != window+1 {
			t.Errorf("%+v after the slow write ended", r)
		}
	})
}

// What a node's own client has forgotten, because a number stands for it, is forgotten here
// too; but not what the session has seen meanwhile, and nothing because no token came.
func TestSessionBecomesWhatTheNodeMadeOfIt(t *testing.T) {
	group := store.GroupID{Keyspace: 7}
	of := func(ids ...uint64) token.Token {
		tok := token.Token{Cluster: "00112233445566778899aabbccddeeff", Epoch: 1}
		for _, id := range ids {
			if err := tok.Read(group, token.EncodeEntry([]token.Component{{ID: id, N: 5}})); err != nil {
				t.Fatal(err)
			}
		}
		return tok
	}
	bytesOf := func(tok token.Token) []byte {
		b, err := tok.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	sent, came := bytesOf(of(1<<40, 1<<41)), bytesOf(of(1<<42, token.ClosedID))
	for name, c := range map[string]struct {
		has  token.Token
		came []byte
		want token.Token
	}{
		"as it was sent":            {of(1<<40, 1<<41), came, of(1<<42, token.ClosedID)},
		"it has seen more":          {of(1<<40, 1<<41, 1<<43), came, of(1<<40, 1<<41, 1<<42, 1<<43, token.ClosedID)},
		"nothing came of the token": {of(1<<40, 1<<41), nil, of(1<<40, 1<<41)},
	} {
		s := &Session{tok: c.has}
		if err := s.merge(c.came, sent); err != nil || s.Token() != c.want.String() {
			t.Errorf("%s: it is %s, want %s (%v)", name, s.Token(), c.want.String(), err)
		}
	}
}

func TestTheNearNodeComesAfterTheLeaderAndBeforeTheOthers(t *testing.T) {
	r := newRouter("n4", Bulkhead{}.withDefaults(), func(node string) *peer { return newPeer(node, Breaker{}.withDefaults(), nil) })
	nodes := []string{"n1", "n2", "n3", "n4", "n5"}
	if got, _, _ := r.order(nodes, "n2"); got[0] != "n2" || got[1] != "n4" {
		t.Errorf("with a leader: %v", got)
	}
	if got, _, _ := r.order(nodes, ""); got[0] != "n4" {
		t.Errorf("without: %v", got)
	}
	leave, _ := r.peer("n4").admit()
	leave.done(hushed)
	if got, _, _ := r.order(nodes, ""); got[4] != "n4" {
		t.Errorf("after it was silent: %v", got)
	}
}

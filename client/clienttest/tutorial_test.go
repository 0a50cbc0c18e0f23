package clienttest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/client/clienttest"
	"github.com/dialkv/dialkv/store"
)

// What follows is the code of docs/tutorials/embed-the-client.md.

// Shop is an application that embeds the client.
type Shop struct {
	stock *client.Keyspace // cp: what is sold is sold once
	carts *client.Keyspace // ap: a cart is always there
}

func NewShop(c *client.Client) *Shop {
	return &Shop{stock: c.Keyspace("stock"), carts: c.Keyspace("carts")}
}

// Add puts something into a cart.
func (s *Shop) Add(ctx context.Context, user, what string) error {
	_, err := s.carts.Add(ctx, user, what)
	return err
}

// Cart is what is in a cart.
func (s *Shop) Cart(ctx context.Context, user string) ([]string, error) {
	item, err := s.carts.Get(ctx, user)
	var things []string
	for _, v := range item.Values {
		things = append(things, string(v))
	}
	return things, err
}

var ErrTaken = errors.New("somebody else was faster")

// Buy takes the one piece there is.
func (s *Shop) Buy(ctx context.Context, user, what string) error {
	_, err := s.stock.CompareAndSwap(ctx, what, []byte("in stock"), []byte("sold to "+user))
	switch {
	case errors.Is(err, store.Conflict):
		return ErrTaken
	case store.OutcomeOf(err) == store.Unclear:
		return s.settle(ctx, user, what, err)
	}
	return err
}

// settle finds out what became of a purchase about which nobody answered.
func (s *Shop) settle(ctx context.Context, user, what string, unknown error) error {
	item, err := s.stock.Get(ctx, what)
	switch {
	case err != nil:
		return unknown // the caller has to ask again later
	case string(item.Value) == "sold to "+user:
		return nil
	case string(item.Value) == "in stock":
		return unknown // it may still arrive
	}
	return ErrTaken
}

// open makes the keyspaces and returns a shop on either side of a cluster.
func open(t *testing.T) (c *clienttest.Cluster, here, there *Shop) {
	c = clienttest.Start(t, clienttest.Config{Nodes: 3})
	stock := c.Create(clienttest.Keyspace{Name: "stock", Mode: store.CP})
	c.Create(clienttest.Keyspace{Name: "carts", Mode: store.AP, Policy: store.Set})
	if _, err := stock.Put(t.Context(), "teapot", []byte("in stock")); err != nil {
		t.Fatal(err)
	}
	return c, NewShop(c.At("n1")), NewShop(c.At("n2"))
}

func TestCartIsThereOnBothSidesOfACut(t *testing.T) {
	clienttest.Bubble(t, func(t *testing.T) {
		c, here, there := open(t)
		c.Cut("n1|n2,n3")
		if err := errors.Join(here.Add(t.Context(), "ann", "tea"), there.Add(t.Context(), "ann", "milk")); err != nil {
			t.Fatal(err)
		}
		c.Heal()
		c.Settle()
		cart, err := here.Cart(t.Context(), "ann")
		if err != nil || fmt.Sprint(cart) != "[milk tea]" {
			t.Errorf("the cart has %v, %v", cart, err)
		}
	})
}

func TestTeapotIsSoldOnce(t *testing.T) {
	clienttest.Bubble(t, func(t *testing.T) {
		c, here, there := open(t)
		c.Cut("n1|n2,n3")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := there.Buy(ctx, "bob", "teapot"); err != nil {
			t.Errorf("on the side of two: %v", err)
		}
		if err := here.Buy(t.Context(), "ann", "teapot"); err == nil || errors.Is(err, ErrTaken) {
			t.Errorf("a side that cannot know says %v", err)
		}
		c.Heal()
		c.Settle()
		if err := here.Buy(t.Context(), "ann", "teapot"); !errors.Is(err, ErrTaken) {
			t.Errorf("after it: %v", err)
		}
	})
}

// The page shows code that is here, and runs.
func TestTutorialShowsWhatRuns(t *testing.T) {
	page, err := os.ReadFile("../../docs/tutorials/embed-the-client.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("tutorial_test.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```go\n")[1:]
	if len(blocks) < 5 {
		t.Fatalf("the page has %d blocks of Go", len(blocks))
	}
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		if !strings.Contains(string(code), block) {
			t.Errorf("this is in the page, and not in the code:\n%s", block)
		}
	}
}

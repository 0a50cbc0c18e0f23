package storetest

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/dialkv/dialkv/store"
)

// A bank of a few accounts. Whatever is transferred between them, the sum stays.
const (
	accounts = 5
	deposit  = 100
)

var bankLaws = []law{
	{name: "transfers at the same time keep the sum of the bank, in every view of it", mode: store.CP, check: func(g *group) {
		const clerks, transfers = 4, 10
		g.openBank()
		ctx, cancel := g.within(patience)
		defer cancel()
		var wg sync.WaitGroup
		for n := range clerks {
			clerk := *g
			wg.Go(func() {
				for i := range transfers {
					if n%2 == 0 {
						clerk.transferCompared(ctx, i%accounts, (i+n+1)%accounts)
					} else {
						clerk.transferAdded(i%accounts, (i+n)%accounts)
					}
				}
			})
		}
		audited := make(chan struct{})
		go func() { wg.Wait(); close(audited) }()
		for i := 0; ; i++ {
			g.audit(i % len(g.replicas))
			select {
			case <-audited:
				for i := range g.replicas {
					g.audit(i)
				}
				return
			default:
				g.pause(ctx)
			}
		}
	}},
}

func account(n int) string { return fmt.Sprintf("account%d", n) }

func (g *group) openBank() {
	g.Helper()
	var all store.Txn
	for n := range accounts {
		all.Then = append(all.Then, putStep(account(n), strconv.Itoa(deposit)))
	}
	g.transact(all)
}

// audit sums the bank as one strong page at replica i shows it, and one txn.
func (g *group) audit(i int) {
	g.Helper()
	sum := 0
	items := g.read(i, store.Query{Prefix: "account", Limit: accounts, Level: store.Strong}).Items
	for _, item := range items {
		n, err := strconv.Atoi(string(item.Values[0]))
		if err != nil {
			g.Fatal(err)
		}
		sum += n
	}
	if sum != accounts*deposit || len(items) != accounts {
		g.Fatalf("%d accounts hold %d at replica %d, want %d", len(items), sum, i, accounts*deposit)
	}
	var all store.Txn
	for n := range accounts {
		all.Then = append(all.Then, getStep(account(n)))
	}
	sum = 0
	for _, s := range g.transact(all).Steps {
		n, err := strconv.Atoi(string(s.Value))
		if err != nil {
			g.Fatal(err)
		}
		sum += n
	}
	if sum != accounts*deposit {
		g.Fatalf("a txn finds %d in the bank, want %d", sum, accounts*deposit)
	}
}

// transferAdded moves one by two increments. It may run beside the test's goroutine.
func (g *group) transferAdded(from, to int) {
	if _, err := g.write(txnOf(incrStep(account(from), -1), incrStep(account(to), 1))); err != nil {
		g.Errorf("transfer: %v", err)
	}
}

// transferCompared reads both accounts, and writes both if neither has changed.
func (g *group) transferCompared(ctx context.Context, from, to int) {
	if from == to {
		return
	}
	for ctx.Err() == nil {
		held, err := g.tryTransfer(ctx, from, to)
		if err != nil {
			g.Errorf("transfer: %v", err)
			return
		}
		if held {
			return
		}
		g.pause(ctx) // somebody else was first
	}
	g.Errorf("no transfer in %v", patience)
}

func (g *group) tryTransfer(ctx context.Context, from, to int) (held bool, err error) {
	var t store.Txn
	for key, change := range map[string]int{account(from): -1, account(to): +1} {
		page, err := g.replicas[g.home].Read(ctx, store.Query{Key: key, Level: store.Strong})
		if err != nil {
			return false, err
		}
		if len(page.Items) != 1 {
			return false, fmt.Errorf("no account %q", key)
		}
		item := page.Items[0]
		n, err := strconv.Atoi(string(item.Values[0]))
		if err != nil {
			return false, err
		}
		t.If = append(t.If, store.Compare{Key: key, Target: store.TargetChanged, Relation: store.Equal, Number: item.Revision})
		t.Then = append(t.Then, putStep(key, strconv.Itoa(n+change)))
	}
	r, err := g.write(store.Command{Op: store.Transact, Txn: &t})
	return r.Held, err
}

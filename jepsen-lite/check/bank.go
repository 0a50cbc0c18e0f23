package check

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// A bank is the keys of a keyspace that agree up to their last slash. What a key holds
// is a balance: a decimal integer, perhaps with a space behind it and what makes the
// value unique. Money only moves, so every view of all accounts has the same total.
type balances struct {
	accounts map[string]bool
	views    []balanceSheet
}

type balanceSheet struct {
	op    *history.Op
	total int64
}

func (r *record) banks() bool {
	return r.any(func(op *history.Op) bool { return op.Kind == history.Txn }) && len(r.ledgersOfBalances()) > 0
}

func bankOf(keyspace, key string) ref {
	return ref{keyspace, key[:strings.LastIndexByte(key, '/')+1]}
}

func balance(value string) (int64, bool) {
	number, _, _ := strings.Cut(value, " ")
	n, err := strconv.ParseInt(number, 10, 64)
	return n, err == nil
}

// ledgersOfBalances finds the banks: where txns write to accounts.
func (r *record) ledgersOfBalances() map[ref]*balances {
	banks := map[ref]*balances{}
	for _, op := range r.ops {
		if op.Kind != history.Txn || op.Failed() {
			continue
		}
		for _, s := range slices.Concat(op.Then, op.Else) {
			if _, ok := balance(s.Value); s.Kind != history.Put || !ok || !strings.Contains(s.Key, "/") {
				continue
			}
			b := bankOf(op.Keyspace, s.Key)
			if banks[b] == nil {
				banks[b] = &balances{accounts: map[string]bool{}}
			}
			banks[b].accounts[s.Key] = true
		}
	}
	return banks
}

func bank(r *record) Result {
	var c Compared
	banks := r.ledgersOfBalances()
	for _, op := range r.ops {
		for _, seen := range sheets(op) {
			b := banks[bankOf(op.Keyspace, seen[0].Key)]
			if b == nil {
				continue
			}
			if v := b.look(op, seen, &c); v != nil {
				return withCompared(v.result("views"), c)
			}
			if r.h.InFault(op.Begin) {
				c.ReadsInFault++
			}
		}
	}
	return Result{Verdict: Pass, Compared: c, Stage: "views", Sentence: fmt.Sprintf("%d views of %d banks, each with the total of its bank", c.Ops, len(banks))}
}

// sheets are the accounts that an operation shows together: by a scan, or by the gets
// of a txn that does nothing else.
func sheets(op *history.Op) [][]history.Item {
	var items []history.Item
	if op.Kind == history.Scan && op.OK() {
		items = op.Items
	}
	branch, seen, ok := op.Branch()
	for i, s := range branch {
		if !ok || s.Kind != history.Get {
			return nil
		}
		if seen[i].Found {
			items = append(items, history.Item{Key: s.Key, Value: seen[i].Value})
		}
	}
	banks := map[string][]history.Item{}
	for _, item := range items {
		b := bankOf("", item.Key).key
		banks[b] = append(banks[b], item)
	}
	var out [][]history.Item
	for _, b := range banks {
		out = append(out, b)
	}
	return out
}

// look judges one view. A txn that asks for some accounts only shows no total; a scan
// that ends at its limit neither.
func (b *balances) look(op *history.Op, seen []history.Item, c *Compared) *violation {
	sheet := balanceSheet{op: op}
	for _, item := range seen {
		n, ok := balance(item.Value)
		switch {
		case !ok:
			return broken([]*history.Op{op}, "%s at %s shows %s for account %s, which is no balance", op.Kind, at(op.Start), show(item.Value), show(item.Key))
		case n < 0:
			return broken([]*history.Op{op}, "%s at %s shows account %s overdrawn: %d", op.Kind, at(op.Start), show(item.Key), n)
		}
		sheet.total += n
	}
	asked := len(b.accounts)
	if op.Kind == history.Txn {
		asked = len(slices.Concat(op.Then, op.Else))
	}
	if asked < len(b.accounts) || op.Kind == history.Scan && op.Limit > 0 {
		return nil
	}
	c.Ops++
	b.views = append(b.views, sheet)
	if first := b.views[0]; first.total != sheet.total {
		return broken([]*history.Op{first.op, op}, "%s at %s shows a total of %d over %d accounts; at %s the total was %d",
			op.Kind, at(op.Start), sheet.total, len(seen), at(first.op.Start), first.total)
	}
	return nil
}

package store

import (
	"fmt"
	"strings"
	"time"
)

// Check refuses a command that no replica could apply.
func (c Command) Check() error {
	if err := c.checkOnly(); err != nil {
		return err
	}
	switch c.Op {
	case OpenSession:
		return nil
	case Put:
		if c.TTL != 0 {
			if c.Lease != 0 {
				return &Error{Code: Invalid, Msg: "the put has both a TTL and a lease", Try: "one of them: a TTL makes a lease of its own"}
			}
			if err := CheckTTL(c.TTL); err != nil {
				return err
			}
		}
		return c.checkKey()
	case CloseSession:
		if c.Request.Session == 0 || c.Request.Named() {
			return &Error{Code: Invalid, Msg: "a close-session names a session, and no request of it"}
		}
		return nil
	case Delete, Increment:
		return c.checkKey()
	case Transact:
		return c.Txn.check()
	case Grant:
		return CheckTTL(c.TTL)
	case KeepAlive, Revoke:
		if c.Lease == 0 {
			return &Error{Code: Invalid, Msg: "the lease has no id"}
		}
		return nil
	}
	return &Error{Code: Invalid, Msg: "the command has no known operation: " + c.Op.String()}
}

// checkOnly refuses a field that means nothing to the operation: a caller who set it
// expects something that would not happen.
func (c Command) checkOnly() error {
	only := func(field string, set, may bool) error {
		if set && !may {
			return &Error{Code: Invalid, Msg: fmt.Sprintf("a %v has no %s", c.Op, field)}
		}
		return nil
	}
	keyed := c.Op == Put || c.Op == Delete || c.Op == Increment
	for _, err := range []error{
		only("delta", c.Delta != 0, c.Op == Increment),
		only("TTL", c.TTL != 0, c.Op == Put || c.Op == Grant),
		only("lease", c.Lease != 0, c.Op == Put || c.Op == KeepAlive || c.Op == Revoke),
		only("txn", c.Txn != nil, c.Op == Transact),
		only("key of its own", c.Key != "", keyed || c.Op == Get),
		only("condition of its own", c.If.Kind != Always, keyed),
		only("value", c.Op != Put && len(c.Value) > 0, false),
		only("member or field", c.Field != "", c.Op == Put || c.Op == Delete),
	} {
		if err != nil {
			return err
		}
	}
	return c.If.check()
}

func (c Command) checkKey() error {
	if err := CheckKey(c.Key); err != nil {
		return err
	}
	if c.Field != "" {
		if err := CheckField(c.Field); err != nil {
			return err
		}
	}
	return CheckValue(c.Value)
}

func (c Condition) check() error {
	switch {
	case c.Kind > IfAbsent:
		return &Error{Code: Invalid, Msg: fmt.Sprintf("condition %d is not known", c.Kind)}
	case c.Value != nil && c.Kind != IfValue:
		return &Error{Code: Invalid, Msg: fmt.Sprintf("the condition has a value of %d bytes and does not compare values", len(c.Value))}
	case c.Revision != 0 && c.Kind != IfRevision:
		return &Error{Code: Invalid, Msg: fmt.Sprintf("the condition has the revision %d and does not compare revisions", c.Revision)}
	}
	return CheckValue(c.Value)
}

// CheckTTL accepts MinTTL to MaxTTL.
func CheckTTL(ttl time.Duration) error {
	if ttl < MinTTL || ttl > MaxTTL {
		return &Error{Code: Invalid, Msg: fmt.Sprintf("the TTL is %v, it must be between %v and %v", ttl, MinTTL, MaxTTL), Try: "10s, for example, or none at all"}
	}
	return nil
}

// Keys calls f with every key the command names, until f says no.
func (c Command) Keys(f func(key string) bool) {
	if c.Txn == nil {
		if c.Key != "" {
			f(c.Key)
		}
		return
	}
	for _, x := range c.Txn.If {
		if !f(x.Key) {
			return
		}
	}
	for _, steps := range [][]Step{c.Txn.Then, c.Txn.Else} {
		for _, s := range steps {
			if !f(s.Key) {
				return
			}
		}
	}
}

func (t *Txn) check() error {
	if t == nil || len(t.If)+len(t.Then)+len(t.Else) == 0 {
		return &Error{Code: Invalid, Msg: "the transaction is empty", Try: "at least one comparison or one step"}
	}
	if n := max(len(t.If), len(t.Then), len(t.Else)); n > MaxSteps {
		return &Error{Code: TooLarge, Msg: fmt.Sprintf("the transaction has %d comparisons, %d steps in then and %d in else, the limit is %d of each", len(t.If), len(t.Then), len(t.Else), MaxSteps), Try: "several transactions, or one key for what changes together"}
	}
	size := 0
	for i, x := range t.If {
		if err := x.check(); err != nil {
			return within("comparison", i, err)
		}
		size += len(x.Key) + len(x.Value)
	}
	for _, steps := range [][]Step{t.Then, t.Else} {
		for i, s := range steps {
			if err := s.check(); err != nil {
				return within("step", i, err)
			}
			size += len(s.Key) + len(s.Value)
		}
	}
	if size > MaxRequest {
		return &Error{Code: TooLarge, Msg: fmt.Sprintf("the transaction has %d bytes of keys and values, the limit is %d", size, MaxRequest)}
	}
	return nil
}

func within(what string, i int, err error) error {
	e := *AsError(err)
	e.Msg = fmt.Sprintf("%s %d: %s", what, i+1, e.Msg)
	return &e
}

func (x Compare) check() error {
	if err := CheckKey(x.Key); err != nil {
		return err
	}
	_, target := targetNames[x.Target]
	_, relation := relationNames[x.Relation]
	switch {
	case !target || !relation:
		return &Error{Code: Invalid, Msg: fmt.Sprintf("%v %v is not known", x.Target, x.Relation), Try: "value, version, created, changed or lease, and =, !=, < or >"}
	case x.Target == TargetValue && x.Number != 0:
		return &Error{Code: Invalid, Msg: "a value is compared with a number", Try: "a value to compare with, or version, created, changed or lease"}
	case x.Target != TargetValue && x.Value != nil:
		return &Error{Code: Invalid, Msg: fmt.Sprintf("the %v, which is a number, is compared with a value of %d bytes", x.Target, len(x.Value)), Try: "a number"}
	}
	return CheckValue(x.Value)
}

func (s Step) check() error {
	switch s.Op {
	case Get, Put, Delete, Increment:
	default:
		return &Error{Code: Invalid, Msg: "a transaction has no step " + s.Op.String(), Try: "get, put, delete or incr"}
	}
	c := Command{Op: s.Op, Key: s.Key, Value: s.Value, Delta: s.Delta, Lease: s.Lease}
	if err := c.checkOnly(); err != nil {
		return err
	}
	return c.checkKey()
}

// maxPageToken is well above the longest token of a page, which holds a key and the
// name of a node, encoded.
const maxPageToken = 4 * MaxKey

// Check refuses a query that no replica could serve.
func (q Query) Check() error {
	if err := q.checkLevel(); err != nil {
		return err
	}
	if q.Limit == 0 && !q.Count {
		if q.Prefix != "" || q.To != "" || q.Reverse || q.KeysOnly || q.Page != "" || q.Leases {
			return &Error{Code: Invalid, Msg: "a read of one key has no range", Try: "a limit, which makes it a scan"}
		}
		return CheckKey(q.Key)
	}
	if q.Limit < 0 || q.Limit > MaxPage || q.Limit == 0 && !q.Count {
		return &Error{Code: Invalid, Msg: fmt.Sprintf("the page limit is %d, it must be between 1 and %d", q.Limit, MaxPage)}
	}
	if len(q.Key) > MaxKey || len(q.Prefix) > MaxKey || len(q.To) > MaxKey {
		return &Error{Code: TooLarge, Msg: fmt.Sprintf("a scan's first key has %d bytes, its end %d and its prefix %d, the limit is %d", len(q.Key), len(q.To), len(q.Prefix), MaxKey)}
	}
	if len(q.Page) > maxPageToken {
		return &Error{Code: Invalid, Msg: fmt.Sprintf("the page token has %d bytes, the limit is %d", len(q.Page), maxPageToken), Try: "the next of an earlier page, as it is"}
	}
	if q.Leases && (q.Key != "" || q.Prefix != "" || q.To != "" || q.Reverse || q.KeysOnly || q.Count) {
		return &Error{Code: Invalid, Msg: "a list of leases has no range of keys, no direction and no count", Try: "a limit alone"}
	}
	return nil
}

func (q Query) checkLevel() error {
	if _, known := levelNames[q.Level]; !known {
		return &Error{Code: Invalid, Msg: fmt.Sprintf("%v is not known", q.Level), Try: "one of " + strings.Join(LevelNames, ", ")}
	}
	if (q.Level == Bounded) != (q.Bound != 0) || q.Bound < 0 {
		return &Error{Code: Invalid, Msg: fmt.Sprintf("level %v with the bound %v: bounded has a bound above zero, and no other level has", q.Level, q.Bound)}
	}
	return nil
}

// Scan reports whether the query is of a range.
func (q Query) Scan() bool { return q.Limit > 0 || q.Count }

// Check refuses a watch that no replica could serve.
func (q WatchQuery) Check() error {
	n := 0
	for _, set := range []bool{q.Key != "", q.Prefix != "", q.All} {
		if set {
			n++
		}
	}
	if n != 1 {
		return &Error{Code: Invalid, Msg: "a watch is of one key, of a prefix, or of all"}
	}
	if q.From != 0 && q.Since != nil {
		return &Error{Code: Invalid, Msg: "a watch begins at a revision, or behind an entry", Try: "a revision on cp, an entry on ap"}
	}
	if q.Key != "" {
		return CheckKey(q.Key)
	}
	if len(q.Prefix) > MaxKey {
		return &Error{Code: TooLarge, Msg: fmt.Sprintf("the prefix has %d bytes, the limit is %d", len(q.Prefix), MaxKey)}
	}
	return nil
}

// Matches reports whether the watch asks for the key.
func (q WatchQuery) Matches(key string) bool {
	return q.All || q.Key == key && key != "" || q.Prefix != "" && len(key) >= len(q.Prefix) && key[:len(q.Prefix)] == q.Prefix
}

package workload

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// Names lists the workloads.
var Names = []string{"register", "roaming", "causal", "bank", "scan", "watch", "exactly-once", "lock", "ttl", "bounded", "counter", "set", "delete", "across", "ap-watch", "ap-scan", "ap-ttl", "map"}

// Config is what is asked, how often and for how long.
type Config struct {
	Workload  string           // one of Names
	Keyspaces []shard.Keyspace // those that Keyspaces named, as they were created
	Clients   int              // processes; 10 if zero
	Rate      float64          // operations a second, all clients together; 400 if zero
	Duration  time.Duration    // 30 s if zero
	Timeout   time.Duration    // of one operation; 1 s if zero
	Seed      int64            // of every draw
}

// Limits of a Config. A checker holds a clock of every session at every operation.
const (
	maxClients = 100
	maxRate    = 20_000
)

// WithDefaults returns the config with every zero filled in.
func (c Config) WithDefaults() Config {
	if c.Clients == 0 {
		c.Clients = 10
	}
	if c.Rate == 0 {
		c.Rate = 400
	}
	if c.Duration == 0 {
		c.Duration = 30 * time.Second
	}
	if c.Timeout == 0 {
		c.Timeout = time.Second
	}
	return c
}

// Check refuses a plan that nobody can run. It does not look at the keyspaces.
func (c Config) Check() error {
	invalid := func(format string, args ...any) error {
		return &store.Error{Code: store.Invalid, Op: "workload", Msg: fmt.Sprintf(format, args...)}
	}
	switch {
	case !slices.Contains(Names, c.Workload):
		return &store.Error{
			Code: store.Invalid, Op: "workload", Msg: fmt.Sprintf("workload %q is not known", c.Workload),
			Try: "one of " + strings.Join(Names, ", "),
		}
	case c.Clients < 2 || c.Clients > maxClients:
		return invalid("%d clients, there must be 2 to %d: one alone is never concurrent", c.Clients, maxClients)
	case c.Rate <= 0 || c.Rate > maxRate:
		return invalid("a rate of %v a second, it must be above 0 and at most %d", c.Rate, maxRate)
	case c.Duration <= 0 || c.Timeout <= 0:
		return invalid("duration %v and timeout %v must be above 0", c.Duration, c.Timeout)
	}
	return nil
}

// Keyspaces says which keyspaces a workload needs; they have no id and no placement
// yet. suffix keeps their names apart from those of other runs.
//
// A register has two groups, which two nodes may lead. Where operations of several keys
// are compared there is one, and where causality is not to come by its detour.
func Keyspaces(workload, suffix string) []shard.Keyspace {
	name := func(s string) string { return s + "-" + suffix }
	lww := shard.Keyspace{Name: name("lww"), Mode: store.AP, Policy: store.LWW, Groups: 1}
	siblings := shard.Keyspace{Name: name("siblings"), Mode: store.AP, Policy: store.Siblings, Groups: 1}
	switch workload {
	case "register":
		return []shard.Keyspace{{Name: name("register"), Mode: store.CP, Groups: 2}}
	case "roaming":
		return []shard.Keyspace{
			lww, siblings,
			{Name: name("cp"), Mode: store.CP, Groups: 1},
		}
	case "bounded", "delete", "ap-watch", "ap-scan", "ap-ttl":
		return []shard.Keyspace{lww, siblings}
	case "causal":
		return []shard.Keyspace{lww}
	case "across":
		return []shard.Keyspace{lww, {Name: name("cp"), Mode: store.CP, Groups: 1}}
	case "counter":
		return []shard.Keyspace{{Name: name("counter"), Mode: store.AP, Policy: store.Counter, Groups: 1}}
	case "set":
		return []shard.Keyspace{{Name: name("set"), Mode: store.AP, Policy: store.Set, Groups: 1}}
	case "map":
		return []shard.Keyspace{{Name: name("map"), Mode: store.AP, Policy: store.Map, Groups: 1}}
	}
	return []shard.Keyspace{{Name: name(workload), Mode: store.CP, Groups: 1}}
}

// Claims names the checkers that judge a workload's history. outcomes and versions
// are always among them.
func Claims(workload string) []string {
	after := []string{"convergence", "durability"}
	switch workload {
	case "register":
		return append([]string{"linearizable", "raft"}, after...)
	case "bank":
		return append([]string{"linearizable", "bank", "scan", "raft"}, after...)
	case "counter", "set", "map":
		return []string{workload, "convergence"}
	case "lock", "watch": // who holds a lock writes alone; and who watches does not read
		return append([]string{workload, "raft"}, after...)
	case "scan", "exactly-once", "ttl":
		return append([]string{"linearizable", workload, "raft"}, after...)
	}
	sessions := []string{
		"causal", "causal-convergence",
		"read-your-writes", "monotonic-reads", "monotonic-writes", "writes-follow-reads",
	}
	switch workload {
	case "roaming", "bounded":
		sessions = append(sessions, "staleness", "levels")
	case "causal":
		sessions = append(sessions, "levels")
	case "ap-watch", "ap-scan", "ap-ttl":
		sessions = append(sessions, strings.TrimPrefix(workload, "ap-"))
	}
	return append(sessions, after...)
}

package workload

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/store"
)

// Replicas is a cluster whose nodes show what they hold. No fault may stand between
// us and their admin API.
type Replicas interface {
	Admin(name string) (kvpb.AdminClient, error)
}

// How replicas are compared. Two rounds in a row must find them equal, so that what
// was on its way in the first has arrived by the second.
const (
	dumpPause   = 100 * time.Millisecond
	dumpTimeout = 5 * time.Second // of one page
	equalRounds = 2
)

// copied is one replica as its node dumped it.
type copied struct {
	node     string
	keyspace *shard.Keyspace
	shard    uint32
	items    []*kvpb.Item
	last     *kvpb.DumpResponse
}

// Dump reads every replica of the keyspaces from the node that holds it, asking
// nobody else, again and again until all replicas of a group are equal, and records
// the last round. It returns how long that took. Replicas that are still unequal when
// limit has passed are recorded as they are; for the checkers that is an answer.
// An error means that a replica could not be read to its end.
func Dump(ctx context.Context, cluster Replicas, keyspaces []shard.Keyspace, limit time.Duration, rec *history.Recorder) (took time.Duration, equal bool, err error) {
	began := time.Now()
	var round []copied
	for rounds := 0; rounds < equalRounds; {
		took = time.Since(began)
		round, err = dumpAll(ctx, cluster, keyspaces)
		equal = err == nil && alike(round)
		if rounds++; !equal {
			rounds = 0
		}
		if time.Since(began) > limit || rounds == equalRounds {
			break
		}
		select {
		case <-time.After(dumpPause):
		case <-ctx.Done():
			return took, false, context.Cause(ctx)
		}
	}
	if err != nil {
		return took, false, err
	}
	for _, c := range round {
		c.record(rec)
	}
	return took, equal, rec.Err()
}

// Empty reports, as an error, what the keyspaces hold already.
func Empty(ctx context.Context, cluster Replicas, keyspaces []shard.Keyspace) error {
	round, err := dumpAll(ctx, cluster, keyspaces)
	for _, c := range round {
		if len(c.items) > 0 {
			err = errors.Join(err, &store.Error{
				Code: store.AlreadyExists, Op: "workload", Keyspace: c.keyspace.Name, Node: c.node,
				Msg: fmt.Sprintf("the keyspace holds %q before the run began", c.items[0].GetKey()),
			})
		}
	}
	return err
}

func dumpAll(ctx context.Context, cluster Replicas, keyspaces []shard.Keyspace) ([]copied, error) {
	var round []copied
	for i := range keyspaces {
		k := &keyspaces[i]
		for s := range k.Groups {
			for _, node := range k.Members(s) {
				c := copied{node: node, keyspace: k, shard: s}
				if err := c.read(ctx, cluster); err != nil {
					return nil, fmt.Errorf("workload: dump %s from %s: %w", k.Name, node, err)
				}
				round = append(round, c)
			}
		}
	}
	return round, nil
}

// read takes all pages of the replica.
func (c *copied) read(ctx context.Context, cluster Replicas) error {
	admin, err := cluster.Admin(c.node)
	if err != nil {
		return err
	}
	for from := ""; c.last == nil || from != ""; from = c.last.GetNext() {
		page, cancel := context.WithTimeout(ctx, dumpTimeout)
		c.last, err = admin.Dump(page, &kvpb.DumpRequest{KeyspaceId: c.keyspace.ID, Shard: c.shard, From: from})
		cancel()
		if err != nil {
			return kvpb.FromStatus(err)
		}
		c.items = append(c.items, c.last.GetItems()...)
	}
	return nil
}

// alike reports whether all copies of each group hold the same. They come group by
// group.
func alike(round []copied) bool {
	for i := 1; i < len(round); i++ {
		a, b := &round[i-1], &round[i]
		if a.keyspace == b.keyspace && a.shard == b.shard && !slices.EqualFunc(a.items, b.items, sameItem) {
			return false
		}
	}
	return true
}

func sameItem(a, b *kvpb.Item) bool { return proto.Equal(a, b) }

// record writes the copy as history has it.
func (c *copied) record(rec *history.Recorder) {
	d := history.Dump{Node: c.node, Keyspace: c.keyspace.Name, Group: strconv.FormatUint(uint64(c.shard), 10)}
	cp := c.keyspace.Mode == store.CP
	for _, item := range c.items {
		row := d
		row.Key = item.GetKey()
		if values := item.GetValues(); len(values) == 1 {
			served := string(values[0])
			row.Value = &served
		}
		if cp {
			row.Revision = &item.Revision
		}
		for _, s := range item.GetSiblings() {
			row.Siblings = append(row.Siblings, history.Sibling{
				Dot: s.GetDot(), Stamp: strconv.FormatUint(s.GetStamp(), 10), Field: s.GetField(), Value: string(s.GetValue()),
			})
		}
		rec.Dump(row)
	}
	d.Vector = c.last.GetVector()
	if cp {
		d.Revision = &c.last.Revision
	}
	rec.DumpEnd(d)
}

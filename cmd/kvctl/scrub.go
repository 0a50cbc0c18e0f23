package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// scrubJSON is what keyspace scrub found.
type scrubJSON struct {
	Keyspace string       `json:"keyspace"`
	Verdict  string       `json:"verdict"` // pass, or fail if any bucket differs
	Groups   []scrubGroup `json:"groups"`
}

type scrubGroup struct {
	ID       string        `json:"id"`
	Replicas []string      `json:"replicas"`
	Vector   string        `json:"vector"` // at which they were compared
	Keys     uint64        `json:"keys"`   // of the replica that has most
	Differ   []scrubBucket `json:"differ"`
}

// scrubBucket is a part of the keys in which the replicas are not the same.
type scrubBucket struct {
	Bucket   int            `json:"bucket"`
	Replicas []scrubReplica `json:"replicas"`
	Keys     []scrubKey     `json:"keys"` // that differ; none if there are too many, or the replicas went on
}

type scrubReplica struct {
	Node   string `json:"node"`
	Keys   uint64 `json:"keys"`
	Digest string `json:"digest"`
}

type scrubKey struct {
	Key string            `json:"key"`
	At  map[string]string `json:"at"` // by node: a digest, absent or unreadable
}

func (a *app) scrubCommand() *cobra.Command {
	var patience time.Duration
	cmd := &cobra.Command{
		Use: "scrub NAME", Short: "compare the replicas of an ap keyspace, row by row", Args: takes(1, 1),
		Example: `  kvctl keyspace scrub carts
  kvctl keyspace scrub carts --timeout 10m -o json`,
		Long: `compare the replicas of an ap keyspace, row by row

Every member reads all its rows and digests them in 256 buckets of keys. Replicas that
have applied the same writes must have the same digests; one that has not holds something
else than was written. Nothing is repaired: take that node out of the cluster, and it is
filled anew under another name. Under constant writes the replicas may never have applied
the same; then it says so. The status is 7 if any bucket differs.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), patience)
			defer cancel()
			return a.with(func(c localcluster.Cluster) error {
				out, err := a.scrub(ctx, c, args[0])
				if err != nil {
					return err
				}
				return a.scrubbed(out)
			})
		},
	}
	cmd.Flags().DurationVar(&patience, "timeout", time.Minute, "how long it may take, and how long to wait until replicas have applied the same")
	return cmd
}

func (a *app) scrub(ctx context.Context, c localcluster.Cluster, name string) (scrubJSON, error) {
	out := scrubJSON{Keyspace: name, Verdict: "pass"}
	t, err := topology(ctx, c)
	if err != nil {
		return out, err
	}
	k, ok := t.Keyspace(name)
	switch {
	case !ok:
		return out, &store.Error{Code: store.NoSuchKeyspace, Keyspace: name, Msg: "there is no keyspace " + name, Try: "kvctl keyspace list"}
	case k.Mode != store.AP:
		return out, &store.Error{
			Code: store.Unsupported, Op: "scrub", Keyspace: name,
			Msg: "a cp keyspace is not scrubbed: its entries carry checksums in the log", Try: "an ap keyspace",
		}
	}
	for s := range k.Groups {
		g := scrubber{c: c, keyspace: k, shard: s}
		found, err := g.group(ctx)
		if err != nil {
			return out, err
		}
		a.progress("group %s: %d keys on %s compared, %s", found.ID, found.Keys, strings.Join(found.Replicas, ", "), differing(found))
		if len(found.Differ) > 0 {
			out.Verdict = "fail"
		}
		out.Groups = append(out.Groups, found)
	}
	return out, nil
}

func differing(g scrubGroup) string {
	switch n := len(g.Differ); n {
	case 0:
		return "equal"
	case 1:
		return "1 bucket differs"
	default:
		return fmt.Sprintf("%d buckets differ", n)
	}
}

// scrubbed prints what was found and returns what the exit status is to say.
func (a *app) scrubbed(out scrubJSON) error {
	if a.output == "json" {
		a.json(out)
	} else {
		a.scrubTable(out)
	}
	if out.Verdict != "pass" {
		return errFailed
	}
	return nil
}

func (a *app) scrubTable(out scrubJSON) {
	rows := [][]string{{"GROUP", "NODES", "KEYS", "BUCKETS THAT DIFFER"}}
	for _, g := range out.Groups {
		var buckets []string
		for _, b := range g.Differ {
			buckets = append(buckets, fmt.Sprint(b.Bucket))
		}
		rows = append(rows, []string{g.ID, strings.Join(g.Replicas, ","), fmt.Sprint(g.Keys), dash(strings.Join(buckets, ","))})
	}
	a.table(rows)
	for _, g := range out.Groups {
		for _, b := range g.Differ {
			for _, key := range b.Keys {
				var at []string
				for _, node := range g.Replicas {
					at = append(at, node+" "+key.At[node])
				}
				fmt.Fprintf(a.out, "%s %q: %s\n", a.mark(false), key.Key, strings.Join(at, ", "))
			}
		}
	}
	fmt.Fprintf(a.out, "verdict: %s\n", out.Verdict)
}

// scrubber compares the replicas of one group.
type scrubber struct {
	c        localcluster.Cluster
	keyspace shard.Keyspace
	shard    uint32
}

// scrubPause is how long replicas are given to come to the same vector.
const scrubPause = 300 * time.Millisecond

// maxDrilled bounds the buckets of which the keys are looked for.
const maxDrilled = 16

func (s scrubber) id() store.GroupID { return store.GroupID{Keyspace: s.keyspace.ID, Shard: s.shard} }

func (s scrubber) group(ctx context.Context) (scrubGroup, error) {
	for {
		all, err := s.ask(ctx, &kvpb.DigestRequest{})
		if err != nil {
			return scrubGroup{}, err
		}
		if ofOneVector(all) {
			return s.compare(ctx, all), nil
		}
		select {
		case <-time.After(scrubPause):
		case <-ctx.Done():
			return scrubGroup{}, &store.Error{
				Code: store.Unavailable, Op: "scrub", Keyspace: s.keyspace.Name, Group: s.id(),
				Msg: "the replicas were at no time found to have applied the same writes", Try: "again when less is written, or a longer --timeout",
			}
		}
	}
}

// ofOneVector reports whether all answers are of one vector.
func ofOneVector(all []*kvpb.DigestResponse) bool {
	return !slices.ContainsFunc(all, func(d *kvpb.DigestResponse) bool { return !bytes.Equal(d.GetEntry(), all[0].GetEntry()) })
}

// ask asks all members at once.
func (s scrubber) ask(ctx context.Context, r *kvpb.DigestRequest) ([]*kvpb.DigestResponse, error) {
	members := s.keyspace.Serving(s.shard)
	all, errs := make([]*kvpb.DigestResponse, len(members)), make([]error, len(members))
	done := make(chan struct{})
	for i, name := range members {
		go func() {
			defer func() { done <- struct{}{} }()
			admin, err := s.c.Admin(name)
			if err == nil {
				all[i], err = admin.Digest(ctx, &kvpb.DigestRequest{
					KeyspaceId: s.keyspace.ID, Shard: s.shard, After: r.GetAfter(), OfBucket: r.GetOfBucket(), Bucket: r.GetBucket(),
				})
				err = kvpb.FromStatus(err)
			}
			if err != nil {
				e := *store.AsError(err)
				if e.Code == store.Unknown { // nothing is changed by asking
					e.Code = store.Unavailable
				}
				e.Op, e.Node = "scrub", name
				errs[i] = &e
			}
		}()
	}
	for range members {
		<-done
	}
	return all, errors.Join(errs...)
}

func (s scrubber) compare(ctx context.Context, all []*kvpb.DigestResponse) scrubGroup {
	members := s.keyspace.Serving(s.shard)
	g := scrubGroup{ID: s.id().String(), Replicas: members, Vector: all[0].GetVector(), Differ: []scrubBucket{}}
	for _, d := range all {
		keys := uint64(0)
		for _, n := range d.GetRows() {
			keys += n
		}
		g.Keys = max(g.Keys, keys)
	}
	for i := range all[0].GetSums() {
		if b, differs := bucket(members, all, i); differs {
			if len(g.Differ) < maxDrilled {
				b.Keys = s.keys(ctx, all[0].GetEntry(), i)
			}
			g.Differ = append(g.Differ, b)
		}
	}
	return g
}

// bucket puts together what the replicas say of one bucket.
func bucket(members []string, all []*kvpb.DigestResponse, i int) (b scrubBucket, differs bool) {
	b = scrubBucket{Bucket: i, Keys: []scrubKey{}}
	for m, d := range all {
		if i >= len(d.GetSums()) || i >= len(d.GetRows()) {
			continue // a node that knows fewer buckets compares no others
		}
		differs = differs || d.GetSums()[i] != all[0].GetSums()[i] || d.GetRows()[i] != all[0].GetRows()[i]
		b.Replicas = append(b.Replicas, scrubReplica{members[m], d.GetRows()[i], fmt.Sprintf("%016x", d.GetSums()[i])})
	}
	return b, differs
}

// keys looks for the keys in which a bucket differs. If the replicas have gone on, it
// finds none.
func (s scrubber) keys(ctx context.Context, entry []byte, i int) []scrubKey {
	all, err := s.ask(ctx, &kvpb.DigestRequest{After: entry, OfBucket: true, Bucket: uint32(i)})
	if err != nil || !ofOneVector(all) || !bytes.Equal(all[0].GetEntry(), entry) {
		return []scrubKey{}
	}
	return unlike(s.keyspace.Serving(s.shard), all)
}

// unlike lists the keys that are not the same everywhere.
func unlike(members []string, all []*kvpb.DigestResponse) []scrubKey {
	at := make(map[string]map[string]string)
	for m, d := range all {
		for _, key := range d.GetKeys() {
			if at[string(key.GetKey())] == nil {
				at[string(key.GetKey())] = make(map[string]string)
			}
			what := fmt.Sprintf("%016x", key.GetSum())
			if key.GetUnreadable() {
				what = "unreadable"
			}
			at[string(key.GetKey())][members[m]] = what
		}
	}
	found := []scrubKey{}
	for key, nodes := range at {
		for _, name := range members {
			if nodes[name] == "" {
				nodes[name] = "absent"
			}
		}
		if slices.ContainsFunc(members, func(name string) bool { return nodes[name] != nodes[members[0]] || nodes[name] == "unreadable" }) {
			found = append(found, scrubKey{key, nodes})
		}
	}
	slices.SortFunc(found, func(a, b scrubKey) int { return strings.Compare(a.Key, b.Key) })
	return found
}

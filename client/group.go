package client

import (
	"fmt"
	"strings"
	"sync"

	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// groupOf returns the one group that holds every key of the command, or the group that
// a command without a key was given.
func groupOf(ks shard.Keyspace, c store.Command, o options) (store.GroupID, error) {
	first, other := "", ""
	c.Keys(func(key string) bool {
		if first == "" {
			first = key
		}
		if ks.Shard(key) != ks.Shard(first) {
			other = key
		}
		return other == ""
	})
	switch {
	case other != "":
		return store.GroupID{}, apart(first, other)
	case first != "" && o.shard != nil:
		return store.GroupID{}, invalid("a write goes to the group of its key", "client.InGroup with a range")
	case first != "":
		return ks.Group(first), nil
	}
	n, err := placed(ks, o)
	return store.GroupID{Keyspace: ks.ID, Shard: n}, err
}

func hasKey(c store.Command) (has bool) {
	c.Keys(func(string) bool { has = true; return false })
	return has
}

// placed is the group of a command without a key.
func placed(ks shard.Keyspace, o options) (uint32, error) {
	switch {
	case o.write.place != "":
		return ks.Shard(o.write.place), nil
	case o.shard == nil && ks.Groups > 1:
		return 0, invalid(
			fmt.Sprintf("keyspace %q has %d groups, and a lease is of one of them", ks.Name, ks.Groups),
			"the key, or the {tag}, of what will be attached to it")
	}
	list, err := shards(ks, "", o.shard)
	if err != nil {
		return 0, err
	}
	return list[0], nil
}

func apart(key, other string) error {
	return invalid(fmt.Sprintf("%.60q and %.60q are not in the same group", key, other),
		"keys that share a {tag}: only what stands in the braces decides, as in {u42}/cart and {u42}/name")
}

// tagged reports whether all keys that begin so are in one group, whatever follows,
// because the tag ends within the prefix.
func tagged(prefix string) bool {
	_, rest, ok := strings.Cut(prefix, "{")
	inner, _, closed := strings.Cut(rest, "}")
	return ok && closed && inner != ""
}

// shards lists the groups of a range: the one that was asked for, the one that holds
// everything with the prefix, or all.
func shards(ks shard.Keyspace, prefix string, only *uint32) ([]uint32, error) {
	switch {
	case only != nil && *only >= ks.Groups:
		return nil, invalid(fmt.Sprintf("keyspace %q has %d groups, there is no shard %d", ks.Name, ks.Groups, *only), "")
	case only != nil && tagged(prefix) && ks.Shard(prefix) != *only:
		return nil, invalid(fmt.Sprintf("the keys with prefix %.60q are in shard %d, not %d", prefix, ks.Shard(prefix), *only), "")
	case only != nil:
		return []uint32{*only}, nil
	case tagged(prefix):
		return []uint32{ks.Shard(prefix)}, nil
	}
	all := make([]uint32, ks.Groups)
	for i := range all {
		all[i] = uint32(i)
	}
	return all, nil
}

// oneShard is the group of a query: of its key or, of a range, the one group it can
// be a page of.
func oneShard(ks shard.Keyspace, q store.Query, only *uint32) (uint32, error) {
	if !q.Scan() {
		return ks.Shard(q.Key), nil
	}
	list, err := shards(ks, q.Prefix, only)
	if err == nil && len(list) > 1 {
		err = &store.Error{
			Code: store.Unsupported, Op: "scan", Msg: fmt.Sprintf("a page is of one group, the keyspace has %d", ks.Groups),
			Try: "Scan, which merges them, InGroup, or a prefix with a {tag}",
		}
	}
	if err != nil {
		return 0, err
	}
	return list[0], nil
}

// parallel runs f for 0 to n-1 at once, and returns the first error by number.
func parallel(n int, f func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

package lab

import (
	"context"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// scan reads all pages of a range. History has scans page by page; this one is not for
// the checkers and stays out of it.
func scan(ctx context.Context, c *call) (any, error) {
	level, bound, err := store.ParseLevelBound(c.text("level"))
	if err != nil {
		return nil, err
	}
	v, err := c.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer v.leave()
	opts := []client.Option{client.In(v.live), client.WithTimeout(c.time("timeout", opTimeout))}
	if level == store.Bounded {
		opts = append(opts, client.Bounded(bound))
	} else if level != store.LevelDefault {
		opts = append(opts, client.At(level))
	}
	keys, values := []string{}, []string{}
	for item, failed := range v.client.Keyspace(c.text("keyspace")).Scan(ctx, store.Query{Prefix: c.text("prefix"), Limit: maxScan}, opts...) {
		if err = failed; err != nil {
			break
		}
		keys = append(keys, item.Key)
		for _, value := range item.Values {
			values = append(values, string(value))
		}
	}
	_, told := proved(store.Proof{}, err)
	told["keys"], told["values"], told["count"] = keys, values, len(keys)
	return told, nil
}

// maxScan is how many keys a scan of an experiment shows.
const maxScan = 1000

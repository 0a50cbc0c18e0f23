package lab

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// lockTTL is how long a lock is held without a sign of life.
const lockTTL = 2 * time.Second

func lock(ctx context.Context, c *call) (any, error) {
	v, err := c.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer v.leave()
	began := time.Now()
	l, err := v.client.Keyspace(c.text("keyspace")).Lock(ctx, c.text("name"), c.time("ttl", lockTTL), client.In(v.live), client.WithTimeout(c.time("timeout", opTimeout)))
	_, told := proved(store.Proof{}, err)
	told["took_ms"] = milliseconds(time.Since(began))
	if err != nil {
		return told, nil
	}
	told["fence"] = strconv.FormatUint(l.Fence().Revision, 10)
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	c.world.locks[c.text("session")+"\x00"+c.text("name")] = l
	return told, nil
}

func (c *call) heldLock(name string) *client.Lock {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	return c.world.locks[c.text("session")+"\x00"+name]
}

func unlock(ctx context.Context, c *call) (any, error) {
	l := c.heldLock(c.text("name"))
	if l == nil {
		return nil, &store.Error{Code: store.Invalid, Op: "unlock", Msg: fmt.Sprintf("the session has no lock %q", c.text("name"))}
	}
	_, told := proved(store.Proof{}, l.Unlock(ctx))
	return told, nil
}

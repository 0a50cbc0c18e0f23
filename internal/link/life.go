package link

import (
	"context"
	"net"
	"time"
)

// life is the context of an endpoint: it ends when the endpoint is closed or killed.
type life chan struct{}

func (l life) Deadline() (time.Time, bool) { return time.Time{}, false }
func (l life) Done() <-chan struct{}       { return l }
func (l life) Value(any) any               { return nil }

func (l life) Err() error {
	select {
	case <-l:
		return context.Canceled
	default:
		return nil
	}
}

// join returns a context that ends with ctx or with l, then caused by net.ErrClosed.
func (l life) join(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	if l.Err() != nil {
		cancel(net.ErrClosed)
	}
	stop := context.AfterFunc(l, func() { cancel(net.ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

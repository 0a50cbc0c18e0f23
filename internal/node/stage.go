package node

import (
	"context"
	"errors"
	"sync"
)

// stage is a set of goroutines that stop together.
type stage struct {
	cancel context.CancelFunc
	parts  sync.WaitGroup
}

// start runs each part until the stage stops. The first error of any is reported.
func start(ctx context.Context, failed *firstError, parts ...func(context.Context) error) *stage {
	ctx, cancel := context.WithCancel(ctx)
	s := &stage{cancel: cancel}
	for _, part := range parts {
		s.parts.Go(func() {
			if err := part(ctx); err != nil && !errors.Is(err, context.Canceled) {
				failed.set(err)
			}
		})
	}
	return s
}

func (s *stage) stop() {
	s.cancel()
	s.parts.Wait()
}

// firstError keeps the first error it is given.
type firstError struct {
	mu   sync.Mutex
	e    error
	done chan struct{}
}

func (f *firstError) happened() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done == nil {
		f.done = make(chan struct{})
		if f.e != nil {
			close(f.done)
		}
	}
	return f.done
}

func (f *firstError) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.e != nil {
		return
	}
	f.e = err
	if f.done != nil {
		close(f.done)
	}
}

func (f *firstError) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.e
}

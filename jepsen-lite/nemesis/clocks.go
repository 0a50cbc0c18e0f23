package nemesis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Clocks is a cluster whose nodes' wall clocks can be set wrong.
type Clocks interface {
	// Skew sets a node's wall clock that much ahead, or behind; 0 heals.
	Skew(ctx context.Context, name string, ahead time.Duration) error
}

// How far a clock is wrong.
const (
	skewLeast = time.Second
	skewMost  = 10 * time.Second
)

// jump cuts a node off, kills it and starts it again there, and sets its clock back: alone
// it has nobody to tell it the time, and stamps with an earlier one than is on its disk.
func (n *nemesis) jump(ctx context.Context, node string, hold time.Duration) fault {
	clocks := n.cluster.(Clocks)
	f, end := n.partition(ctx, []string{node}), n.kill([]string{node})
	cut, whole := f.begin, f.heal
	back := -n.drawn(skewLeast, skewMost).Round(time.Millisecond)
	f.detail += fmt.Sprintf(", and %s starts again %v behind", node, -back)
	f.begin = func(ctx context.Context) error {
		if err := errors.Join(cut(ctx), end.begin(ctx)); err != nil {
			return err
		}
		alone, cancel := context.WithTimeout(ctx, hold/4)
		defer cancel()
		_ = n.cluster.Restart(alone, node) // it may never be ready there; effect asks whether it runs
		return clocks.Skew(ctx, node, back)
	}
	f.counts = false
	f.effect = func(ctx context.Context) string {
		if is, err := n.faults(ctx, node); err != nil || is.GetSkewNs() != int64(back) {
			return ""
		}
		return fmt.Sprintf("%s stamped with a clock that had gone back by %v", node, -back)
	}
	f.heal = func(ctx context.Context) error {
		return errors.Join(n.cluster.SetFaults(ctx, nil), end.heal(ctx), clocks.Skew(ctx, node, 0), whole(ctx))
	}
	return f
}

// skew sets the wall clocks of some nodes wrong, each by as much of its own.
func (n *nemesis) skew(nodes []string) fault {
	clocks := n.cluster.(Clocks)
	ahead := make(map[string]time.Duration)
	var said []string
	for _, node := range nodes {
		ahead[node] = n.drawn(skewLeast, skewMost).Round(time.Millisecond)
		if n.rng.IntN(2) == 0 {
			ahead[node] = -ahead[node]
		}
		said = append(said, fmt.Sprintf("%s by %v", node, ahead[node]))
	}
	// is reports whether each node says that its clock is wrong by so much.
	is := func(ctx context.Context, want func(node string) time.Duration) error {
		return each(nodes, func(node string) error {
			f, err := n.faults(ctx, node)
			if err == nil && time.Duration(f.GetSkewNs()) != want(node) {
				err = unhealed(fmt.Sprintf("its clock is wrong by %v", time.Duration(f.GetSkewNs())))
			}
			return err
		})
	}
	set := func(ctx context.Context, want func(node string) time.Duration) error {
		return each(nodes, func(node string) error { return clocks.Skew(ctx, node, want(node)) })
	}
	wrong := func(node string) time.Duration { return ahead[node] }
	right := func(string) time.Duration { return 0 }
	return fault{
		detail: strings.Join(said, ", "),
		begin:  func(ctx context.Context) error { return set(ctx, wrong) },
		effect: func(ctx context.Context) string {
			if is(ctx, wrong) != nil {
				return ""
			}
			return strings.Join(nodes, ", ") + " stamped with a wrong clock"
		},
		heal: func(ctx context.Context) error {
			return errors.Join(set(ctx, right), is(ctx, right))
		},
	}
}

// How often a clock that strobes is set.
const (
	strobeLeast = 5 * time.Millisecond
	strobeMost  = 100 * time.Millisecond
)

// strobe sets the wall clock of a node to and fro, many times a second: what it stamps
// next may be earlier by seconds than what it stamped last.
func (n *nemesis) strobe(node string) fault {
	clocks := n.cluster.(Clocks)
	every, ahead := n.drawn(strobeLeast, strobeMost), n.drawn(skewLeast, skewMost).Round(time.Millisecond)
	seen := map[int64]bool{}
	stop := func() {}
	return fault{
		detail: fmt.Sprintf("%s by %v", node, ahead),
		begin: func(ctx context.Context) error {
			if err := clocks.Skew(ctx, node, ahead); err != nil {
				return err
			}
			life, cancel := context.WithCancel(ctx)
			done := make(chan struct{})
			stop = func() { cancel(); <-done }
			go func() {
				defer close(done)
				for to := time.Duration(0); wait(life, every) == nil; to = ahead - to {
					_ = clocks.Skew(life, node, to) // effect looks at what the clock is
				}
			}()
			return nil
		},
		effect: func(ctx context.Context) string {
			if f, err := n.faults(ctx, node); err == nil {
				seen[f.GetSkewNs()] = true
			}
			if !seen[0] || !seen[int64(ahead)] {
				return ""
			}
			return fmt.Sprintf("the clock of %s went %v to and fro every %v", node, ahead, every.Round(time.Millisecond))
		},
		heal: func(ctx context.Context) error {
			stop()
			if err := clocks.Skew(ctx, node, 0); err != nil {
				return err
			}
			f, err := n.faults(ctx, node)
			if err == nil && f.GetSkewNs() != 0 {
				err = unhealed(fmt.Sprintf("its clock is wrong by %v", time.Duration(f.GetSkewNs())))
			}
			return err
		},
	}
}

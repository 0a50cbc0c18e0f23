package membership

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/dialkv/dialkv/internal/mutant"
)

// joinsAtOnce is how many missing peers a round tries. A join is a full exchange,
// so one that succeeds brings the others; more than one, because some are dead.
const joinsAtOnce = 3

// rejoin looks at once, and then every few seconds, for peers that are missing.
func (m *Members) rejoin(ctx context.Context, list *memberlist.Memberlist) {
	for {
		var round sync.WaitGroup
		for _, name := range m.missing() {
			round.Go(func() { _, _ = list.Join([]string{joinAddress(name)}) }) // the next round tries again
		}
		round.Wait()
		if mutant.M27 {
			return
		}
		next := time.NewTimer(m.cfg.Profile.round())
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return
		}
	}
}

// missing draws a few of the peers that are not members.
func (m *Members) missing() []string {
	var names []string
	for _, name := range m.cfg.Peers() {
		if name != m.cfg.Endpoint.Name() && !m.view.has(name) {
			names = append(names, name)
		}
	}
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names[:min(len(names), joinsAtOnce)]
}

// announce turns changes of the view into events, outside memberlist's locks. A
// member that went and came back in between is not announced.
func (m *Members) announce(ctx context.Context) {
	known := map[string]Member{}
	for {
		changed := m.Changed()
		now := map[string]Member{}
		for _, member := range m.List() {
			if member.Name == m.cfg.Endpoint.Name() {
				continue
			}
			now[member.Name] = member
			if before, ok := known[member.Name]; !ok || !before.equal(member) {
				m.cfg.Events.Joined(member)
			}
		}
		for name, member := range known {
			if _, ok := now[name]; !ok {
				m.cfg.Events.Left(member)
			}
		}
		known = now
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

package membership

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/memberlist"
)

// view is the list of members. It is ours, not memberlist's, because hooks run under
// memberlist's lock and its own nodes change under the reader.
type view struct {
	mu      sync.Mutex
	members map[string]Member
	changed chan struct{} // nil until somebody waits
}

func (v *view) put(m Member) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.members == nil {
		v.members = map[string]Member{}
	}
	v.members[m.Name] = m
	v.wake()
}

func (v *view) remove(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.members, name)
	v.wake()
}

func (v *view) wake() {
	if v.changed != nil {
		close(v.changed)
		v.changed = nil
	}
}

func (v *view) has(name string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := v.members[name]
	return ok
}

func (v *view) list() []Member {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.SortedFunc(maps.Values(v.members), func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
}

func (v *view) changes() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.changed == nil {
		v.changed = make(chan struct{})
	}
	return v.changed
}

// hooks is what memberlist calls, under its lock: nothing here waits or calls back.
type hooks struct{ *Members }

var (
	_ memberlist.Delegate      = (*hooks)(nil)
	_ memberlist.EventDelegate = (*hooks)(nil)
	_ memberlist.AliveDelegate = (*hooks)(nil)
	_ memberlist.MergeDelegate = (*hooks)(nil)
)

func (h *hooks) NotifyJoin(n *memberlist.Node) {
	if member, err := h.member(n); err == nil { // NotifyAlive saw to that
		h.view.put(member)
	}
}

func (h *hooks) NotifyUpdate(n *memberlist.Node) { h.NotifyJoin(n) }
func (h *hooks) NotifyLeave(n *memberlist.Node)  { h.view.remove(n.Name) }

// NotifyAlive refuses nodes of another cluster one by one; the label keeps most of
// them out before, but whoever has the label wrong by hand would merge two clusters.
func (h *hooks) NotifyAlive(n *memberlist.Node) error {
	_, err := h.member(n)
	return err
}

// NotifyMerge refuses a whole exchange with another cluster.
func (h *hooks) NotifyMerge(peers []*memberlist.Node) error {
	for _, n := range peers {
		if _, err := h.member(n); err != nil {
			return err
		}
	}
	return nil
}

func (h *hooks) member(n *memberlist.Node) (Member, error) {
	cluster, member, err := decodeMeta(n.Meta)
	if err != nil {
		return Member{}, fmt.Errorf("node %s: %w", n.Name, err)
	}
	if cluster != h.cfg.Cluster {
		return Member{}, fmt.Errorf("node %s is of cluster %q, this is %q", n.Name, cluster, h.cfg.Cluster)
	}
	member.Name = n.Name
	return member, nil
}

func (h *hooks) NodeMeta(int) []byte { return h.self }

// No data travels here.
func (h *hooks) NotifyMsg([]byte)                {}
func (h *hooks) GetBroadcasts(int, int) [][]byte { return nil }
func (h *hooks) LocalState(bool) []byte          { return nil }
func (h *hooks) MergeRemoteState([]byte, bool)   {}

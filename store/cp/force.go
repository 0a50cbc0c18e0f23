package cp

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/logpb"
	"github.com/dialkv/dialkv/store"
)

// A group whose majority is gone for good can be forced to go on with what one member
// has: that member becomes its only voter (Ongaro, thesis, 4.1, leaves it to the
// operator). What others acknowledged and this member has not is lost, so it begins a
// new epoch, as a restore does; and a new lineage, which keeps a member of before apart,
// should one come back: its log may hold other entries under the same numbers.

// lineage is drawn by each forcing, so that two members which were forced apart are kept
// apart as well; 0 until the first. It opens every connection of Raft's and is in every
// call.
type lineage struct{ of *machine }

func (l lineage) own() uint64 {
	if v := l.of.views.Load(); v != nil {
		return v.lineage
	}
	return 0
}

// admits reports whether a member of that lineage may be heard. A member that holds
// nothing yet is of whichever it hears first.
func (l lineage) admits(other uint64) bool {
	v := l.of.views.Load()
	return v != nil && (v.lineage == other || v.index == 0)
}

// Held is what a member that is not running has of a group.
type Held struct {
	Group    store.GroupID
	Index    uint64   // of its last log entry, committed or not
	Term     uint64   // of that entry
	Applied  uint64   // the entry its state has reached
	Revision uint64   // of its state
	Epoch    uint64   // restores and forcings since the group began
	Members  []string // voters, as far as it knows
	CaughtUp bool     // it has served; if not, it has no state that one could go on with
}

// Holds reports whether a node keeps, or has kept, a member of the cp group.
func Holds(e *engine.Engine, group store.GroupID) (bool, error) {
	kind, err := logKind(e, group)
	return kind != "", err
}

// logKind is the kind of log the group has on this node; "" if it has none.
func logKind(e *engine.Engine, group store.GroupID) (string, error) {
	b, _, err := e.Space(group, spaceState).Get([]byte(keyLogKind))
	return string(b), err
}

// asleep opens a member that does not run, with the kind of log it has.
func asleep(cfg Config) (*Replica, error) {
	kind, err := logKind(cfg.Engine, cfg.Group)
	if err != nil {
		return nil, err
	}
	if cfg.OpenLog = EngineLog; kind == boltKind {
		cfg.OpenLog = BoltLog
	}
	return load(cfg)
}

// Inspect reads what the member has. Nothing else may have it open; of cfg it needs the
// node, the group and the engine. Its errors are those of Open.
func Inspect(cfg Config) (Held, error) {
	r, err := asleep(cfg)
	if err != nil {
		return Held{}, err
	}
	h, err := r.inspect()
	return h, errors.Join(err, r.logFile.Close())
}

func (r *Replica) inspect() (Held, error) {
	m := r.machine.state.meta
	h := Held{Group: r.cfg.Group, Index: m.AppliedIndex, Term: m.AppliedTerm, Applied: m.AppliedIndex, Revision: m.Revision, Epoch: m.Epoch, CaughtUp: r.caughtUp.happened()}
	last, err := r.log.LastIndex()
	if err == nil && last > h.Index {
		var entry raft.Log
		err = r.log.GetLog(last, &entry)
		h.Index, h.Term = last, entry.Term
	}
	for _, s := range r.confs.latest().servers {
		if s.Suffrage == raft.Voter {
			h.Members = append(h.Members, string(s.ID))
		}
	}
	return h, err
}

// Force makes this member the only voter of its group. Every entry of its log is applied,
// those included that were never known to be committed: some may have been, and their
// writers told so. Lost is what was acknowledged without this member. Tokens, watches and
// exactly-once sessions of before are refused from now on, as after a restore.
//
// A member that has never caught up is refused, Unavailable. After a crash in the middle,
// or an error, the group is as before, or forced, or the replica can only be forced again.
func Force(cfg Config) (Held, error) {
	r, err := asleep(cfg)
	if err != nil {
		return Held{}, err
	}
	h, err := r.force()
	return h, errors.Join(err, r.logFile.Close())
}

func (r *Replica) force() (Held, error) {
	before, err := r.inspect()
	switch {
	case err != nil:
		return Held{}, err
	case before.Index == 0 || !before.CaughtUp:
		return Held{}, r.at(&store.Error{
			Code: store.Unavailable, Msg: fmt.Sprintf("%s joined the group and never caught up, so it has no state to go on with", r.cfg.Node),
			Try: "another member of the group, or a snapshot",
		}, "recover")
	}
	// From here on the state may hold what was never committed, so until this is done the
	// replica must not run in the group of before.
	if err := r.mark(keyForcing); err != nil {
		return Held{}, err
	}
	if err := r.replay(before.Index); err != nil {
		return Held{}, err
	}
	if err := r.writeForced(before.Index+1, before.Term); err != nil {
		return Held{}, err
	}
	if err := r.recover(); err != nil {
		return Held{}, err
	}
	if err := r.unmark(keyForcing); err != nil {
		return Held{}, err
	}
	return r.inspect()
}

// writeForced writes the group as it shall go on into a snapshot that lies beyond the
// log. With it the group is forced: every start takes it in and drops the log, whose
// configurations and sessions are of the lineage before.
func (r *Replica) writeForced(index, term uint64) error {
	s := r.machine.state
	meta := s.forced(index, term)
	conf := raft.Configuration{Servers: []raft.Server{
		{Suffrage: raft.Voter, ID: raft.ServerID(r.cfg.Node), Address: raft.ServerAddress(r.cfg.Node)},
	}}
	out, err := r.snaps.Create(raft.SnapshotVersionMax, index, term, conf, index, nil)
	if err != nil {
		return err
	}
	c := &capture{view: s.view(), engine: r.cfg.Engine, meta: meta, group: r.cfg.Group}
	defer c.Release()
	if err := c.write(out, c.header(), func(kind byte) bool { return kept[kind] }); err != nil {
		return errors.Join(err, out.Cancel())
	}
	return out.Close()
}

// mark sets a mark beside the state; it is on disk when mark returns.
func (r *Replica) mark(key string) error {
	b := r.machine.state.space.Batch()
	b.Set([]byte(key), nil)
	return b.Commit(true)
}

func (r *Replica) unmark(key string) error {
	b := r.machine.state.space.Batch()
	b.Delete([]byte(key))
	return b.Commit(true)
}

// checkForced refuses a replica whose forcing was begun and not completed.
func (r *Replica) checkForced() error {
	_, forcing, err := r.machine.state.space.Get([]byte(keyForcing))
	if forcing {
		err = &store.Error{
			Code: store.Invalid, Group: r.cfg.Group, Msg: "the group was being forced to go on with this member alone, and that was not completed",
			Try: "kvctl node recover with --yes once more",
		}
	}
	return err
}

// replay applies what the log has beyond the state.
func (r *Replica) replay(last uint64) error {
	r.machine.publish()
	defer r.machine.close()
	for i := r.machine.state.meta.AppliedIndex + 1; i <= last; i++ {
		entry := new(raft.Log)
		if err := r.log.GetLog(i, entry); err != nil {
			return r.corrupt(fmt.Sprintf("log entry %d cannot be read", i), err)
		}
		r.machine.ApplyBatch([]*raft.Log{entry})
		if r.machine.broken != nil {
			return r.machine.broken
		}
	}
	return nil
}

// forced is what the state says of itself in a new epoch and lineage.
func (s *state) forced(index, term uint64) *logpb.State {
	m := s.meta
	return &logpb.State{
		Version: formatVersion, AppliedIndex: index, AppliedTerm: term, LeaderMs: m.LeaderMs,
		Revision: m.Revision + 1, Epoch: m.Epoch + 1, Lineage: randomID(), History: m.Revision + 2,
		Total: m.Total, Leases: m.Leases, Deps: m.Deps,
	}
}

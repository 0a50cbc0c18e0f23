package cp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/store"
)

// Replica is this node's copy of one cp group. It is safe for concurrent use.
type Replica struct {
	cfg     Config
	log     Log
	late    lateLog // the same log, if it can store late; or nil
	logFile io.Closer
	snaps   *snapshots
	machine *machine

	raft     atomic.Pointer[raft.Raft] // set while Run runs
	running  chan struct{}             // closed when raft is set
	down     chan struct{}             // closed when the replica is ending; nothing new is taken
	broken   chan error                // the first error that makes the replica untrustworthy
	queue    chan *pending             // commands for the proposer
	waiting  atomic.Int64              // bytes in queue
	rounds   chan *waiter              // strong reads for the next read-index round
	proof    atomic.Pointer[time.Time] // when the last proof of freshness was asked for
	caughtUp event                     // it may serve reads
	changed  nudge                     // leader or role changed

	poll        poll
	abandoned   atomic.Uint64 // id of a restore that was given up, 0 if there is none
	roundNumber atomic.Uint64 // of the last round, so that an answer is matched to its question

	pins    *engine.Pins[basis] // views of scans between their pages
	readers readers             // calls that may hold a view

	confs   configurations
	dog     *watchdog
	counts  counts
	raftUp  atomic.Bool
	handing atomic.Int64 // when, by the watchdog's clock, a proposal was first refused for a transfer; 0: the last was not
}

var _ store.Replica = (*Replica)(nil)

// Open opens the replica's files and verifies them. Run brings it to life; reads
// and writes made before that wait for it.
func Open(cfg Config) (*Replica, error) {
	if cfg.Mux == nil || cfg.Peers == nil {
		return nil, &store.Error{Code: store.Invalid, Msg: "cp needs a mux and peers"}
	}
	r, err := load(cfg)
	if err != nil {
		return nil, err
	}
	if err := r.checkForced(); err != nil {
		return nil, errors.Join(err, r.logFile.Close())
	}
	return r, nil
}

// load opens a replica that may never run.
func load(cfg Config) (*Replica, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	r := &Replica{
		cfg:     cfg,
		running: make(chan struct{}),
		down:    make(chan struct{}),
		broken:  make(chan error, 1),
		queue:   make(chan *pending, queueLimit),
		rounds:  make(chan *waiter, queueLimit),
		pins:    engine.NewPins[basis](),
	}
	r.changed.init()
	r.caughtUp.ch = make(chan struct{})
	state, err := loadState(cfg.Engine, cfg.Group)
	if err != nil {
		return nil, fmt.Errorf("cp: open %v: %w", cfg.Group, err)
	}
	r.dog = &watchdog{fail: r.fail}
	r.machine = &machine{state: state, leases: newKeeper(state), failed: r.fail, down: r.down}
	r.machine.applying.init()
	if r.snaps, err = openSnapshots(cfg.Engine, cfg.Group); err != nil {
		return nil, err
	}
	r.snaps.installed, r.snaps.failed = r.confs.snapshot, r.fail
	log, logFile, err := cfg.OpenLog(cfg.Engine, cfg.Group)
	if err != nil {
		return nil, err
	}
	r.late, _ = log.(lateLog)
	r.log, r.logFile = watched{Log: log, dog: r.dog, confs: &r.confs, fail: r.fail, late: r.late, leads: r.isLeader, raftUp: &r.raftUp}, logFile
	if err := r.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("cp: open %v: %w", cfg.Group, err), r.logFile.Close())
	}
	return r, nil
}

// Run runs the replica until ctx ends, which is nil, or until it cannot be trusted
// any more, which is why.
func (r *Replica) Run(ctx context.Context) error {
	// What is in flight when ctx ends is still waited for, so the parts live on
	// a context of their own.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	r.machine.publish()
	layer, err := r.cfg.Mux.open(life, r.cfg.Group, lineage{r.machine})
	if err != nil {
		close(r.down)
		r.machine.close()
		return errors.Join(err, r.logFile.Close())
	}
	trans := r.newTransport(layer)
	ra, err := r.start(trans)
	if err != nil {
		close(r.down)
		r.machine.close()
		return errors.Join(err, trans.Close(), layer.Close(), r.logFile.Close())
	}
	dog, sleep := context.WithCancel(context.WithoutCancel(ctx))
	defer sleep()
	go r.dog.run(dog) // to the end: what Run waits for there may hang as well
	nudges, unwatch := r.observe(ra)
	r.raft.Store(ra)
	r.raftUp.Store(true)
	close(r.running)

	var parts sync.WaitGroup
	drained := make(chan struct{})
	go func() { defer close(drained); r.propose(ra) }()
	parts.Go(func() { r.follow(life, ra, nudges) })
	parts.Go(func() { r.runRounds(life) })
	parts.Go(func() { r.prove(life) })
	parts.Go(func() { r.pins.Run(life) })
	parts.Go(func() { r.checkDisk(life) })
	parts.Go(func() { r.chores(life, ra) })

	select {
	case <-ctx.Done():
	case err = <-r.broken:
	case <-r.cfg.Engine.Failed():
		err = r.cfg.Engine.Err()
	}
	close(r.down)
	waitFor(drained)
	if err == nil {
		r.handOver(life, ra)
	}
	cancel()
	unwatch()
	return r.orStuck(err, func() error {
		parts.Wait()
		err := errors.Join(trans.Close(), layer.Close(), ra.Shutdown().Error())
		r.machine.close()
		r.readers.drain()
		r.pins.Close()
		return errors.Join(err, r.logFile.Close())
	})
}

// handOver gives a leader's seat away before the replica stops, so that its clients
// wait for one election instead of noticing first that nobody leads.
func (r *Replica) handOver(life context.Context, ra *raft.Raft) {
	if ra.State() != raft.Leader || len(r.confs.latest().voters()) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(life, 2*r.cfg.Timing.Election)
	defer cancel()
	_ = r.transfer(ctx, ra, "") // without it the others elect a leader by themselves
}

// orStuck ends what Run began. A disk that does not answer can hold that up for ever,
// so then it is waited for no longer than drainTimeout.
func (r *Replica) orStuck(err error, end func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- end() }()
	limit := time.NewTimer(drainTimeout)
	defer limit.Stop()
	if !errors.Is(err, ErrStuck) {
		limit.Stop()
	}
	for {
		select {
		case late := <-ended:
			return errors.Join(err, late)
		case late := <-r.broken:
			err = errors.Join(err, late)
			if errors.Is(late, ErrStuck) {
				limit.Reset(0)
			}
		case <-limit.C:
			return err
		}
	}
}

const (
	// transportTimeout bounds one Raft request on the wire.
	transportTimeout = 2 * time.Second
	// drainTimeout bounds the wait for the entry in flight at the end. A leader
	// that is cut off answers within its lease; this is for a disk that hangs.
	drainTimeout = 5 * time.Second
)

// waitFor waits for the proposer to finish with the entry in flight: after Raft's
// shutdown its future may never be answered.
func waitFor(drained <-chan struct{}) {
	limit := time.NewTimer(drainTimeout)
	defer limit.Stop()
	select {
	case <-drained:
	case <-limit.C:
	}
}

// fail ends the replica with the first error that makes it untrustworthy.
func (r *Replica) fail(err error) {
	select {
	case r.broken <- err:
	default:
	}
}

func (r *Replica) start(trans transport) (*raft.Raft, error) {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(r.cfg.Node)
	conf.HeartbeatTimeout = r.cfg.Timing.Heartbeat
	conf.ElectionTimeout = r.cfg.Timing.Election
	conf.LeaderLeaseTimeout = r.cfg.Timing.Lease
	conf.CommitTimeout = r.cfg.Timing.Commit
	conf.TrailingLogs = r.cfg.Compaction.Trailing
	conf.SnapshotThreshold = r.cfg.Compaction.Threshold
	conf.SnapshotInterval = r.cfg.Compaction.Interval
	conf.NoSnapshotRestoreOnStart = true
	conf.NoLegacyTelemetry = true
	conf.ShutdownOnRemove = false // Run would not notice
	conf.Logger = r.cfg.Events.Logger
	if err := r.bootstrap(); err != nil {
		return nil, err
	}
	ra, err := raft.NewRaft(conf, watchedMachine{r.machine, r.late, r.dog}, r.log, r.log, r.snaps, planted(trans))
	if err != nil {
		return nil, fmt.Errorf("cp: start %v: %w", r.cfg.Group, err)
	}
	return ra, nil
}

// bootstrap writes the first configuration of a group that has none yet, as the
// first entry of its log. A crash at any point of it is made good by the next start,
// which raft.BootstrapCluster is not made for: after its first write it never begins
// again. Every member writes the same entry.
func (r *Replica) bootstrap() error {
	last, err := r.log.LastIndex()
	if err != nil {
		return err
	}
	metas, err := r.snaps.List()
	if err != nil || last > 0 || len(metas) > 0 || len(r.cfg.Bootstrap) == 0 {
		return err
	}
	// Leaders begin at term 2, so that this entry, of term 1, opens no leader's term.
	if term, err := r.term(); err != nil {
		return err
	} else if term == 0 {
		if err := r.log.SetUint64(keyCurrentTerm, 1); err != nil {
			return fmt.Errorf("cp: bootstrap %v: %w", r.cfg.Group, err)
		}
	}
	var first raft.Configuration
	for _, name := range r.cfg.Bootstrap {
		first.Servers = append(first.Servers, raft.Server{ID: raft.ServerID(name), Address: raft.ServerAddress(name)})
	}
	entry := &raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(first), AppendedAt: time.Now()}
	if err := r.log.StoreLog(entry); err != nil {
		return fmt.Errorf("cp: bootstrap %v: %w", r.cfg.Group, err)
	}
	return r.markCaughtUp()
}

// keyCurrentTerm is where Raft keeps its term.
var keyCurrentTerm = []byte("CurrentTerm")

// stale reports whether an append of a term to a member is needed by nobody: this
// replica does not lead that term any more, or the member has left.
func (r *Replica) stale(term uint64, member raft.ServerID) bool {
	ra := r.raft.Load()
	if ra == nil {
		return false
	}
	for _, s := range ra.GetConfiguration().Configuration().Servers {
		if s.ID == member {
			return ra.State() != raft.Leader || ra.CurrentTerm() != term
		}
	}
	return true
}

// observe nudges whoever waits when the leader or this replica's role changes.
func (r *Replica) observe(ra *raft.Raft) (<-chan raft.Observation, func()) {
	nudges := make(chan raft.Observation, 16)
	observer := raft.NewObserver(nudges, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	})
	ra.RegisterObserver(observer)
	return nudges, func() { ra.DeregisterObserver(observer) }
}

// LeaderChanged is closed at the next change of leadership or role. Take it before
// looking at Status.
func (r *Replica) LeaderChanged() <-chan struct{} { return r.changed.next() }

// follow passes changes of leadership on and opens each term this replica leads. It
// looks at what is and not at what it was told: the leader may have been heard before
// anybody observed it.
func (r *Replica) follow(ctx context.Context, ra *raft.Raft, nudges <-chan raft.Observation) {
	retry := time.NewTicker(r.cfg.Timing.Election)
	defer retry.Stop()
	var told seat
	for {
		told = r.tell(ra, told)
		switch leads := ra.State() == raft.Leader; {
		case !leads:
			r.handing.Store(0)
		case r.machine.views.Load().term != ra.CurrentTerm() || r.handing.Load() != 0:
			r.openTerm() // for a leader that was handing over, a question whether it still does
		}
		select {
		case <-nudges:
			r.changed.all()
		case <-retry.C:
		case <-ctx.Done():
			return
		}
	}
}

// seat is who leads, and whether this replica serves.
type seat struct {
	leader string
	term   uint64
	serves bool
}

// tell calls Events.Leader if something about the seat has changed since it was told
// last.
func (r *Replica) tell(ra *raft.Raft, told seat) seat {
	now := seat{leader: leaderOf(ra), serves: r.caughtUp.happened()}
	if now.leader != "" {
		now.term = ra.CurrentTerm()
	}
	if now != told && r.cfg.Events.Leader != nil {
		r.cfg.Events.Leader(r.cfg.Group, now.leader, ra.CurrentTerm())
	}
	return now
}

// Snapshot writes a snapshot of the state now, after which the log is cut.
func (r *Replica) Snapshot(ctx context.Context) error {
	ra, err := r.up(ctx)
	if err != nil {
		return r.at(err, "snapshot")
	}
	done := make(chan error, 1)
	go func() { done <- ra.Snapshot().Error() }()
	select {
	case err = <-done:
		if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
			return r.at(&store.Error{Code: store.Unavailable, Cause: err}, "snapshot")
		}
		return nil
	case <-ctx.Done():
		return r.at(store.Expired(ctx, "the snapshot"), "snapshot")
	}
}

// Status describes the replica.
func (r *Replica) Status() store.Status {
	s := store.Status{Group: r.cfg.Group, Mode: store.CP, Node: r.cfg.Node, Role: "starting", Members: r.cfg.Bootstrap}
	ra := r.raft.Load()
	if ra == nil {
		s.Detail = "the replica is starting"
		return s
	}
	s.Role = roleOf(ra)
	s.Leader, s.Term = leaderOf(ra), ra.CurrentTerm()
	s.Members = nil
	for _, server := range ra.GetConfiguration().Configuration().Servers {
		s.Members = append(s.Members, string(server.ID))
		if server.Suffrage != raft.Voter {
			s.NonVoters = append(s.NonVoters, string(server.ID))
		}
	}
	slices.Sort(s.Members)
	slices.Sort(s.NonVoters)
	if v := r.machine.views.Load(); v != nil {
		s.Applied, s.Revision, s.Epoch = v.index, v.revision, v.epoch
	}
	switch s.Ready = r.caughtUp.happened() && !r.ending(); {
	case r.ending():
		s.Detail = "the replica has stopped"
	case !s.Ready:
		s.Detail = "catching up since it joined"
	case s.Leader == "":
		s.Detail = "no leader is known"
	}
	return s
}

func roleOf(ra *raft.Raft) string {
	switch ra.State() {
	case raft.Leader:
		return "leader"
	case raft.Candidate:
		return "candidate"
	case raft.Follower:
		return "follower"
	}
	return "stopped"
}

func leaderOf(ra *raft.Raft) string {
	_, id := ra.LeaderWithID()
	return string(id)
}

// up returns Raft once it runs.
func (r *Replica) up(ctx context.Context) (*raft.Raft, error) {
	select {
	case <-r.down:
		return nil, r.stopping()
	case <-r.running:
		return r.raft.Load(), nil
	case <-ctx.Done():
		return nil, store.Expired(ctx, "the replica to start")
	}
}

func (r *Replica) ending() bool {
	select {
	case <-r.down:
		return true
	default:
		return false
	}
}

func (r *Replica) stopping() *store.Error {
	return &store.Error{Code: store.Unavailable, Group: r.cfg.Group, Node: r.cfg.Node, Msg: "the replica is stopping"}
}

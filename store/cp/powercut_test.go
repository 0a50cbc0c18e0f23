package cp_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/store"
)

// Power fails on all nodes before a sync, any sync of any node: of the log, of a table,
// of a snapshot, of a directory. What was acknowledged by then is there after a restart,
// and what was refused or never asked for is not.
func TestNoAcknowledgedWriteIsLostWhereverThePowerFails(t *testing.T) {
	want := 10_000
	if testing.Short() {
		want = 1_000
	}
	checked, missing, cuts := 0, 0, 0
	for seed := uint64(1); checked < want; seed++ {
		began := checked
		for _, cut := range powerCuts(t, seed) {
			linktest.Bubble(t, func(t *testing.T) {
				n, lost := cut.check(t)
				checked, missing, cuts = checked+n, missing+lost, cuts+1
			})
			if t.Failed() {
				t.Fatalf("seed %d, before %s: %d acknowledged writes are missing of %d checked", seed, cut.step, missing, checked)
			}
		}
		if checked == began {
			t.Fatalf("seed %d: nothing was acknowledged", seed)
		}
	}
	t.Logf("%d of %d acknowledged writes are missing after %d power cuts", missing, checked, cuts)
}

// powerCut is what all disks hold at one instant, and what had been asked and
// acknowledged by then.
type powerCut struct {
	step  string
	disks map[string]*vfs.MemFS
	asked []asked
}

// asked is a step of a call: it was begun, or acknowledged with a revision.
type asked struct {
	key      string
	op       store.Op
	revision uint64
}

// grid is the power supply of a group. It holds up all syncs while it looks at what
// would be left without it, so that this is one instant on all disks.
type grid struct {
	gate  sync.RWMutex // read by who syncs
	disks map[string]*vfs.MemFS
	rng   *rand.Rand
	cuts  []powerCut

	mu    sync.Mutex
	asked []asked
}

func (g *grid) note(a asked) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, a)
}

// rare is how many syncs of a kind of file there are to a power cut. The log is synced
// with every write, the others now and then.
func rare(name string) int {
	if filepath.Ext(name) == ".log" {
		return 150
	}
	return 12
}

// sync is a sync of a file, perhaps with a power cut before it.
func (g *grid) sync(name string, do func() error) error {
	g.gate.Lock()
	if g.rng.IntN(rare(name)) == 0 {
		g.mu.Lock()
		cut := powerCut{step: "a sync of " + name, disks: make(map[string]*vfs.MemFS), asked: g.asked[:len(g.asked):len(g.asked)]}
		g.mu.Unlock()
		for node, disk := range g.disks {
			cut.disks[node] = disk.CrashClone(vfs.CrashCloneCfg{})
		}
		g.cuts = append(g.cuts, cut)
	}
	g.gate.Unlock()
	g.gate.RLock()
	defer g.gate.RUnlock()
	return do()
}

// supplied is a disk on the grid.
type supplied struct {
	vfs.FS
	grid *grid
	node string
}

func (s supplied) file(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return suppliedFile{f, s.grid, s.node + ":" + name}, nil
}

func (s supplied) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, category)
	return s.file(name, f, err)
}

func (s supplied) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.ReuseForWrite(old, name, category)
	return s.file(name, f, err)
}

func (s supplied) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := s.FS.OpenReadWrite(name, category, opts...)
	return s.file(name, f, err)
}

func (s supplied) OpenDir(name string) (vfs.File, error) {
	f, err := s.FS.OpenDir(name)
	return s.file(name, f, err)
}

type suppliedFile struct {
	vfs.File
	grid *grid
	name string
}

func (f suppliedFile) Sync() error     { return f.grid.sync(f.name, f.File.Sync) }
func (f suppliedFile) SyncData() error { return f.grid.sync(f.name, f.File.SyncData) }

const (
	cutCallers = 8
	cutCalls   = 150 // of each caller
)

// powerCuts are cuts of a group that writes, takes snapshots and has to elect a leader,
// of which the seed chooses.
func powerCuts(t *testing.T, seed uint64) []powerCut {
	g := &grid{disks: make(map[string]*vfs.MemFS), rng: rand.New(rand.NewPCG(seed, 25))}
	for _, name := range []string{"n1", "n2", "n3"} {
		g.disks[name] = vfs.NewCrashableMem()
	}
	linktest.Bubble(t, func(t *testing.T) {
		c := newClusterFrom(t, g.disks, frequent, func(name string, fs vfs.FS) vfs.FS { return supplied{fs, g, name} })
		c.leader()
		var callers sync.WaitGroup
		for i := range cutCallers {
			callers.Go(func() {
				if i%2 == 0 {
					putAndDelete(t, c, g, i)
				} else {
					countOn(t, c, g, i)
				}
			})
		}
		busy := make(chan struct{})
		go func() { callers.Wait(); close(busy) }()
		for n := 0; ; n++ {
			select {
			case <-busy:
				return
			case <-time.After(20 * time.Millisecond):
			}
			_ = c.nodes[c.names[n%3]].replica.Snapshot(within(t, 5*time.Second)) // one without news is refused
			switch n {
			case 5:
				old := c.leader()
				rest := c.others(old)
				c.cut(fmt.Sprintf("%s|%s,%s", old.name, rest[0].name, rest[1].name))
			case 20:
				c.heal()
			}
		}
	})
	return g.cuts
}

// anywhere asks one member after the other until one leads.
func anywhere(t *testing.T, c *cluster, cmd store.Command) (res store.Result, err error) {
	for n := 0; n < 10_000; n++ {
		res, err = c.nodes[c.names[n%3]].replica.Write(within(t, time.Second), cmd)
		if err == nil || errors.Is(err, store.Unknown) {
			return res, err
		}
		<-time.After(time.Millisecond)
	}
	t.Errorf("nobody took %v: %v", cmd.Op, err)
	return res, err
}

// putAndDelete puts a key of its own with each call, and takes each third away again. It
// has no session, so an unknown call stays unknown.
func putAndDelete(t *testing.T, c *cluster, g *grid, caller int) {
	call := func(op store.Op, n int) {
		cmd := store.Command{Op: op, Key: fmt.Sprintf("k%d-%d", caller, n)}
		if op == store.Put {
			cmd.Value = make([]byte, 100)
		}
		g.note(asked{key: cmd.Key, op: op})
		if res, err := anywhere(t, c, cmd); err == nil {
			g.note(asked{cmd.Key, op, res.Revision})
		}
	}
	for n := range cutCalls {
		call(store.Put, n)
		if n%3 == 2 {
			call(store.Delete, n-1)
		}
	}
}

// countOn adds to a key of its own in a session, and repeats a call whose end is not known.
func countOn(t *testing.T, c *cluster, g *grid, caller int) {
	var opened store.Result
	err := errors.New("not yet")
	for err != nil && !t.Failed() {
		opened, err = anywhere(t, c, store.Command{Op: store.OpenSession})
	}
	key := fmt.Sprint("n", caller)
	for n := uint64(1); n <= cutCalls && !t.Failed(); n++ {
		g.note(asked{key: key, op: store.Increment})
		cmd := store.Command{Op: store.Increment, Key: key, Delta: 1, Request: store.Request{Session: opened.Revision, Number: n, Lowest: n}}
		res, err := anywhere(t, c, cmd)
		for err != nil && !t.Failed() {
			cmd.Request.Retry = true
			res, err = anywhere(t, c, cmd)
		}
		g.note(asked{key, store.Increment, res.Revision})
	}
}

// check restarts the group on what is left and returns how many acknowledged writes it
// looked for, and how many of them are missing.
func (p powerCut) check(t *testing.T) (checked, missing int) {
	c := newClusterFrom(t, p.disks, frequent, func(_ string, fs vfs.FS) vfs.FS { return fs })
	has := make(map[string]store.Item)
	q := store.Query{Limit: store.MaxPage}
	for {
		page, err := c.leader().replica.Read(within(t, 5*time.Second), q)
		if err != nil {
			t.Errorf("after %s: %v", p.step, err)
			return 0, 0
		}
		for _, item := range page.Items {
			has[item.Key] = item
		}
		if q.Page = page.Next; q.Page == "" {
			break
		}
	}
	open := make(map[string]bool) // a call on the key has no answer yet
	last := make(map[string]asked)
	sums := make(map[string]int)
	for _, a := range p.asked {
		open[a.key] = a.revision == 0
		if a.revision == 0 {
			continue
		}
		last[a.key] = a
		if a.op == store.Increment {
			sums[a.key]++
		}
	}
	for key, a := range last {
		item, found := has[key]
		delete(has, key)
		switch a.op {
		case store.Increment:
			checked += sums[key]
			sum := 0
			if found {
				sum, _ = strconv.Atoi(string(item.Values[0]))
			}
			missing += max(0, sums[key]-sum)
			if most := sums[key] + 1; sum > most || sum == most && !open[key] {
				t.Errorf("%s is %d: %d additions were acknowledged", key, sum, sums[key])
			}
		case store.Put: // perhaps a deletion is open, which may have been done
			if checked++; !(found && item.Revision == a.revision) && (found || !open[key]) {
				missing++
			}
		case store.Delete:
			if checked++; found {
				missing++
			}
		}
	}
	for key := range has {
		if !open[key] {
			t.Errorf("%s is there, and was not acknowledged, nor is it open", key)
		}
	}
	if missing > 0 {
		t.Errorf("after %s: %d of %d acknowledged writes are missing", p.step, missing, checked)
	}
	return checked, missing
}

package cp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/dialkv/dialkv/internal/engine"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/store"
)

// lone is a replica of a group of one that is opened and not run.
type lone struct {
	t      *testing.T
	engine *engine.Engine
	ep     *link.Endpoint
	cfg    Config
}

type nobody struct{}

func (nobody) Call(context.Context, string, []byte) ([]byte, error) { return nil, errors.New("alone") }

func newLone(t *testing.T, e *engine.Engine, open LogFactory) *lone {
	t.Helper()
	ep, err := link.NewNetwork(link.NetworkConfig{}).Endpoint("n1")
	if err != nil {
		t.Fatal(err)
	}
	return &lone{t: t, engine: e, ep: ep, cfg: Config{
		Node: "n1", Group: store.GroupID{Keyspace: 7}, Bootstrap: []string{"n1"},
		Engine: e, Mux: NewMux(ep), Peers: nobody{}, OpenLog: open,
	}}
}

func (l *lone) open() (*Replica, error) { return Open(l.cfg) }

func (l *lone) close(r *Replica) {
	l.t.Helper()
	var err error
	if r != nil {
		err = r.logFile.Close()
	}
	if err := errors.Join(err, l.engine.Close(), l.ep.Close()); err != nil {
		l.t.Error(err)
	}
}

// filled opens a replica and gives it a term, a vote and n log entries.
func (l *lone) filled(n int) *Replica {
	l.t.Helper()
	r, err := l.open()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := errors.Join(
		r.bootstrap(), r.log.SetUint64(keyCurrentTerm, 3), r.log.Set(keyVote, []byte("n1")), r.log.SetUint64(keyVoteTerm, 3),
	); err != nil {
		l.t.Fatal(err)
	}
	for i := range n {
		entry := &raft.Log{Index: uint64(i + 2), Term: 3, Data: fmt.Appendf(nil, "entry %d %s", i+2, strings.Repeat("x", i*7%40))}
		if err := r.log.StoreLog(entry); err != nil {
			l.t.Fatal(err)
		}
	}
	return r
}

var (
	keyVote     = []byte("LastVoteCand")
	keyVoteTerm = []byte("LastVoteTerm")
)

// remembered is all that a replica must not forget, as text.
func remembered(r *Replica) (string, error) {
	var b bytes.Buffer
	first, err1 := r.log.FirstIndex()
	last, err2 := r.log.LastIndex()
	term, err3 := r.log.GetUint64(keyCurrentTerm)
	vote, err4 := r.log.Get(keyVote)
	at, err5 := r.log.GetUint64(keyVoteTerm)
	fmt.Fprintln(&b, first, last, term, string(vote), at)
	for i := first; i <= last; i++ {
		var entry raft.Log
		if err := r.log.GetLog(i, &entry); err != nil {
			return "", err
		}
		fmt.Fprintln(&b, entry.Index, entry.Term, entry.Type, string(entry.Data))
	}
	return b.String(), errors.Join(err1, err2, err3, err4, err5)
}

func memory(t *testing.T, fs vfs.FS) *engine.Engine {
	t.Helper()
	e, err := engine.Open(engine.Config{Dir: "/data", FS: fs, MemTable: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestAnotherKindOfLogIsRefused(t *testing.T) {
	kinds := map[string]LogFactory{engineKind: EngineLog, boltKind: BoltLog}
	for was, before := range kinds {
		for is, now := range kinds {
			e, err := engine.Open(engine.Config{Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			l := newLone(t, e, before)
			if err := l.filled(3).logFile.Close(); err != nil {
				t.Fatal(err)
			}
			l.cfg.OpenLog = now
			r, err := l.open()
			if e := store.AsError(err); was != is && (err == nil || e.Code != store.Invalid || !strings.Contains(e.Try, was)) {
				t.Errorf("%s opened as %s: %v", was, is, err)
			}
			if was == is && err != nil {
				t.Error(err)
			}
			l.close(r)
		}
	}
}

func TestLogEntryHasItsOwnChecksum(t *testing.T) {
	entry := &raft.Log{Index: 300, Term: 5, Type: raft.LogCommand, Data: []byte("data"), Extensions: []byte("ext"), AppendedAt: time.Unix(7, 8)}
	b := encodeLog(entry)
	var got raft.Log
	if err := decodeLog(300, b, &got); err != nil || fmt.Sprint(got) != fmt.Sprint(*entry) {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := decodeLog(301, b, &got); !errors.Is(err, engine.ErrCorrupt) {
		t.Errorf("read as entry 301: %v", err)
	}
	for i := range b {
		for bit := range 8 {
			bad := bytes.Clone(b)
			bad[i] ^= 1 << bit
			if err := decodeLog(300, bad, &got); !errors.Is(err, engine.ErrCorrupt) {
				t.Errorf("bit %d of byte %d: %v", bit, i, err)
			}
		}
		if err := decodeLog(300, b[:i], &got); !errors.Is(err, engine.ErrCorrupt) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
}

// Every byte of the file in turn, as far as time allows: the replica must not open, or
// remember all it promised.
func TestFlippedByteInABoltLogIsFoundOrHarmless(t *testing.T) {
	dir := t.TempDir()
	e, err := engine.Open(engine.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	l := newLone(t, e, BoltLog)
	defer l.close(nil)
	r := l.filled(40)
	want, err := remembered(r)
	if err := errors.Join(err, r.logFile.Close()); err != nil {
		t.Fatal(err)
	}
	sound, err := os.ReadFile(boltPath(e, l.cfg.Group))
	if err != nil {
		t.Fatal(err)
	}
	found, harmless := 0, 0
	for at := 0; at < len(sound); at++ {
		if head := at % os.Getpagesize(); head >= 16 && at%stride(211) != 0 {
			continue // every byte of what a page says of itself, and some of all others
		}
		bad := bytes.Clone(sound)
		bad[at] ^= 0x10
		l.cfg.Group.Keyspace++
		if err := os.WriteFile(boltPath(e, l.cfg.Group), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := l.open()
		if err != nil {
			found++
			if !errors.Is(err, store.Corrupt) && !errors.Is(err, engine.ErrCorrupt) {
				t.Errorf("byte %d: not called corrupt: %v", at, err)
			}
			if strings.Contains(err.Error(), "freepages") {
				t.Errorf("byte %d: it was left to bbolt, which goes on in bad pages beside its own panic: %v", at, err)
			}
			continue
		}
		got, err := remembered(r)
		switch {
		case errors.Is(err, engine.ErrCorrupt):
			found++
		case err != nil || got != want:
			t.Errorf("byte %d: %v, forgot:\n%.80s\nwant\n%.80s", at, err, got, want)
		default:
			harmless++
		}
		if err := r.logFile.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d found, %d harmless", found, harmless)
	if found == 0 {
		t.Error("no flip was found")
	}
}

// copyTo copies a folder of a file system in memory.
func copyTo(t *testing.T, from, to vfs.FS, dir string) (files []string) {
	t.Helper()
	if err := to.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	names, err := from.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if info, err := from.Stat(path); err != nil {
			t.Fatal(err)
		} else if info.IsDir() {
			files = append(files, copyTo(t, from, to, path)...)
			continue
		}
		put(t, to, path, content(t, from, path))
		files = append(files, path)
	}
	return files
}

func content(t *testing.T, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t *testing.T, fs vfs.FS, path string, b []byte) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = f.Write(bytes.Clone(b)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// In the last block of its WAL Pebble cannot tell a flipped byte from a write that was
// torn: there only, the entries from the flip on may be gone. (So it is in the whole of
// the first WAL of a new database, which has no marks of what was synced.)
func TestFlippedByteInTheEnginesLogIsFoundOrHarmless(t *testing.T) {
	const walBlock = 32 << 10
	wal := vfs.NewMem()
	if err := memory(t, wal).Close(); err != nil {
		t.Fatal(err)
	}
	l := newLone(t, memory(t, wal), EngineLog)
	r := l.filled(1500)
	want, err := remembered(r)
	if err != nil {
		t.Fatal(err)
	}
	l.close(r)
	tables := vfs.NewMem() // after one more start the entries are in a table
	copyTo(t, wal, tables, "/data")
	if got, err := reopened(t, tables); err != nil || got != want {
		t.Fatalf("%v", err)
	}
	for name, disk := range map[string]vfs.FS{"wal": wal, "tables": tables} {
		found, harmless := 0, 0
		for _, path := range copyTo(t, disk, vfs.NewMem(), "/data") {
			sound := content(t, disk, path)
			for at := 0; at < len(sound); at += stride(1 + len(sound)/20) {
				fs := vfs.NewMem()
				copyTo(t, disk, fs, "/data")
				bad := bytes.Clone(sound)
				bad[at] ^= 0x10
				put(t, fs, path, bad)
				switch got, err := reopened(t, fs); {
				case err != nil:
					found++
				case got == want:
					harmless++
				case !strings.HasSuffix(path, ".log") || at/walBlock < len(sound)/walBlock:
					t.Errorf("%s, byte %d of %d: forgot silently:\n%.60s", path, at, len(sound), got)
				}
			}
		}
		t.Logf("%s: %d found, %d harmless", name, found, harmless)
		if found == 0 {
			t.Errorf("%s: no flip was found", name)
		}
	}
}

// reopened is what a replica remembers on the disk, or why it does not open.
func reopened(t *testing.T, fs vfs.FS) (string, error) {
	t.Helper()
	e, err := engine.Open(engine.Config{Dir: "/data", FS: fs, MemTable: 256 << 10})
	if err != nil {
		return "", err
	}
	l := newLone(t, e, EngineLog)
	r, err := l.open()
	defer l.close(r)
	if err != nil {
		return "", err
	}
	return remembered(r)
}

func TestTermBelowTheLogsLastIsRefused(t *testing.T) {
	l := newLone(t, memory(t, vfs.NewMem()), EngineLog)
	r := l.filled(3)
	defer l.close(r)
	if err := r.log.SetUint64(keyCurrentTerm, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := l.open(); !errors.Is(err, store.Corrupt) {
		t.Errorf("the log ends in term 3, the term is 2: %v", err)
	}
}

func TestHoleInTheLogIsRefused(t *testing.T) {
	l := newLone(t, memory(t, vfs.NewMem()), EngineLog)
	r := l.filled(3)
	defer l.close(r)
	if err := r.log.StoreLog(&raft.Log{Index: 9, Term: 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.open(); !errors.Is(err, store.Corrupt) {
		t.Errorf("entries 5 to 8 are missing: %v", err)
	}
}

// A crash between the installation of a snapshot and the emptying of the log.
func TestLogThatEndsBeforeTheSnapshotIsEmptied(t *testing.T) {
	l := newLone(t, memory(t, vfs.NewMem()), EngineLog)
	r := l.filled(3)
	defer l.close(r)
	r.machine.state.meta.AppliedIndex, r.machine.state.meta.AppliedTerm = 20, 3
	out, err := r.snaps.Create(1, 20, 3, raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: "n1"}}}, 7, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.machine.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	if err := c.Persist(out); err != nil {
		t.Fatal(err)
	}
	again, err := l.open()
	if err != nil {
		t.Fatal(err)
	}
	if last, err := again.log.LastIndex(); err != nil || last != 0 {
		t.Errorf("the log still ends at %d, %v", last, err)
	}
	if got := again.confs.latest(); got.index != 7 || len(got.servers) != 1 {
		t.Errorf("the configuration is %+v", got)
	}
}

func TestListOfSnapshotsReadsHeadsOnly(t *testing.T) {
	e := memory(t, vfs.NewMem())
	defer e.Close()
	s, err := openSnapshots(e, store.GroupID{Keyspace: 7})
	if err != nil {
		t.Fatal(err)
	}
	var failed, installed int
	s.failed = func(error) { failed++ }
	s.installed = func(*raft.SnapshotMeta) { installed++ }
	out, err := s.Create(1, 5, 2, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	body := bytes.Repeat([]byte("content "), 1000)
	if _, err := out.Write(bytes.Clone(body)); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil || installed != 1 {
		t.Fatalf("%v, told of %d", err, installed)
	}
	path := s.path(out.ID() + snapshotSuffix)
	sound := content(t, e.FS(), path)
	for at := range sound {
		bad := bytes.Clone(sound)
		bad[at] ^= 1
		put(t, e.FS(), path, bad)
		inHead := at < len(sound)-len(body)-4
		metas, err := s.List()
		if inHead != errors.Is(err, engine.ErrCorrupt) || !inHead && (len(metas) != 1 || metas[0].Size != int64(len(body))) {
			t.Fatalf("byte %d of %d: list %v, %v", at, len(sound), metas, err)
		}
		failed = 0
		if _, _, err := s.Open(out.ID()); !errors.Is(err, engine.ErrCorrupt) || failed != 1 {
			t.Fatalf("byte %d of %d: open %v, told %d times", at, len(sound), err, failed)
		}
	}
	put(t, e.FS(), path, sound)
	_, source, err := s.Open(out.ID())
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(source)
	if err := errors.Join(err, source.Close()); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// stride is how far apart the flipped bytes are; -short, as with the race detector in
// CI, flips a tenth of them.
func stride(n int) int {
	if testing.Short() {
		return 10 * n
	}
	return n
}

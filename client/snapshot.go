package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/dialkv/dialkv/internal/backup"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/shard"
	"github.com/dialkv/dialkv/store"
)

// snapshotTimeout bounds a save or a restore that nothing else bounds: everything that a
// keyspace holds has to move.
const snapshotTimeout = 10 * time.Minute

// chunkBytes is how much of a group goes into one message.
const chunkBytes = 256 << 10

// Snapshot says what Save wrote: of which keyspace and which cluster and, group after
// group, how much, at which revision and when.
type Snapshot = backup.File

// Save writes what a cp keyspace holds to out while it is in use: each group as it is at
// one revision, which is at least that of every write acknowledged before the call.
// Groups are not aligned with each other. Sessions, and the changes that a watch could
// resume from, are not in it. Without a deadline and without WithTimeout, the only option,
// it takes ten minutes at most.
//
// What an error leaves in out is a beginning, which VerifySnapshot refuses. If a node
// breaks off, another member of the group begins anew where out can be taken back, with
// Seek and Truncate as of an *os.File; else the save ends with Unavailable. Denied says
// that out could not be written, Unsupported that the keyspace is ap.
func (k *Keyspace) Save(ctx context.Context, out io.Writer, opts ...Option) error {
	o, err := k.c.snapshotOptions(opts)
	if err == nil && o.anywhere {
		err = invalid("a save goes nowhere", "client.FromAnywhere with a Restore")
	}
	if err != nil {
		return err
	}
	ctx, cancel := k.c.moving(ctx, o.timeout)
	defer cancel()
	ks, _, err := k.saved(ctx)
	if err != nil {
		return k.explain(err)
	}
	for n := range ks.Groups {
		if err := k.c.saveGroup(ctx, ks, n, out); err != nil {
			return k.explain(err)
		}
	}
	if err := backup.End(out, int(ks.Groups)); err != nil {
		return k.explain(unusable("written", err))
	}
	return nil
}

// VerifySnapshot reads what Save wrote to its last checksum, and says what it holds. It
// asks no cluster. Corrupt says that something is damaged or missing, and in which group;
// Denied that in could not be read.
func VerifySnapshot(in io.Reader) (Snapshot, error) {
	saved, err := backup.Inspect(bufio.NewReader(in))
	switch {
	case errors.Is(err, backup.ErrDamaged):
		return saved, &store.Error{Code: store.Corrupt, Msg: "the snapshot is damaged", Cause: err, Try: "another one; this one is not restored, not even in part"}
	case err != nil:
		return saved, unusable("read", err)
	}
	return saved, nil
}

// Restored is what a Restore made of a keyspace, group after group.
type Restored struct {
	Keys   uint64
	Groups []RestoredGroup
}

// RestoredGroup is a group that was replaced.
type RestoredGroup struct {
	Group    store.GroupID
	Keys     uint64
	Revision uint64 // above that of the snapshot, and all that the group had used
	Epoch    uint64 // in which tokens, watches and sessions of before mean nothing
}

// Restore replaces everything in a cp keyspace by what Save wrote. What was written since
// the save is lost. Leases come back with their whole TTL. Each group begins a new epoch:
// sessions of before, the client's own among them, get TokenMismatch, watches Compacted,
// and a write that was under way SessionExpired. Go on in a new session.
//
// The keyspace must have as many groups as the one that was saved and, without
// FromAnywhere, be the same one; else it is Invalid. All of in is verified before anything
// is changed. Then one group after the other is replaced through its leader, whole or not
// at all. If that breaks off, the error is Unknown, and Restored holds the groups that
// were replaced for certain; any other error says that nothing was changed. A restore may
// be repeated. Options are FromAnywhere and WithTimeout; without that and without a
// deadline it takes ten minutes at most.
func (k *Keyspace) Restore(ctx context.Context, in io.ReadSeeker, opts ...Option) (Restored, error) {
	o, err := k.c.snapshotOptions(opts)
	if err != nil {
		return Restored{}, err
	}
	ctx, cancel := k.c.moving(ctx, o.timeout)
	defer cancel()
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return Restored{}, k.explain(unusable("read", err))
	}
	file, err := VerifySnapshot(in)
	if err != nil {
		return Restored{}, k.explain(err)
	}
	ks, cluster, err := k.saved(ctx)
	if err == nil {
		err = fits(file, ks, cluster, o.anywhere)
	}
	if err != nil {
		return Restored{}, k.explain(unmade(file, err))
	}
	var out Restored
	for n, g := range file.Groups {
		done, err := k.c.restoreGroup(ctx, ks, uint32(n), &restoring{file: in, group: g, anywhere: o.anywhere})
		if err != nil {
			return out, k.explain(incomplete(n, len(file.Groups), err))
		}
		out.Keys += done.Keys
		out.Groups = append(out.Groups, done)
	}
	return out, nil
}

// moving gives a save or a restore its deadline.
func (c *Client) moving(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); timeout == 0 && !ok {
		timeout = snapshotTimeout
	}
	return c.bounded(ctx, timeout)
}

// saved is the keyspace as a node knows it now, if it is one that can be saved, and the
// cluster it is in.
func (k *Keyspace) saved(ctx context.Context) (ks shard.Keyspace, cluster string, err error) {
	if k.c.cfg.At != "" {
		return ks, "", &store.Error{Code: store.Unsupported, Msg: "a snapshot does not go through the node that calls enter at", Try: "a client without At"}
	}
	if ks, err = k.c.lookUp(ctx, k.name); err != nil {
		return ks, "", err
	}
	if ks.Mode != store.CP {
		return ks, "", &store.Error{Code: store.Unsupported, Msg: "this release saves and restores cp keyspaces only, " + k.name + " is ap", Try: "a scan of it"}
	}
	t, _ := k.c.router.known()
	return ks, t.Cluster, nil
}

// saveGroup asks the group's members, one after the other, until one has sent all.
func (c *Client) saveGroup(ctx context.Context, ks shard.Keyspace, n uint32, out io.Writer) error {
	id := store.GroupID{Keyspace: ks.ID, Shard: n}
	s := &saving{out: out}
	k := &call{c: c, op: "save", keyspace: ks, group: id, effect: unnamed}
	k.send = func(ctx context.Context, cc *conn, _ bool) (reach, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := kvpb.NewAdminClient(cc).SaveSnapshot(ctx, &kvpb.SaveSnapshotRequest{KeyspaceId: id.Keyspace, Shard: n})
		if err != nil {
			return unsent, cc.unreachable(endpoint{node: k.node}, err)
		}
		err = s.from(stream)
		if err != nil && !s.takenBack(err) {
			return unanswered, err
		}
		return answered, err
	}
	err := k.run(ctx)
	if s.err != nil {
		return s.err
	}
	return err
}

// saving is a group on its way into out.
type saving struct {
	out io.Writer
	n   int64 // bytes of it that are in out
	err error // why no other node is asked
}

func (s *saving) from(stream grpc.ServerStreamingClient[kvpb.SnapshotChunk]) error {
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return asRead(store.AsError(kvpb.FromStatus(err)))
		}
		n, err := s.out.Write(chunk.GetData())
		s.n += int64(n)
		if err != nil {
			s.err = unusable("written", err)
			return s.err
		}
	}
}

// takenBack makes room in out for what another node will send.
func (s *saving) takenBack(why error) bool {
	if s.n == 0 || s.err != nil {
		return s.err == nil
	}
	out, ok := s.out.(interface {
		io.Seeker
		Truncate(size int64) error
	})
	if !ok {
		s.err = &store.Error{
			Code: store.Unavailable, Op: "save", Msg: "a node broke off, and what it has sent cannot be taken back", Cause: why,
			Try: "the save once more, into an empty file",
		}
		return false
	}
	at, err := out.Seek(-s.n, io.SeekCurrent)
	if err == nil {
		err = out.Truncate(at)
	}
	if err != nil {
		s.err = unusable("written", err)
	}
	s.n = 0
	return err == nil
}

// restoreGroup hands one group to whoever leads it, as long as it is certain that nothing
// was changed.
func (c *Client) restoreGroup(ctx context.Context, ks shard.Keyspace, n uint32, p *restoring) (RestoredGroup, error) {
	p.id = store.GroupID{Keyspace: ks.ID, Shard: n}
	var done *kvpb.RestoreSnapshotResponse
	k := &call{c: c, op: "restore", keyspace: ks, group: p.id, toLeader: true, effect: unnamed}
	k.send = func(ctx context.Context, cc *conn, _ bool) (reach, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := kvpb.NewAdminClient(cc).RestoreSnapshot(ctx)
		if err != nil {
			return unsent, cc.unreachable(endpoint{node: k.node}, err)
		}
		if done, err = p.to(stream); err != nil && store.AsError(err).MaybeApplied() {
			return unanswered, err
		}
		return answered, err
	}
	err := k.run(ctx)
	if p.err != nil {
		err = p.err
	}
	if err != nil {
		return RestoredGroup{}, err
	}
	return RestoredGroup{Group: p.id, Keys: done.GetKeys(), Revision: done.GetRevision(), Epoch: done.GetEpoch()}, nil
}

// restoring is a group of a file on its way to a node.
type restoring struct {
	file     io.ReadSeeker
	group    backup.Group
	id       store.GroupID
	anywhere bool
	err      error // of the file; another node would not do better
}

func (p *restoring) to(stream grpc.ClientStreamingClient[kvpb.SnapshotChunk, kvpb.RestoreSnapshotResponse]) (*kvpb.RestoreSnapshotResponse, error) {
	if _, err := p.file.Seek(p.group.Offset, io.SeekStart); err != nil {
		p.err = unusable("read", err)
		return nil, p.err
	}
	err := stream.Send(&kvpb.SnapshotChunk{KeyspaceId: p.id.Keyspace, Shard: p.id.Shard, AnyCluster: p.anywhere})
	in := io.LimitReader(p.file, p.group.Bytes)
	buffer := make([]byte, chunkBytes)
	for err == nil {
		n, reading := in.Read(buffer)
		if n > 0 {
			err = stream.Send(&kvpb.SnapshotChunk{Data: buffer[:n]})
		}
		if reading == io.EOF {
			break
		}
		if reading != nil {
			p.err = unusable("read", reading)
			return nil, p.err
		}
	}
	// That a Send failed says only that the node has answered.
	done, err := stream.CloseAndRecv()
	return done, kvpb.FromStatus(err)
}

// fits refuses a snapshot of something else before the first group is touched.
func fits(file Snapshot, ks shard.Keyspace, cluster string, anywhere bool) error {
	const try = "FromAnywhere (--from-anywhere), if that is what you mean"
	switch groups := len(file.Groups); {
	case groups != int(ks.Groups):
		return invalid(
			fmt.Sprintf("the number of groups is %d in the snapshot and %d in keyspace %s: in which group a key is depends on it", groups, ks.Groups, ks.Name),
			fmt.Sprintf("kvctl keyspace create NAME --mode cp --groups %d, and that keyspace", groups))
	case anywhere:
		return nil
	case file.Cluster != cluster:
		return invalid(fmt.Sprintf("the snapshot was saved from cluster %.8s, this is %.8s", file.Cluster, cluster), try)
	case file.Keyspace != ks.Name:
		return invalid(fmt.Sprintf("the snapshot was saved from keyspace %s, not %s", file.Keyspace, ks.Name), try)
	}
	return nil
}

// unmade says how to make the keyspace if there is none.
func unmade(file Snapshot, err error) error {
	if !errors.Is(err, store.NoSuchKeyspace) {
		return err
	}
	e := *store.AsError(err)
	e.Try = fmt.Sprintf("kvctl keyspace create %s --mode cp --groups %d, and then the same", e.Keyspace, len(file.Groups))
	return &e
}

// incomplete says of a restore that broke off how many groups it has replaced.
func incomplete(done, groups int, err error) error {
	e := *store.AsError(err)
	switch {
	case done > 0:
		e = store.Error{
			Code: store.Unknown, Op: "restore", Cause: err,
			Msg: fmt.Sprintf("%d of %d groups were replaced, the others were not, or it is not known", done, groups),
		}
	case !e.MaybeApplied():
		e.Msg += "; nothing was changed"
		return &e
	}
	e.Try = "the same once more: a restore can be repeated"
	return &e
}

// unusable is an error of the caller's own reader or writer, not of the cluster.
func unusable(what string, err error) error {
	return &store.Error{Code: store.Denied, Msg: "the snapshot cannot be " + what, Cause: err, Try: "another file; the disk and its permissions"}
}

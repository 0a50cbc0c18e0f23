package ap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/dialkv/dialkv/store"
	"github.com/dialkv/dialkv/store/ap/internal/causal"
)

// Replicas with equal vectors hold the same: the state of a key is a function of the
// writes applied. Digests are how that is looked at, by who asks for it and when: they
// find a bug, or a disk that does not give back what was written, and repair nothing.

// Buckets is in how many parts the keys are compared. A key's is the first byte of its
// hash.
const Buckets = 256

// The keys of a bucket are named if they are no more than this, and no longer.
const (
	maxBucketKeys  = 4096
	maxBucketBytes = 1 << 20
)

// Digests are of one view.
type Digests struct {
	Entry  store.Entry // the vector of the view: only digests of equal ones are comparable
	Vector string      // the same for people
	Rows   [Buckets]uint64
	Sums   [Buckets]uint64 // of the digests of the keys in the bucket
	// Unreadable is how many rows do not read as ones that were written.
	Unreadable uint64
}

// KeyDigest is of one key.
type KeyDigest struct {
	Key        string
	Sum        uint64
	Unreadable bool // its row does not read as one that was written
}

// Digests reads every row of a view that covers after.
func (r *Replica) Digests(ctx context.Context, after store.Entry) (Digests, error) {
	d := Digests{}
	err := r.scrub(ctx, after, func(v *view, bucket int, key KeyDigest) bool {
		d.Rows[bucket]++
		d.Sums[bucket] += key.Sum
		if key.Unreadable {
			d.Unreadable++
		}
		return true
	}, func(v *view) { d.Entry, d.Vector = v.entry(), v.text() })
	return d, err
}

// BucketKeys lists the keys of one bucket, in order, and the vector they are of. One that
// has too many is TooLarge.
func (r *Replica) BucketKeys(ctx context.Context, after store.Entry, bucket int) (store.Entry, []KeyDigest, error) {
	if bucket < 0 || bucket >= Buckets {
		return nil, nil, r.fault(store.Invalid, "scrub", fmt.Sprintf("the bucket %d is not one of 0 to %d", bucket, Buckets-1), "")
	}
	var keys []KeyDigest
	var entry store.Entry
	size := 0
	err := r.scrub(ctx, after, func(_ *view, in int, key KeyDigest) bool {
		if in == bucket {
			keys, size = append(keys, key), size+len(key.Key)
		}
		return len(keys) <= maxBucketKeys && size <= maxBucketBytes
	}, func(v *view) { entry = v.entry() })
	if err == nil && (len(keys) > maxBucketKeys || size > maxBucketBytes) {
		err = r.fault(store.TooLarge, "scrub", fmt.Sprintf("the bucket has more than %d keys or %d bytes of keys", maxBucketKeys, maxBucketBytes), "")
	}
	return entry, keys, err
}

// scrub visits the keys of a view, until visit returns false.
func (r *Replica) scrub(ctx context.Context, after store.Entry, visit func(v *view, bucket int, key KeyDigest) bool, of func(*view)) error {
	need, err := decodeNeed(after)
	if err == nil {
		err = r.absent("scrub")
	}
	if err == nil {
		_, err = r.await(ctx, "scrub", need)
	}
	if err != nil {
		return r.signed("scrub", err)
	}
	v, _, err := r.views.acquire()
	if err != nil {
		return r.signed("scrub", err)
	}
	defer r.views.release(v)
	of(v)
	var failed error
	seen := 0
	for row, value := range v.snap.Scan([]byte{rowKey}, []byte{rowKey + 1}, &failed) {
		if seen++; seen%countStride == 0 && ctx.Err() != nil {
			return r.signed("scrub", store.Expired(ctx, "all rows to be read"))
		}
		key := row[1:]
		d, there := digest(key, value)
		if there && !visit(v, bucketOf(key), d) {
			break
		}
	}
	return r.signed("scrub", unreadable(failed))
}

func bucketOf(key []byte) int {
	sum := sha256.Sum256(key)
	return int(sum[0])
}

// digest is of what a key shows, and not of its row: a counter keeps what is left of its
// deletes for as long as each replica for itself has to. A key of which only that is left
// is not there. A row that cannot be read counts as it lies.
func digest(key, row []byte) (d KeyDigest, there bool) {
	d.Key = string(key)
	siblings, err := decodeSiblings(row)
	if err != nil {
		d.Unreadable, d.Sum = true, sum64(key, row)
		return d, true
	}
	siblings = causal.Alive(siblings)
	var all bytes.Buffer
	for _, s := range siblings {
		for _, n := range []uint64{uint64(s.Dot.Actor), s.Dot.N, uint64(s.Stamp), s.Deadline} {
			all.Write(binary.BigEndian.AppendUint64(nil, n))
		}
		value := s.Value
		if s.Sum != nil {
			value = []byte(s.Sum.Value().String())
		}
		for _, part := range [][]byte{[]byte(s.Field), value} {
			all.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
			all.Write(part)
		}
	}
	d.Sum = sum64(key, all.Bytes())
	return d, len(siblings) > 0
}

func sum64(key, what []byte) uint64 {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(key))))
	h.Write(key)
	h.Write(what)
	return binary.BigEndian.Uint64(h.Sum(nil))
}

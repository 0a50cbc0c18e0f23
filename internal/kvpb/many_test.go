package kvpb

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/dialkv/dialkv/store"
)

// Sealed and Frame are a second way to write down what the API says. These tests hold
// them to the first.

func sealedBytes(t interface{ Fatal(...any) }, s *Sealed) []byte {
	slice, err := NewCodec().Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return slice.Materialize()
}

func framed(b []byte) (Frame, error) {
	var f Frame
	err := NewCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, &f)
	return f, err
}

func TestSealedRequestIsTheOneOfTheAPI(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw{t}
		id, timeout := d.number("id"), time.Duration(rapid.Int64Min(0).Draw(t, "timeout"))
		read, write := ToQuery(d.query()), ToCommand(d.command())
		for kind, c := range map[Kind]struct {
			m    proto.Message
			want *ManyRequest
		}{
			ReadAsked:  {read, &ManyRequest{Id: id, TimeoutNs: int64(timeout), Call: &ManyRequest_Read{Read: read}}},
			WriteAsked: {write, &ManyRequest{Id: id, TimeoutNs: int64(timeout), Call: &ManyRequest_Write{Write: write}}},
		} {
			s, err := Seal(kind, c.m)
			if err != nil {
				t.Fatal(err)
			}
			s.ID, s.Timeout = id, timeout
			got := &ManyRequest{}
			if err := proto.Unmarshal(sealedBytes(t, &s), got); err != nil || !proto.Equal(got, c.want) {
				t.Fatalf("got %v (%v), want %v", got, err, c.want)
			}
			b, err := proto.Marshal(c.want)
			if err != nil {
				t.Fatal(err)
			}
			opens(t, b, Frame{ID: id, Timeout: timeout, Kind: kind}, c.m)
		}
	})
}

func TestSealedAnswerIsTheOneOfTheAPI(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw{t}
		id, page, result := d.number("id"), ToPage(d.page()), ToResult(d.result())
		for kind, c := range map[Kind]struct {
			m    proto.Message
			want *ManyResponse
		}{
			ReadAnswered:  {page, &ManyResponse{Id: id, Answer: &ManyResponse_Read{Read: page}}},
			WriteAnswered: {result, &ManyResponse{Id: id, Answer: &ManyResponse_Write{Write: result}}},
		} {
			s, err := Seal(kind, c.m)
			if err != nil {
				t.Fatal(err)
			}
			s.ID = id
			b := sealedBytes(t, &s)
			got := &ManyResponse{}
			if err := proto.Unmarshal(b, got); err != nil || !proto.Equal(got, c.want) {
				t.Fatalf("got %v (%v), want %v", got, err, c.want)
			}
			opens(t, b, Frame{ID: id, Kind: kind}, c.m)
		}
	})
}

// opens checks that the bytes are the frame and hold the message.
func opens(t *rapid.T, b []byte, want Frame, m proto.Message) {
	f, err := framed(b)
	if err != nil || f.ID != want.ID || f.Timeout != want.Timeout || f.Kind != want.Kind {
		t.Fatalf("the frame is %+v (%v), want %+v", f, err, want)
	}
	got := m.ProtoReflect().New().Interface()
	if err := f.Open(got); err != nil || !proto.Equal(got, m) {
		t.Fatalf("it holds %v (%v), want %v", got, err, m)
	}
}

func TestCancelAndNothingAreOfTheAPI(t *testing.T) {
	request, response, c, n := &ManyRequest{}, &ManyResponse{}, SealCancel(7), SealNothing()
	n.ID = 8
	err := errors.Join(proto.Unmarshal(sealedBytes(t, &c), request), proto.Unmarshal(sealedBytes(t, &n), response))
	if err != nil || request.GetId() != 7 || request.GetCancel() == nil || response.GetId() != 8 || response.GetAnswer() != nil {
		t.Errorf("%v, %v, %v", request, response, err)
	}
}

func TestLargeMessagesAreSealedWhole(t *testing.T) {
	value := bytes.Repeat([]byte("x"), store.MaxValue)
	for range 3 { // the buffers are used again
		s, err := Seal(WriteAsked, &WriteRequest{Value: value})
		if err != nil {
			t.Fatal(err)
		}
		s.ID = 1
		f, err := framed(sealedBytes(t, &s))
		r := &WriteRequest{}
		if err = errors.Join(err, f.Open(r)); err != nil || !bytes.Equal(r.Value, value) {
			t.Fatalf("%d bytes arrive, %v", len(r.Value), err)
		}
	}
	unsent, err := Seal(WriteAsked, &WriteRequest{Value: value})
	if err != nil {
		t.Fatal(err)
	}
	unsent.Free()
}

func TestLargestTransactionFitsIntoAMessage(t *testing.T) {
	key := string(bytes.Repeat([]byte("k"), 100))
	var txn store.Txn
	for range store.MaxSteps {
		txn.If = append(txn.If, store.Compare{Key: key, Target: store.TargetVersion, Relation: store.Equal, Number: 1 << 63})
		txn.Then = append(txn.Then, store.Step{Op: store.Put, Key: key, Value: make([]byte, store.MaxRequest/store.MaxSteps-300), Lease: 1 << 63})
		txn.Else = append(txn.Else, store.Step{Op: store.Increment, Key: key, Delta: -1 << 63})
	}
	c := store.Command{Op: store.Transact, Txn: &txn}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	s, err := Seal(WriteAsked, ToCommand(c))
	if err != nil || s.Len() < store.MaxRequest*9/10 {
		t.Errorf("%d bytes, %v", s.Len(), err)
	}
}

func TestWhatTheOtherEndWouldNotAcceptIsNotSealed(t *testing.T) {
	large := &WriteRequest{Context: make([]byte, MaxMessage)}
	_, sealed := Seal(WriteAsked, large)
	if !errors.Is(sealed, store.TooLarge) || !errors.Is(CheckSize(large), store.TooLarge) {
		t.Errorf("too large: %v", sealed)
	}
	if _, err := Seal(ReadAsked, &ReadRequest{Prefix: "\xff"}); !errors.Is(err, store.Invalid) {
		t.Errorf("not UTF-8: %v", err)
	}
	if err := CheckSize(&WriteRequest{Value: make([]byte, store.MaxValue)}); err != nil {
		t.Error(err)
	}
}

func TestFrameSkipsWhatItDoesNotKnow(t *testing.T) {
	b, err := proto.Marshal(&ManyRequest{Id: 7, TimeoutNs: 9, Call: &ManyRequest_Read{Read: &ReadRequest{Key: "k"}}})
	if err != nil {
		t.Fatal(err)
	}
	b = protowire.AppendTag(b, 99, protowire.BytesType)
	b = protowire.AppendBytes(b, []byte("of a later release"))
	f, err := framed(b)
	r := &ReadRequest{}
	if err = errors.Join(err, f.Open(r)); err != nil || f.ID != 7 || f.Timeout != 9 || f.Kind != ReadAsked || r.Key != "k" {
		t.Errorf("%+v, %v, %v", f, r, err)
	}
}

// A frame never reads beyond what arrived, and agrees with the generated code about
// what it accepts.
func FuzzFrame(f *testing.F) {
	for _, m := range []proto.Message{
		&ManyRequest{Id: 1, TimeoutNs: 5, Call: &ManyRequest_Read{Read: &ReadRequest{Key: "k"}}},
		&ManyRequest{Id: 1, Call: &ManyRequest_Cancel{Cancel: &Cancel{}}},
		&ManyResponse{Id: 1, Answer: &ManyResponse_Write{Write: &WriteResponse{Revision: 4}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := framed(b)
		var want ManyRequest
		known := proto.Unmarshal(b, &want) == nil
		if err != nil {
			if known && want.TimeoutNs >= 0 {
				t.Fatalf("refused: %v", err)
			}
			return
		}
		if known && (got.ID != want.Id || int64(got.Timeout) != want.TimeoutNs) {
			t.Fatalf("got %+v, want %v", got, &want)
		}
		got.Free()
	})
}

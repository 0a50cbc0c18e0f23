package kvpb

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/dialkv/dialkv/store"
)

// Kind says what a message of Many carries. It is the field's number in the API.
type Kind protowire.Number

// A request and its answer have different numbers: they are fields of different
// messages.
const (
	ReadAsked     Kind = 3
	WriteAsked    Kind = 4
	Cancelled     Kind = 5
	ReadAnswered  Kind = 2
	WriteAnswered Kind = 3
)

const (
	fieldID      = 1
	fieldTimeout = 2
	trailer      = 22 // bytes of both, at most
)

// Sealed is a call or an answer of Many, encoded by whoever made it. The one who
// sends the messages of a stream adds only the id and what is left of the deadline:
// so a large message costs the others of the stream nothing but its bytes, and the
// caller may reuse its value as soon as its own call has returned.
type Sealed struct {
	ID      uint64
	Timeout time.Duration // 0: none

	wire   []byte
	pool   *[]byte // where wire came from; nil: from nowhere
	buffer [1]mem.Buffer
}

// Seal encodes a call or an answer. A message that the other end would not accept
// is TooLarge; one that cannot be encoded is Invalid.
func Seal(kind Kind, m proto.Message) (s Sealed, err error) {
	size := proto.Size(m)
	if err := checkSize(size + trailer); err != nil {
		return s, err
	}
	number := protowire.Number(kind)
	s = sealed(protowire.SizeTag(number) + protowire.SizeBytes(size) + trailer)
	s.wire = protowire.AppendTag(s.wire, number, protowire.BytesType)
	s.wire = protowire.AppendVarint(s.wire, uint64(size))
	// The size was computed above, of the same message: UseCachedSize may rely on it.
	if s.wire, err = (proto.MarshalOptions{UseCachedSize: true}).MarshalAppend(s.wire, m); err != nil {
		s.Free()
		return s, &store.Error{Code: store.Invalid, Msg: "the message cannot be encoded", Cause: err}
	}
	return s, nil
}

// SealCancel encodes that nobody waits for the answer to id any more.
func SealCancel(id uint64) Sealed {
	s := sealed(trailer)
	s.ID = id
	s.wire = protowire.AppendTag(s.wire, protowire.Number(Cancelled), protowire.BytesType)
	s.wire = protowire.AppendVarint(s.wire, 0)
	return s
}

// SealNothing encodes an answer that says nothing but that it is one.
func SealNothing() Sealed { return sealed(trailer) }

func sealed(size int) Sealed {
	if mem.IsBelowBufferPoolingThreshold(size) {
		return Sealed{wire: make([]byte, 0, size)}
	}
	b := mem.DefaultBufferPool().Get(size)
	return Sealed{wire: (*b)[:0], pool: b}
}

// Len is how many bytes are sealed.
func (s *Sealed) Len() int { return len(s.wire) }

// Free gives up a message that was not sent.
func (s *Sealed) Free() {
	if s.pool != nil {
		mem.DefaultBufferPool().Put(s.pool)
	}
	s.wire, s.pool = nil, nil
}

// encode spends the message.
func (s *Sealed) encode() mem.BufferSlice {
	b := protowire.AppendTag(s.wire, fieldID, protowire.VarintType)
	b = protowire.AppendVarint(b, s.ID)
	if s.Timeout > 0 {
		b = protowire.AppendTag(b, fieldTimeout, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(s.Timeout))
	}
	if s.pool == nil {
		s.buffer[0] = mem.SliceBuffer(b)
	} else {
		*s.pool = b
		s.buffer[0] = mem.NewBuffer(s.pool, mem.DefaultBufferPool())
	}
	s.wire, s.pool = nil, nil
	return s.buffer[:]
}

// Frame is a message of Many as it arrived: the call or the answer in it is still
// encoded, for whoever it concerns to decode.
type Frame struct {
	ID      uint64
	Timeout time.Duration
	Kind    Kind // 0: it carries nothing

	body   []byte
	buffer mem.Buffer // that body lies in
}

// Open decodes what the frame carries, and spends it.
func (f *Frame) Open(m proto.Message) error {
	defer f.Free()
	if err := proto.Unmarshal(f.body, m); err != nil {
		return fmt.Errorf("kvpb: a message of many: %w", err)
	}
	return nil
}

// Free gives up a frame that nobody opens.
func (f *Frame) Free() {
	if f.buffer != nil {
		f.buffer.Free()
	}
	f.buffer, f.body = nil, nil
}

// decode keeps the buffer for the body, until the frame is opened or freed.
func (f *Frame) decode(data mem.BufferSlice) error {
	buffer := data.MaterializeToBuffer(mem.DefaultBufferPool())
	*f = Frame{buffer: buffer}
	if err := f.parse(buffer.ReadOnlyData()); err != nil {
		f.Free()
		return err
	}
	return nil
}

func (f *Frame) parse(b []byte) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if n = f.field(number, kind, b); n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
	}
	if f.Timeout < 0 {
		return errors.New("the timeout is negative")
	}
	return nil
}

// field takes one field from the beginning of b and returns its length. What a
// later release may add is skipped.
func (f *Frame) field(number protowire.Number, kind protowire.Type, b []byte) int {
	switch {
	case kind == protowire.VarintType && (number == fieldID || number == fieldTimeout):
		v, n := protowire.ConsumeVarint(b)
		if number == fieldID {
			f.ID = v
		} else {
			f.Timeout = time.Duration(v)
		}
		return n
	case kind == protowire.BytesType && number >= 2 && number <= 5:
		body, n := protowire.ConsumeBytes(b)
		f.Kind, f.body = Kind(number), body
		return n
	}
	return protowire.ConsumeFieldValue(number, kind, b)
}

// Codec is protobuf, in which Sealed and Frame stand for the messages of Many. Its
// users on the wire see no difference.
type Codec struct{ encoding.CodecV2 }

// NewCodec returns the codec, for both ends.
func NewCodec() Codec { return Codec{encoding.GetCodecV2("proto")} }

// Marshal encodes a message.
func (c Codec) Marshal(v any) (mem.BufferSlice, error) {
	if s, ok := v.(*Sealed); ok {
		return s.encode(), nil
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal decodes a message.
func (c Codec) Unmarshal(data mem.BufferSlice, v any) error {
	if f, ok := v.(*Frame); ok {
		return f.decode(data)
	}
	return c.CodecV2.Unmarshal(data, v)
}

// CheckSize refuses a message that the other end would not accept.
func CheckSize(m proto.Message) error { return checkSize(proto.Size(m)) }

func checkSize(size int) error {
	if size > MaxMessage {
		return &store.Error{
			Code: store.TooLarge, Msg: fmt.Sprintf("the message has %d bytes, the limit is %d", size, MaxMessage),
			Try: "smaller values, or fewer at a time",
		}
	}
	return nil
}

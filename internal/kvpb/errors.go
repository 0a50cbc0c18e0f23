package kvpb

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dialkv/dialkv/store"
)

// ToError returns the error for the wire; of Cause, the text.
func ToError(e *store.Error) *Error {
	if e == nil {
		return nil
	}
	out := &Error{
		Code:         string(e.Code),
		Op:           e.Op,
		Keyspace:     e.Keyspace,
		Group:        groupName(e.Group),
		Node:         e.Node,
		Leader:       e.Leader,
		RetryAfterNs: int64(e.RetryAfter),
		Msg:          e.Msg,
		Try:          e.Try,
	}
	if e.Cause != nil {
		out.Cause = e.Cause.Error()
	}
	return out
}

// FromError returns the error from the wire. A code that is not known, from a node
// of a later release perhaps, is Unknown: nothing else may be concluded.
func FromError(e *Error) *store.Error {
	if e == nil {
		return nil
	}
	group, _ := groupOf(e.GetGroup()) // only names the place; an odd one is left out
	out := &store.Error{
		Code:       store.Code(e.GetCode()),
		Op:         e.GetOp(),
		Keyspace:   e.GetKeyspace(),
		Group:      group,
		Node:       e.GetNode(),
		Leader:     e.GetLeader(),
		RetryAfter: time.Duration(e.GetRetryAfterNs()),
		Msg:        e.GetMsg(),
		Try:        e.GetTry(),
	}
	if e.GetCause() != "" {
		out.Cause = errors.New(e.GetCause())
	}
	if !slices.Contains(store.Codes, out.Code) {
		out.Msg = fmt.Sprintf("the error code %.40q is not known: %s", e.GetCode(), out.Msg)
		out.Code = store.Unknown
	}
	return out
}

// statusCodes gives other people's gRPC tools a hint; our own ends read the detail.
var statusCodes = map[store.Code]codes.Code{
	store.NotLeader:          codes.FailedPrecondition,
	store.Unavailable:        codes.Unavailable,
	store.NotReplicated:      codes.Aborted,
	store.LevelUnsupported:   codes.Unimplemented,
	store.Unsupported:        codes.Unimplemented,
	store.SessionUnreachable: codes.Unavailable,
	store.SessionExpired:     codes.FailedPrecondition,
	store.TokenMismatch:      codes.FailedPrecondition,
	store.WritesLost:         codes.DataLoss,
	store.TooStale:           codes.Unavailable,
	store.Conflict:           codes.Aborted,
	store.TooManySiblings:    codes.FailedPrecondition,
	store.NotFound:           codes.NotFound,
	store.NoSuchKeyspace:     codes.NotFound,
	store.AlreadyExists:      codes.AlreadyExists,
	store.TooLarge:           codes.InvalidArgument,
	store.Overloaded:         codes.ResourceExhausted,
	store.QuotaExceeded:      codes.ResourceExhausted,
	store.Compacted:          codes.OutOfRange,
	store.CircuitOpen:        codes.Unavailable,
	store.Denied:             codes.PermissionDenied,
	store.Invalid:            codes.InvalidArgument,
	store.Corrupt:            codes.DataLoss,
}

// Status returns err as a gRPC status that carries it whole, for the services
// whose answers have no field for it. A status stays as it is, nil stays nil.
func Status(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	e := store.AsError(err)
	code, ok := statusCodes[e.Code]
	if !ok {
		code = codes.Unknown
	}
	s := status.New(code, e.Error())
	if detailed, err := s.WithDetails(ToError(e)); err == nil {
		s = detailed
	}
	return s.Err()
}

// FromStatus returns the error of a gRPC call as an *store.Error. One that comes
// from the transport and not from a node leaves the outcome Unknown, but for a
// method that the node does not have. nil stays nil.
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	if e := Carried(err); e != nil {
		return e
	}
	s, _ := status.FromError(err)
	if s.Code() == codes.Unimplemented {
		return &store.Error{Code: store.Unsupported, Msg: "the node does not have this call", Cause: err}
	}
	return &store.Error{Code: store.Unknown, Msg: "no answer came back", Cause: err}
}

// Carried is the error that Status has put into a status; nil if there is none.
func Carried(err error) *store.Error {
	s, _ := status.FromError(err)
	for _, detail := range s.Details() {
		if e, ok := detail.(*Error); ok {
			return FromError(e)
		}
	}
	return nil
}

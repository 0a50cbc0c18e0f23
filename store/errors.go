package store

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Code says what went wrong. A Code is itself an error, so that callers write
// errors.Is(err, store.NotLeader).
type Code string

// The codes. What each says about a write is in MaybeApplied, whether another
// attempt can help in Retryable.
const (
	NotLeader          Code = "NotLeader"          // ask Leader; nothing was done
	Unavailable        Code = "Unavailable"        // nobody could serve it in time; nothing was done
	Unknown            Code = "Unknown"            // it may have been applied
	NotReplicated      Code = "NotReplicated"      // held by fewer than w replicas; it will spread
	LevelUnsupported   Code = "LevelUnsupported"   // this mode has no such level
	Unsupported        Code = "Unsupported"        // this mode has no such operation
	SessionUnreachable Code = "SessionUnreachable" // no reachable replica covers the session
	SessionExpired     Code = "SessionExpired"     // the request's session was evicted; it may have been applied before
	TokenMismatch      Code = "TokenMismatch"      // a token or context of another cluster or epoch
	WritesLost         Code = "WritesLost"         // the session names writes that no replica has any more
	TooStale           Code = "TooStale"           // no replica can prove the bound
	Conflict           Code = "Conflict"           // a condition did not hold; nothing was done
	TooManySiblings    Code = "TooManySiblings"
	NotFound           Code = "NotFound"
	NoSuchKeyspace     Code = "NoSuchKeyspace"
	AlreadyExists      Code = "AlreadyExists"
	TooLarge           Code = "TooLarge"
	Overloaded         Code = "Overloaded" // nothing was done; RetryAfter says when to come back
	QuotaExceeded      Code = "QuotaExceeded"
	Compacted          Code = "Compacted"
	CircuitOpen        Code = "CircuitOpen"
	Denied             Code = "Denied"
	Invalid            Code = "Invalid"
	Corrupt            Code = "Corrupt"
)

// Codes lists every code.
var Codes = []Code{
	NotLeader, Unavailable, Unknown, NotReplicated, LevelUnsupported, Unsupported,
	SessionUnreachable, SessionExpired, TokenMismatch, WritesLost, TooStale, Conflict,
	TooManySiblings, NotFound, NoSuchKeyspace, AlreadyExists, TooLarge, Overloaded,
	QuotaExceeded, Compacted, CircuitOpen, Denied, Invalid, Corrupt,
}

func (c Code) Error() string { return string(c) }

// Retryable reports whether the same call may succeed later or elsewhere.
func (c Code) Retryable() bool {
	switch c {
	case NotLeader, Unavailable, Unknown, NotReplicated, SessionUnreachable, TooStale, Overloaded, CircuitOpen:
		return true
	}
	return false
}

// MaybeApplied reports whether a write that ended so may have happened, or may
// still happen. Where it is false the write certainly did not.
func (c Code) MaybeApplied() bool {
	switch c {
	case Unknown, NotReplicated, SessionExpired:
		return true
	}
	return false
}

// Error is the one error type of the contract. It crosses the wire unchanged, but
// for Cause, of which the text arrives.
type Error struct {
	Code       Code
	Op         string // what was tried: get, put, …
	Keyspace   string
	Group      GroupID
	Node       string        // who says so
	Leader     string        // with NotLeader: whom to ask, or ""
	RetryAfter time.Duration // with Overloaded: how long to stay away
	Msg        string        // one sentence: the field, the value's size or form, the limit
	Try        string        // one line: what to try
	Cause      error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(string(e.Code))
	if e.Op != "" {
		b.WriteString(" " + e.Op)
	}
	if e.Node != "" {
		b.WriteString(" at " + e.Node)
	}
	if e.Msg != "" {
		b.WriteString(": " + e.Msg)
	}
	if e.Code == NotLeader && e.Leader != "" {
		b.WriteString(" (leader is " + e.Leader + ")")
	}
	if e.Cause != nil {
		b.WriteString(": " + e.Cause.Error())
	}
	return b.String()
}

// Retryable reports whether the same call may succeed later or elsewhere.
func (e *Error) Retryable() bool { return e.Code.Retryable() }

// MaybeApplied reports whether the write may have happened, or may still happen.
func (e *Error) MaybeApplied() bool { return e.Code.MaybeApplied() }

// Is lets errors.Is compare with a Code.
func (e *Error) Is(target error) bool {
	code, ok := target.(Code)
	return ok && code == e.Code
}

func (e *Error) Unwrap() error { return e.Cause }

// AsError returns err as an *Error. An error nobody classified is Unknown, because
// silence about an outcome is not failure; nil stays nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var code Code
	if errors.As(err, &code) {
		return &Error{Code: code}
	}
	return &Error{Code: Unknown, Cause: err}
}

// Expired is the error of a call whose context ended before anything was done for
// it: certainly not applied.
func Expired(ctx context.Context, waitedFor string) *Error {
	return &Error{Code: Unavailable, Msg: "the deadline came while waiting for " + waitedFor, Cause: context.Cause(ctx)}
}

// Outcome is how a call ended, over all its attempts.
type Outcome string

const (
	OK      Outcome = "ok"
	Failed  Outcome = "fail"    // certainly not applied
	Unclear Outcome = "unknown" // may have been applied
)

// OutcomeOf classifies the error of a call.
func OutcomeOf(err error) Outcome {
	switch {
	case err == nil:
		return OK
	case AsError(err).MaybeApplied():
		return Unclear
	default:
		return Failed
	}
}

package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// reply is what an operation prints with -o json: the fields that apply.
type reply struct {
	Outcome store.Outcome `json:"outcome"`
	Found   *bool         `json:"found,omitempty"`
	held
	Revision *uint64 `json:"revision,omitempty"`
	Replaced *uint64 `json:"replaced,omitempty"`
	Context  string  `json:"context,omitempty"`
	Acked    *int    `json:"acked,omitempty"`
	Wanted   *int    `json:"wanted,omitempty"`
	proof
	Created *uint64    `json:"created,omitempty"` // cp, of what a read found
	Version *uint64    `json:"version,omitempty"`
	Lease   uint64     `json:"lease,omitempty"` // that the key is attached to
	Error   *errorJSON `json:"error,omitempty"`
	Trace   *traceJSON `json:"trace,omitempty"`
}

// held is what a key holds: value or, if that is not UTF-8, value_base64; on ap values,
// and value only if there is exactly one.
type held struct {
	Value       *string  `json:"value,omitempty"`
	ValueBase64 *string  `json:"value_base64,omitempty"`
	Values      []string `json:"values,omitzero"`
	Fields      []string `json:"fields,omitempty"` // of a map: what each of values is the value of
	// RemainingMS is what each of values has left, 0 if it stays; absent if all stay.
	RemainingMS []float64 `json:"remaining_ms,omitempty"`
	// ValuesBase64 stands beside values when one of them is not UTF-8.
	ValuesBase64 []string `json:"values_base64,omitempty"`
}

// proof is who answered, and what that is worth.
type proof struct {
	LevelAsked  string   `json:"level_asked,omitempty"`
	LevelServed string   `json:"level_served,omitempty"`
	Node        string   `json:"node,omitempty"`
	Group       string   `json:"group,omitempty"`
	Role        string   `json:"role,omitempty"`
	Term        uint64   `json:"term,omitempty"`
	WaitedMS    *float64 `json:"waited_ms,omitempty"`
	StalenessMS *float64 `json:"staleness_ms,omitempty"`
	Degraded    *bool    `json:"degraded,omitempty"`

	waitedFor string
	vector    string
}

// apRole is what a replica of an ap group says it is.
const apRole = "replica"

func (r *proof) prove(p store.Proof) {
	if p.Node == "" {
		return
	}
	waited := milliseconds(p.Waited)
	r.Node, r.Group, r.Role, r.Term, r.WaitedMS = p.Node, p.Group.String(), p.Role, p.Term, &waited
	r.waitedFor, r.vector = p.WaitedFor, p.Vector
	if p.Served != store.LevelDefault {
		r.LevelAsked, r.LevelServed, r.Degraded = p.Asked.String(), p.Served.String(), &p.Degraded
	}
	if p.Fresh {
		staleness := milliseconds(p.Staleness)
		r.StalenessMS = &staleness
	}
}

// fail puts the error of the operation in.
func (r *reply) fail(err error) *reply {
	r.Outcome, r.Error = outcomeOf(err), describe(err)
	var e *store.Error
	if errors.As(err, &e) && r.Node == "" {
		r.Node = e.Node
	}
	return r
}

func (r *held) value(v []byte) {
	if utf8.Valid(v) {
		text := string(v)
		r.Value = &text
		return
	}
	encoded := base64.StdEncoding.EncodeToString(v)
	r.ValueBase64 = &encoded
}

func (r *held) values(values [][]byte) {
	r.Values = []string{}
	text := true
	for _, v := range values {
		r.Values = append(r.Values, string(v))
		text = text && utf8.Valid(v)
	}
	for _, v := range values {
		if !text {
			r.ValuesBase64 = append(r.ValuesBase64, base64.StdEncoding.EncodeToString(v))
		}
	}
}

func (r *held) remaining(left []time.Duration) {
	for _, d := range left {
		r.RemainingMS = append(r.RemainingMS, milliseconds(d))
	}
}

func readReply(item client.Item, err error) *reply {
	r := &reply{}
	r.prove(item.Proof)
	if err != nil {
		return r.fail(err)
	}
	r.Outcome, r.Found = store.OK, &item.Found
	if item.Proof.Role == apRole {
		r.values(item.Values)
		r.Fields = item.Fields
		r.remaining(item.Remaining)
		r.Context = encodeContext(item.Context)
	} else {
		r.Revision = &item.Revision
		if item.Found {
			r.Created, r.Version, r.Lease = &item.Created, &item.Version, item.Lease
		}
	}
	if len(item.Values) == 1 {
		r.value(item.Value)
	}
	return r
}

func writeReply(result client.Result, err error) *reply {
	r := &reply{}
	r.prove(result.Proof)
	code := store.AsError(err)
	switch {
	case err == nil && result.Proof.Role == apRole, err != nil && code.Code == store.NotReplicated:
		r.Acked, r.Wanted, r.Context = &result.Acked, &result.Wanted, encodeContext(result.Context)
		if result.Value != nil { // the sum of an increment
			r.value(result.Value)
		}
	case err == nil:
		r.Revision, r.Replaced, r.Lease = &result.Revision, &result.Replaced, result.Lease
		if result.Value != nil { // the sum of an increment
			r.value(result.Value)
		}
	case code.Code == store.Conflict && (result.Revision > 0 || !result.Found): // else it is of ap, and says nothing of the value
		r.Found, r.Revision = &result.Found, &result.Revision
		if result.Found {
			r.value(result.Value)
		}
	}
	if err != nil {
		return r.fail(err)
	}
	r.Outcome = store.OK
	return r
}

// explain says in words what the answer is worth.
func (r *proof) explain() string {
	if r.Node == "" {
		return "no node answered"
	}
	s := fmt.Sprintf("answered by %s, %s of group %s", r.Node, r.Role, r.Group)
	if r.Term > 0 {
		s += fmt.Sprintf(" in term %d", r.Term)
	}
	if r.vector != "" {
		s += ", which has applied " + r.vector
	}
	if r.LevelServed != "" {
		s += fmt.Sprintf("\nasked %s, served %s", r.LevelAsked, r.LevelServed)
		if *r.Degraded {
			s += " (degraded)"
		}
	}
	if r.WaitedMS != nil && *r.WaitedMS > 0 {
		s += fmt.Sprintf("\nwaited %.3f ms", *r.WaitedMS)
		if r.waitedFor != "" {
			s += " for " + r.waitedFor
		}
	}
	if r.StalenessMS != nil {
		s += fmt.Sprintf("\nat most %.3f ms old when the node took the read", *r.StalenessMS)
	} else if r.LevelServed != "" {
		s += "\nhow old it may be cannot be bounded: no proof of freshness yet"
	}
	return s
}

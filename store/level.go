package store

import (
	"fmt"
	"strings"
	"time"
)

// Level is what a read asks for, weakest first.
//
//	eventual          some past state, causally closed within its group
//	bounded           every write acknowledged more than a bound before the read began
//	monotonic         never older than what the session has read
//	read-your-writes  the session's own acknowledged writes are visible
//	causal            every write the session made or read, and what those depended on
//	quorum            the freshest that a majority has; on cp it is served as strong
//	strong            linearizable; cp keyspaces only
//
// The session guarantees are those of Terry et al., "Session Guarantees for
// Weakly Consistent Replicated Data", PDIS 1994.
type Level uint8

// The zero Level asks for the default of the keyspace's mode.
const (
	LevelDefault Level = iota
	Eventual
	Bounded
	Monotonic
	ReadYourWrites
	Causal
	Quorum
	Strong
)

var levelNames = map[Level]string{
	LevelDefault:   "default",
	Eventual:       "eventual",
	Bounded:        "bounded",
	Monotonic:      "monotonic",
	ReadYourWrites: "read-your-writes",
	Causal:         "causal",
	Quorum:         "quorum",
	Strong:         "strong",
}

// LevelNames lists the names ParseLevel accepts, weakest first.
var LevelNames = []string{"eventual", "bounded", "monotonic", "read-your-writes", "causal", "quorum", "strong"}

func (l Level) String() string {
	if name, ok := levelNames[l]; ok {
		return name
	}
	return fmt.Sprintf("level(%d)", uint8(l))
}

// ParseLevel reads a level's name. The empty string is the default level. An
// unknown name is Invalid: it never becomes a weaker read.
func ParseLevel(name string) (Level, error) {
	if name == "" {
		return LevelDefault, nil
	}
	for level, known := range levelNames {
		if known == name {
			return level, nil
		}
	}
	return 0, &Error{
		Code: Invalid,
		Msg:  fmt.Sprintf("level %q is not known", name),
		Try:  "one of " + strings.Join(LevelNames, ", "),
	}
}

// ParseLevelBound reads a level as people write it: a name and, of bounded, the
// bound behind a colon: bounded:2s.
func ParseLevelBound(text string) (Level, time.Duration, error) {
	name, rest, bounded := strings.Cut(text, ":")
	level, err := ParseLevel(name)
	if err != nil {
		return 0, 0, err
	}
	if bounded != (level == Bounded) {
		return 0, 0, &Error{Code: Invalid, Msg: fmt.Sprintf("level %q: bounded has a bound, and no other level has", text), Try: "bounded:2s"}
	}
	if !bounded {
		return level, 0, nil
	}
	bound, err := time.ParseDuration(rest)
	if err != nil || bound <= 0 {
		return 0, 0, &Error{Code: Invalid, Msg: fmt.Sprintf("level %q: %q is not a duration above zero", text, rest), Try: "bounded:2s"}
	}
	return level, bound, nil
}

// Or returns the level itself, or what a keyspace of mode m serves to those who
// do not ask: strong on cp, causal on ap. Nobody gets eventual by accident.
func (l Level) Or(m Mode) Level {
	switch {
	case l != LevelDefault:
		return l
	case m == CP:
		return Strong
	default:
		return Causal
	}
}

// PACELC is the class of Abadi (IEEE Computer 45(2), 2012) in which a keyspace of
// mode m serves reads of level l: what is given up in a partition, and what else.
func (l Level) PACELC(m Mode) string {
	switch {
	case l == Bounded:
		return "PC after d/EL"
	case m == CP && l.Or(m) == Strong, l == Quorum:
		return "PC/EC"
	case m == CP:
		return "PC/EL"
	case l.Or(m) == Eventual:
		return "PA/EL"
	default:
		return "PA (sticky)/EL"
	}
}

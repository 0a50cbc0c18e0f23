package store

import (
	"fmt"
	"time"
	"unicode/utf8"
)

// Limits of one operation. They are the same on both ends of the wire.
const (
	MaxKey    = 4 << 10 // bytes of a key
	MaxValue  = 1 << 20 // bytes of a value
	MaxName   = 64      // bytes of a keyspace's or node's name
	MaxPage   = 1000    // items of a scan's page
	MaxField  = 4 << 10 // bytes of a set's member or of a field's name
	MaxFields = 1024    // members of a set, or fields of a map; all with their values have MaxValue bytes

	MaxSteps   = 128     // comparisons, and steps of each branch, of a Txn
	MaxRequest = 3 << 20 // bytes of keys and values in a Txn

	MinTTL = 100 * time.Millisecond
	MaxTTL = 365 * 24 * time.Hour
)

// CheckKey accepts non-empty UTF-8 of at most MaxKey bytes.
func CheckKey(key string) error {
	switch {
	case key == "":
		return &Error{Code: Invalid, Msg: "the key is empty", Try: "KEYSPACE/KEY with at least one byte after the slash"}
	case len(key) > MaxKey:
		return &Error{Code: TooLarge, Msg: fmt.Sprintf("the key has %d bytes, the limit is %d", len(key), MaxKey), Try: "a shorter key, or its hash"}
	case !utf8.ValidString(key):
		return &Error{Code: Invalid, Msg: fmt.Sprintf("the key %q is not UTF-8", clip(key)), Try: "encode it, for example as hex or base64url"}
	}
	return nil
}

// CheckField accepts non-empty UTF-8 of at most MaxField bytes.
func CheckField(field string) error {
	switch {
	case field == "":
		return &Error{Code: Invalid, Msg: "the member or field is empty", Try: "at least one byte"}
	case len(field) > MaxField:
		return &Error{Code: TooLarge, Msg: fmt.Sprintf("the member or field has %d bytes, the limit is %d", len(field), MaxField), Try: "a shorter one, or its hash"}
	case !utf8.ValidString(field):
		return &Error{Code: Invalid, Msg: fmt.Sprintf("the member or field %q is not UTF-8", clip(field)), Try: "encode it, for example as hex or base64url"}
	}
	return nil
}

// CheckValue accepts at most MaxValue bytes.
func CheckValue(value []byte) error {
	if len(value) > MaxValue {
		return &Error{Code: TooLarge, Msg: fmt.Sprintf("the value has %d bytes, the limit is %d", len(value), MaxValue), Try: "split it over several keys, or keep it elsewhere and store where"}
	}
	return nil
}

// CheckName accepts what may name a node or a keyspace: letters, digits, dot,
// dash and underscore, beginning with a letter or digit. what says which it is.
func CheckName(what, name string) error {
	if len(name) > MaxName {
		return &Error{Code: Invalid, Msg: fmt.Sprintf("the %s name has %d bytes, the limit is %d", what, len(name), MaxName)}
	}
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && (i == 0 || r != '.' && r != '-' && r != '_') {
			return &Error{Code: Invalid, Msg: fmt.Sprintf("the %s name %q has %q at byte %d", what, clip(name), r, i), Try: "letters, digits, and . - _ after the first"}
		}
	}
	if name == "" {
		return &Error{Code: Invalid, Msg: "the " + what + " name is empty"}
	}
	return nil
}

// clip shortens what a user gave before it goes into a message.
func clip(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/dialkv/dialkv/store"
)

// The text form of a transaction, one statement a line:
//
//	if TARGET(KEY) RELATION OPERAND
//	then STEP
//	else STEP
//
// A key, a value or an operand is a bare word, 'quoted as it is', or "quoted with Go's
// escapes".

// parseTxn reads statements. Errors name the line.
func parseTxn(text string) (out store.Txn, err error) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		keyword, rest := line, ""
		if i := strings.IndexFunc(line, unicode.IsSpace); i >= 0 {
			keyword, rest = line[:i], line[i:]
		}
		if err := addStatement(&out, "line "+strconv.Itoa(n), keyword, rest); err != nil {
			return out, err
		}
	}
	return out, nil
}

// addStatement adds what follows if, then or else. Each statement is checked alone, so
// that an error says where it is.
func addStatement(out *store.Txn, where, keyword, text string) (err error) {
	var alone store.Txn
	s := &statement{rest: text}
	switch keyword {
	case "if":
		x, err := s.comparison()
		if err != nil {
			return within(where, err)
		}
		alone.If, out.If = []store.Compare{x}, append(out.If, x)
	case "then", "else":
		x, err := s.step()
		if err != nil {
			return within(where, err)
		}
		alone.Then = []store.Step{x}
		if keyword == "then" {
			out.Then = append(out.Then, x)
		} else {
			out.Else = append(out.Else, x)
		}
	default:
		return within(where, unclear("a statement begins with if, then or else, and not with %.40q", "if value(a) = 1, then put a 2, else get a", keyword))
	}
	return within(where, store.Command{Op: store.Transact, Txn: &alone}.Check())
}

// within says where the error is.
func within(where string, err error) error {
	if err == nil {
		return nil
	}
	e := *store.AsError(err)
	e.Msg = where + ": " + strings.TrimPrefix(strings.TrimPrefix(e.Msg, "comparison 1: "), "step 1: ")
	return &e
}

func unclear(format, try string, args ...any) error {
	return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf(format, args...), Try: try}
}

// statement is what is left of one.
type statement struct{ rest string }

var (
	compareTargets = map[string]store.Target{
		"value": store.TargetValue, "version": store.TargetVersion, "created": store.TargetCreated,
		"changed": store.TargetChanged, "lease": store.TargetLease,
	}
	// compareRelations are in the order in which they are looked for.
	compareRelations = []struct {
		sign string
		is   store.Relation
	}{{"!=", store.NotEqual}, {"=", store.Equal}, {"<", store.Less}, {">", store.Greater}}
)

const comparisonForm = "value(KEY) = VALUE, or version, created, changed or lease, and =, !=, < or >"

// comparison reads TARGET(KEY) RELATION OPERAND.
func (s *statement) comparison() (x store.Compare, err error) {
	s.space()
	name, rest, open := strings.Cut(s.rest, "(")
	target, known := compareTargets[strings.TrimSpace(name)]
	if !open || !known {
		return x, unclear("%.60q does not begin with what is compared, and a key in parentheses", comparisonForm, s.rest)
	}
	s.rest = rest
	if x.Key, err = s.word(")"); err != nil {
		return x, err
	}
	s.space()
	if !s.eat(")") {
		return x, unclear("the key %.60q has no closing parenthesis behind it", "quotes around a key that has spaces or parentheses", x.Key)
	}
	x.Target = target
	s.space()
	for _, r := range compareRelations {
		if x.Relation == 0 && s.eat(r.sign) {
			x.Relation = r.is
		}
	}
	if x.Relation == 0 {
		return x, unclear("%.20q is no relation", "=, !=, < or >", s.rest)
	}
	operand, err := s.word("")
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return x, err
	}
	if target == store.TargetValue {
		x.Value = []byte(operand)
		return x, nil
	}
	if x.Number, err = strconv.ParseUint(operand, 10, 64); err != nil {
		return x, unclear("%s(%.40s) is a number, and %.40q is none", "a number, or value(KEY)", target, x.Key, operand)
	}
	return x, nil
}

const stepForm = "put KEY VALUE [lease ID], delete KEY, get KEY, or incr KEY DELTA"

// step reads an operation, its key, and what belongs to it.
func (s *statement) step() (x store.Step, err error) {
	name, err := s.word("")
	if err != nil {
		return x, unclear("the step is missing", stepForm)
	}
	for _, op := range []store.Op{store.Put, store.Delete, store.Get, store.Increment} {
		if op.String() == name {
			x.Op = op
		}
	}
	if x.Op == 0 {
		return x, unclear("a transaction has no step %.40q", stepForm, name)
	}
	if x.Key, err = s.word(""); err != nil {
		return x, err
	}
	switch x.Op {
	case store.Put:
		err = s.putTail(&x)
	case store.Increment:
		err = s.number("the increment", func(word string) (err error) {
			x.Delta, err = strconv.ParseInt(word, 10, 64)
			return err
		})
	}
	if err == nil {
		err = s.end()
	}
	return x, err
}

func (s *statement) putTail(x *store.Step) error {
	value, err := s.word("")
	x.Value = []byte(value)
	if s.space(); err != nil || s.rest == "" {
		return err
	}
	if word, err := s.word(""); err != nil || word != "lease" {
		return unclear("behind the value stands %.40q", `then put KEY "two words", then put KEY VALUE lease 17`, word)
	}
	return s.number("the lease", func(word string) (err error) {
		x.Lease, err = strconv.ParseUint(word, 10, 64)
		return err
	})
}

func (s *statement) number(what string, parse func(string) error) error {
	word, err := s.word("")
	if err != nil {
		return err
	}
	if parse(word) != nil {
		return unclear("%s is %.40q, which is no whole number", "a number of at most 64 bits", what, word)
	}
	return nil
}

func (s *statement) space() { s.rest = strings.TrimLeftFunc(s.rest, unicode.IsSpace) }

func (s *statement) eat(sign string) bool {
	rest, ok := strings.CutPrefix(s.rest, sign)
	s.rest = rest
	return ok
}

// word reads a bare word, which ends before a space or one of the bytes in until, or a
// quoted one.
func (s *statement) word(until string) (string, error) {
	s.space()
	switch {
	case s.rest == "":
		return "", unclear("a word is missing at the end", stepForm+"; "+comparisonForm)
	case s.rest[0] == '\'':
		word, rest, closed := strings.Cut(s.rest[1:], "'")
		if !closed {
			return "", unclear("a quote ' is open", "a closing quote")
		}
		s.rest = rest
		return word, s.apart(until)
	case s.rest[0] == '"':
		quoted, err := strconv.QuotedPrefix(s.rest)
		if err != nil {
			return "", unclear(`a quote " is open, or has an escape that is not one of Go's`, `a closing quote; \" for a quote within`)
		}
		s.rest = s.rest[len(quoted):]
		word, err := strconv.Unquote(quoted)
		if err != nil {
			return "", unclear("%.40s is not quoted as Go quotes", "'single quotes' take it as it is", quoted)
		}
		return word, s.apart(until)
	}
	n := strings.IndexFunc(s.rest, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(until, r) })
	if n < 0 {
		n = len(s.rest)
	}
	word := s.rest[:n]
	s.rest = s.rest[n:]
	return word, nil
}

// apart refuses what is glued to a closing quote.
func (s *statement) apart(until string) error {
	if s.rest == "" || strings.ContainsAny(s.rest[:1], " \t"+until) {
		return nil
	}
	return unclear("%.20q follows a closing quote at once", "a space, or one pair of quotes around all of it", s.rest)
}

func (s *statement) end() error {
	if s.space(); s.rest != "" {
		return unclear("%.40q is left over at the end", "quotes around a word that has spaces", s.rest)
	}
	return nil
}

package maelstrom

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/dialkv/dialkv/store"
)

// MaxLine is the most bytes that one message may have.
const MaxLine = 1 << 20

// message is one line.
type message struct {
	Src  string          `json:"src"`
	Dest string          `json:"dest"`
	Body json.RawMessage `json:"body"`
}

// head is what every body may have.
type head struct {
	Type  string `json:"type"`
	MsgID *int64 `json:"msg_id,omitempty"`
}

// frameBody carries what a replica says to another.
type frameBody struct {
	Type string `json:"type"`
	Data []byte `json:"data"` // base64
}

const frameType = "frame"

// answer is the body of a reply: its type and what belongs to it. Maelstrom refuses a
// field that the reply does not have.
type answer map[string]any

// Maelstrom's error codes, of those that can happen here.
const (
	codeNotSupported = 10 // definite, as all but crash
	codeUnavailable  = 11
	codeMalformed    = 12
	codeCrash        = 13 // it may have happened
	codeAbort        = 14
	codeNoKey        = 20
	codePrecondition = 22
)

func failure(code int, text string) answer {
	return answer{"type": "error", "code": code, "text": text}
}

// failed is the reply to a request that the store did not do. What may have happened is
// never given a definite code.
func failed(err error) answer {
	e := store.AsError(err)
	code := codeAbort
	switch {
	case e.MaybeApplied():
		code = codeCrash
	case e.Code == store.NotFound:
		code = codeNoKey
	case e.Code == store.Conflict:
		code = codePrecondition
	case e.Code == store.Unsupported || e.Code == store.LevelUnsupported:
		code = codeNotSupported
	case e.Code == store.Invalid || e.Code == store.TooLarge:
		code = codeMalformed
	case e.Retryable():
		code = codeUnavailable
	}
	return failure(code, e.Error())
}

// writer writes messages, each in one piece.
type writer struct {
	mu  sync.Mutex // held over the write: a line is whole
	out io.Writer
	err error
}

func (w *writer) write(src, dest string, body any) {
	b, err := json.Marshal(body)
	if err == nil {
		b, err = json.Marshal(message{src, dest, b})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	if err == nil {
		_, err = w.out.Write(append(b, '\n'))
	}
	w.err = err // nobody reads any more: the input will end, too
}

// read hands on every line until the input ends, which is nil. A line that is no message
// is told to bad, and passed over.
func read(in io.Reader, take func(message), bad func(error)) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, MaxLine)
	for lines.Scan() {
		var m message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			bad(fmt.Errorf("a line that is no message: %w", err))
			continue
		}
		take(m)
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return &store.Error{Code: store.TooLarge, Msg: fmt.Sprintf("a message has more than %d bytes, which is the limit", MaxLine), Try: "smaller values"}
	}
	return lines.Err()
}

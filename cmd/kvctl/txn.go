package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// maxTxnText bounds the text of a transaction, whose keys and values may have
// store.MaxRequest bytes.
const maxTxnText = 2 * store.MaxRequest

// txn is a transaction, as the command line describes it.
type txn struct {
	door
	keyspace         string
	file             string
	If, then, orElse []string
	fence            string
}

// txnReply is what it prints.
type txnReply struct {
	Outcome  store.Outcome `json:"outcome"`
	Held     *bool         `json:"held,omitempty"`
	Branch   string        `json:"branch,omitempty"` // that was done: then or else
	Revision *uint64       `json:"revision,omitempty"`
	Steps    []stepJSON    `json:"steps,omitzero"`
	proof
	Error *errorJSON `json:"error,omitempty"`
}

// stepJSON is what a step did or, of a get, found.
type stepJSON struct {
	Op    string `json:"op"`
	Key   string `json:"key"`
	Found bool   `json:"found"` // the key was there before the step
	held
	Revision uint64  `json:"revision,omitempty"`
	Replaced *uint64 `json:"replaced,omitempty"` // of a write
}

func (a *app) txnCommand() *cobra.Command {
	t := &txn{door: door{app: a}}
	cmd := &cobra.Command{
		Use: "txn KEYSPACE", Short: "compare, then do one of two things, at one instant (cp)", Args: takes(1, 1),
		Long: `txn does all the then steps if every comparison holds, and else all the else steps, at one
instant and one revision. All keys must be in one group: keys that share a {tag} are.

A transaction is text, one statement a line, from -f FILE, from standard input, or from the
flags --if, --then and --else, which can be repeated:

  # lines that begin so are skipped
  if value(a) = "1"          value, version, created, changed or lease
  if version(b) = 0          =  !=  <  >     (every number of an absent key is 0)
  then put a "two words"     put KEY VALUE [lease ID], delete KEY, get KEY, incr KEY DELTA
  then incr d 5
  else get a

Values are compared byte by byte, as text is sorted: 10 is less than 9. The others are
compared as numbers. No comparison of the value of an absent key holds.

Words need quotes if they hold spaces: 'as it is', or "with \n escapes". It ends with 0
whichever branch was done.`,
		Example: `  kvctl txn orders --if 'version(42) = 0' --then 'put 42 open' --then 'incr count 1' --else 'get 42'
  kvctl txn orders -f move.txt
  echo 'then incr visits 1' | kvctl txn orders -o json`,
		RunE: func(cmd *cobra.Command, args []string) error { return t.run(cmd.Context(), args[0]) },
	}
	t.flags(cmd, patience, "how long to try")
	t.explainFlag(cmd)
	f := cmd.Flags()
	f.StringVarP(&t.file, "file", "f", "", "file with the statements, - for standard input")
	f.StringArrayVar(&t.If, "if", nil, "a comparison: 'value(a) = 1'")
	f.StringArrayVar(&t.then, "then", nil, "a step for when all comparisons hold: 'put a 2'")
	f.StringArrayVar(&t.orElse, "else", nil, "a step for when one does not: 'get a'")
	f.StringVar(&t.fence, "fence", "", "only while this lock or leadership is held: KEY:REVISION, as KV_FENCE has it")
	cmd.ValidArgsFunction = a.keyspaceFirst("")
	return cmd
}

func (t *txn) run(ctx context.Context, keyspace string) error {
	t.keyspace = keyspace
	if err := store.CheckName("keyspace", keyspace); err != nil {
		return err
	}
	if err := t.checkTimeout(false); err != nil {
		return err
	}
	statements, err := t.read()
	if err != nil {
		return err
	}
	return t.enter(ctx, keyspace, func(_ *client.Client, k *client.Keyspace, opts []client.Option) error {
		opts, err := addFence(opts, t.fence)
		if err != nil {
			return err
		}
		result, err := k.Txn(ctx, statements, opts...)
		err = noNumber(err, keyspace+"/KEY")
		t.settle()
		r := txnReplyOf(statements, result, err)
		return t.print(r, err)
	})
}

// read parses the statements, wherever they are.
func (t *txn) read() (out store.Txn, err error) {
	if _, err := addFence(nil, t.fence); err != nil {
		return out, err
	}
	flags := len(t.If)+len(t.then)+len(t.orElse) > 0
	switch {
	case flags && t.file != "":
		return out, &store.Error{Code: store.Invalid, Msg: "statements come from -f and from --if, --then, --else at once", Try: "one of the two"}
	case flags:
		out, err = t.fromFlags()
	default:
		var text []byte
		if text, err = t.text(); err == nil {
			out, err = parseTxn(string(text))
		}
	}
	if err == nil {
		err = store.Command{Op: store.Transact, Txn: &out}.Check()
	}
	return out, err
}

func (t *txn) fromFlags() (out store.Txn, err error) {
	for _, group := range []struct {
		keyword    string
		statements []string
	}{{"if", t.If}, {"then", t.then}, {"else", t.orElse}} {
		for i, s := range group.statements {
			where := fmt.Sprintf("--%s %d", group.keyword, i+1)
			if err := addStatement(&out, where, group.keyword, s); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// text reads the file or standard input.
func (t *txn) text() ([]byte, error) {
	in := t.app.in
	switch {
	case t.file != "" && t.file != "-":
		f, err := os.Open(t.file)
		if err != nil {
			return nil, &store.Error{Code: store.Invalid, Msg: "the statements cannot be read", Cause: err, Try: "-f FILE"}
		}
		defer f.Close()
		in = f
	case t.app.shell != nil:
		return nil, &store.Error{Code: store.Invalid, Msg: "in this shell a transaction has no standard input", Try: "--if, --then and --else, or -f FILE"}
	case terminal(in):
		t.app.progress("one statement a line, then Ctrl-D: if value(a) = 1, then put a 2, else get a")
	}
	text, err := io.ReadAll(io.LimitReader(in, maxTxnText+1))
	if err != nil {
		return nil, &store.Error{Code: store.Invalid, Msg: "the statements cannot be read", Cause: err, Try: "-f FILE"}
	}
	if len(text) > maxTxnText {
		return nil, &store.Error{Code: store.TooLarge, Msg: "the statements have more than " + strconv.Itoa(maxTxnText) + " bytes", Try: "several transactions"}
	}
	return text, nil
}

func txnReplyOf(t store.Txn, result client.TxnResult, err error) *txnReply {
	r := &txnReply{Outcome: outcomeOf(err), Error: describe(err)}
	r.prove(result.Proof)
	if err != nil {
		if e := store.AsError(err); r.Node == "" {
			r.Node = e.Node
		}
		return r
	}
	r.Held, r.Branch, r.Revision, r.Steps = &result.Held, "else", &result.Revision, []stepJSON{}
	steps := t.Else
	if result.Held {
		r.Branch, steps = "then", t.Then
	}
	for i, done := range result.Steps[:min(len(steps), len(result.Steps))] {
		s := stepJSON{Op: steps[i].Op.String(), Key: steps[i].Key, Found: done.Found, Revision: done.Revision}
		if steps[i].Op == store.Get && done.Found || steps[i].Op == store.Increment {
			s.value(done.Value)
		}
		if steps[i].Op != store.Get {
			s.Replaced = &done.Replaced
		}
		r.Steps = append(r.Steps, s)
	}
	return r
}

func (t *txn) print(r *txnReply, err error) error {
	a := t.app
	switch {
	case a.output == "json":
		a.json(r)
	case err != nil:
		a.report(err)
	default:
		fmt.Fprintf(a.out, "%s: %s at revision %d\n", r.Branch, count(len(r.Steps), "step"), *r.Revision)
		var rows [][]string
		for _, s := range r.Steps {
			rows = append(rows, []string{"  " + s.Op, shown([]byte(s.Key)), s.sentence()})
		}
		a.table(rows)
	}
	if t.explain && a.output != "json" {
		fmt.Fprintln(a.err, r.explain())
	}
	if err != nil {
		return errors.Join(errReported, err)
	}
	return nil
}

// sentence says what the step did.
func (s stepJSON) sentence() string {
	value := ""
	switch {
	case s.Value != nil:
		value = "= " + shown([]byte(*s.Value))
	case s.ValueBase64 != nil:
		value = "= " + *s.ValueBase64 + " (base64)"
	}
	switch {
	case s.Replaced == nil && !s.Found:
		return "is absent"
	case s.Replaced == nil:
		return fmt.Sprintf("%s, of revision %d", value, s.Revision)
	case value != "":
		return value
	case s.Op == store.Delete.String() && !s.Found:
		return "was absent"
	case *s.Replaced == 0:
		return "created"
	}
	return fmt.Sprintf("replaced %d", *s.Replaced)
}

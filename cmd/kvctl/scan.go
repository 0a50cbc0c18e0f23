package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/store"
)

// scanPage is how many items are asked for at a time where the limit does not say.
const scanPage = 256

// scan is a walk through a range, as the command line describes it.
type scan struct {
	door
	keyspace string
	q        store.Query // Limit is the most items in all, and may exceed a page's
	level    string
	group    int // shard, -1 for all
}

// scanned is a line of its result.
type scanned struct {
	Key string `json:"key"`
	held
	Revision uint64 `json:"revision,omitempty"` // cp
	Created  uint64 `json:"created,omitempty"`
	Version  uint64 `json:"version,omitempty"`
	Lease    uint64 `json:"lease,omitempty"`
}

// scanEnd is the last line.
type scanEnd struct {
	Outcome    store.Outcome `json:"outcome"`
	Count      uint64        `json:"count"`
	Revision   uint64        `json:"revision,omitempty"` // of the view, of one group
	Next       string        `json:"next,omitempty"`     // for --page, of one group
	More       string        `json:"more,omitempty"`     // the key behind the limit, of several groups
	OneInstant bool          `json:"one_instant"`        // else one for each group
	Context    string        `json:"context,omitempty"`  // ap: of everything in the view
	Token      string        `json:"token,omitempty"`    // ap: of all that is shown, for watch --since
	proof
	Error *errorJSON `json:"error,omitempty"`
}

func (a *app) scanCommand() *cobra.Command {
	s := &scan{door: door{app: a}}
	cmd := &cobra.Command{
		Use: "scan KEYSPACE[/FROM]", Short: "read a range in key order", Args: takes(1, 1),
		Long: `scan reads a range in the order of its keys, one line for each: the key, a tab, the value.

The whole of it is one view of one group, at one revision or one vector, however long it
takes. Over several groups it is merged in key order, and shows each group at an instant of
its own.
Where --limit ends a scan of one group, it says how to go on with --page: on the same view,
which the node keeps for a minute. A scan of several groups says with which key the rest
begins; --group gives each of them pages.`,
		Example: `  kvctl scan orders --prefix 2026- --limit 100
  kvctl scan orders/k100 --to k200 --keys-only
  kvctl scan orders --count -o json`,
		RunE: func(cmd *cobra.Command, args []string) error { return s.run(cmd.Context(), args[0]) },
	}
	s.flags(cmd, patience, "how long to try each page")
	s.explainFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&s.q.Prefix, "prefix", "", "only keys that begin so")
	f.StringVar(&s.q.To, "to", "", "only keys below this one")
	f.IntVar(&s.q.Limit, "limit", 0, "at most so many (default: all)")
	f.BoolVar(&s.q.Reverse, "reverse", false, "from the last key down")
	f.BoolVar(&s.q.KeysOnly, "keys-only", false, "leave the values away")
	f.BoolVar(&s.q.Count, "count", false, "say how many keys there are, and nothing else")
	f.StringVar(&s.q.Page, "page", "", "go on where an earlier scan with the same flags ended: what it gave as next")
	f.IntVar(&s.group, "group", -1, "only this group, by its number (default: all)")
	a.levelFlag(cmd, &s.level)
	cmd.ValidArgsFunction = a.keyspaceFirst("")
	return cmd
}

func (s *scan) run(ctx context.Context, place string) (err error) {
	if s.keyspace, s.q.Key, err = split(place); err != nil {
		return err
	}
	level, err := atLevel(s.level)
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return err
	}
	return s.enter(ctx, s.keyspace, func(c *client.Client, k *client.Keyspace, opts []client.Option) error {
		opts = append(opts, level...)
		var reader *client.Session
		if s.live == nil { // else the session has seen more than the view
			reader = c.NewSession()
			opts = append(opts, client.In(reader))
		}
		if s.group >= 0 {
			opts = append(opts, client.InGroup(uint32(s.group)))
		}
		end := &scanEnd{OneInstant: true}
		err := s.through(ctx, k, opts, end)
		if mode, _ := k.Mode(ctx); err == nil && mode == store.AP && reader != nil {
			end.Token = reader.Token()
		}
		s.settle()
		return s.end(end, s.advise(err))
	})
}

func (s *scan) check() error {
	if err := s.checkTimeout(false); err != nil {
		return err
	}
	switch {
	case s.q.Limit < 0:
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("--limit %d must not be below 0", s.q.Limit), Try: "--limit 100"}
	case s.q.Count && (s.q.Limit > 0 || s.q.Page != "" || s.q.Reverse || s.q.KeysOnly):
		return &store.Error{Code: store.Invalid, Msg: "--count counts the whole range: it has no limit, no page and no order", Try: "--count with --prefix, --to, or a first key"}
	}
	return nil
}

// through shows the range of one group, page by page, each in memory alone. That there
// are several is known before anything is sent.
func (s *scan) through(ctx context.Context, k *client.Keyspace, opts []client.Option, end *scanEnd) error {
	q := s.q
	for {
		q.Limit = s.size(end.Count)
		page, err := k.Read(ctx, q, opts...)
		if errors.Is(err, store.Unsupported) && q.Page == "" {
			return s.merged(ctx, k, opts, end)
		}
		if err != nil {
			return err
		}
		end.add(page)
		for _, item := range page.Items {
			s.show(item, page.Proof.Role)
		}
		if page.Next == "" || s.q.Limit > 0 && end.Count == uint64(s.q.Limit) {
			return nil
		}
		q.Page = page.Next
	}
}

// size is how many items to ask for behind those that were shown.
func (s *scan) size(shown uint64) int {
	most := scanPage
	if s.q.KeysOnly {
		most = store.MaxPage
	}
	switch {
	case s.q.Count:
		return 0
	case s.q.Limit > 0:
		return min(most, s.q.Limit-int(shown))
	}
	return most
}

func (e *scanEnd) add(page store.Page) {
	e.Revision, e.Count, e.Next = page.Revision, e.Count+page.Count+uint64(len(page.Items)), page.Next
	if page.Proof.Role == apRole {
		e.Revision, e.Context = 0, encodeContext(page.Context)
	}
	e.prove(page.Proof)
}

// merged shows the range of all groups.
func (s *scan) merged(ctx context.Context, k *client.Keyspace, opts []client.Option, end *scanEnd) (err error) {
	end.OneInstant = false
	if s.q.Count {
		end.Count, err = k.Count(ctx, s.q, opts...)
		return err
	}
	q := s.q
	if q.Limit > 0 {
		q.Limit++ // to see whether there is more
	}
	for item, err := range k.Scan(ctx, q, opts...) {
		if err != nil {
			return err
		}
		if s.q.Limit > 0 && end.Count == uint64(s.q.Limit) {
			end.More = item.Key
			return nil
		}
		end.Count++
		s.show(store.Item{
			Key: item.Key, Values: item.Values, Fields: item.Fields, Revision: item.Revision, Created: item.Created, Version: item.Version,
			Lease: item.Lease, Remaining: item.Remaining,
		}, item.Proof.Role)
	}
	return nil
}

// show prints one item, of a replica of that role.
func (s *scan) show(item store.Item, role string) {
	a := s.app
	if a.output != "json" {
		line := shown([]byte(item.Key))
		if len(item.Values) > 0 {
			line += "\t" + columns(item.Values, item.Fields)
		}
		fmt.Fprintln(a.out, line)
		return
	}
	line := scanned{Key: item.Key}
	if role == apRole && !s.q.KeysOnly {
		line.values(item.Values)
		line.Fields = item.Fields
		line.remaining(item.Remaining)
	}
	if role != apRole {
		line.Revision, line.Created, line.Version, line.Lease = item.Revision, item.Created, item.Version, item.Lease
	}
	if len(item.Values) == 1 {
		line.value(item.Values[0])
	}
	a.json(line)
}

// end prints the last line.
func (s *scan) end(end *scanEnd, err error) error {
	a := s.app
	end.Outcome, end.Error = outcomeOf(err), describe(err)
	switch {
	case a.output == "json":
		a.json(end)
	case err != nil:
		a.report(err)
	case s.q.Count:
		fmt.Fprintln(a.out, end.Count)
	default:
		a.progress("(%s)", end.sentence())
	}
	if err == nil && end.Next != "" && a.output != "json" {
		a.progress("there is more: the same command, with --page %s", end.Next)
	}
	if err == nil && end.More != "" && a.output != "json" {
		a.progress("there is more, beginning with %s; pages of one view are of one group: --group N, or a --prefix with a {tag}", shown([]byte(end.More)))
	}
	if s.explain && a.output != "json" {
		fmt.Fprintln(a.err, end.explain())
	}
	if err != nil {
		return errors.Join(errReported, err)
	}
	return nil
}

func (e *scanEnd) sentence() string {
	text := count(int(e.Count), "key")
	switch {
	case !e.OneInstant:
		return text + "; several groups, each as it was at one instant of its own"
	case e.Revision > 0:
		return fmt.Sprintf("%s at revision %d", text, e.Revision)
	}
	return text
}

// advise says in kvctl's words what the client says in its own.
func (s *scan) advise(err error) error {
	var e *store.Error
	if !errors.As(err, &e) {
		return err
	}
	out := *e
	switch {
	case e.Code == store.Compacted:
		out.Try = "the scan again, from its beginning"
	case e.Code == store.Unsupported && s.q.Page != "":
		out.Try = "--group N, or a --prefix with a {tag}"
	}
	return &out
}

// shown is bytes on one line: as they are if they are printable text, else quoted as Go
// quotes strings.
func shown(b []byte) string {
	text := string(b)
	if utf8.Valid(b) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return text
	}
	return strconv.Quote(text)
}

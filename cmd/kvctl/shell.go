package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"time"
)

const shellHelp = `what you can type, each with --help:
  put orders/k1 v1        get orders/k1 --level eventual --at n1 --explain
  put carts/u1 milk       get carts/u1
  cas orders/k1 v1 v2     delete orders/k1     incr orders/n 5     put orders/tmp x --ttl 5s
  scan orders --prefix k --reverse     watch orders --all --from 1 --timeout 1s     lease list orders
  txn orders --if 'version(k1) = 0' --then 'put k1 v' --then 'incr n 1' --else 'get k1'
  net partition n1,n2|n3,n4,n5    net isolate n1    net delay n1,n2 80ms±10ms    net heal    net show
  node list | kill n1 | restart n1 | kill leader:orders
  keyspace list | show carts | create NAME --mode ap --conflict lww
  snapshot save orders FILE | verify FILE | restore FILE
  status    explain bounded    bench orders --time 5s    exit
`

// shell takes kvctl's own commands, against the demo's cluster, until exit or the end
// of the input.
func (d *demo) shell(ctx context.Context, up time.Duration) error {
	a := d.app
	fmt.Fprintln(a.out, d.greeting(ctx, up))
	fmt.Fprint(a.out, shellHelp)
	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(a.in); in.Scan(); {
			select {
			case lines <- in.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		fmt.Fprint(a.out, "kvctl> ")
		select {
		case line, ok := <-lines:
			if !ok || !d.line(ctx, line) {
				return nil
			}
		case <-ctx.Done():
			fmt.Fprintln(a.out)
			return nil
		}
	}
}

// line executes one line and reports whether to go on.
func (d *demo) line(ctx context.Context, line string) bool {
	a := d.app
	words, err := splitWords(line)
	switch {
	case err != nil:
		fmt.Fprintf(a.err, "error: %v\ntry: a closing quote\n", err)
		return true
	case len(words) == 0:
		return true
	case words[0] == "exit" || words[0] == "quit":
		return false
	case words[0] == "help":
		fmt.Fprint(a.out, shellHelp)
		return true
	case words[0] == "kvctl": // as the manual has it
		words = words[1:]
	}
	inner := &app{in: a.in, out: a.out, err: a.err, getenv: a.getenv, shell: d.cluster}
	inner.execute(ctx, words)
	return true
}

// splitWords splits at spaces that stand in no quotes.
func splitWords(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	inside := false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inside = r, true
		case r == ' ' || r == '\t':
			if inside {
				words = append(words, word.String())
			}
			word.Reset()
			inside = false
		default:
			word.WriteRune(r)
			inside = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quote %c is open", quote)
	}
	if inside {
		words = append(words, word.String())
	}
	return words, nil
}

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/history"
	"github.com/dialkv/dialkv/jepsen-lite/report"
	"github.com/dialkv/dialkv/store"
)

func (a *app) replayCommand() *cobra.Command {
	var claims []string
	var floor int
	var dir string
	cmd := &cobra.Command{
		Use: "replay FILE", Short: "judge a history that was recorded, by us or by somebody else", Args: takes(1, 1),
		Example: `  kvctl check replay report/history.jsonl
  kvctl check replay history.jsonl --claim linearizable --report report`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o := check.Options{Claims: claims}
			if cmd.Flags().Changed("floor") {
				o.Floor = &floor
			}
			if err := checkOptions(o); err != nil {
				return err
			}
			return a.replay(args[0], dir, o)
		},
	}
	cmd.Flags().StringSliceVar(&claims, "claim", nil, "checkers to ask (default: those that the history's modes and levels promise)")
	cmd.Flags().IntVar(&floor, "floor", 0, "the least there must be to judge by (default: each checker's own; 0 for histories made by hand)")
	cmd.Flags().StringVar(&dir, "report", "", "directory for a report")
	a.complete(cmd, "claim", func(context.Context) []string { return check.Names() })
	return cmd
}

func checkOptions(o check.Options) error {
	for _, name := range o.Claims {
		if !slices.Contains(check.Names(), name) {
			return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("there is no checker %q", name), Try: "one of " + strings.Join(check.Names(), ", ")}
		}
	}
	if o.Floor != nil && *o.Floor < 0 {
		return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("--floor %d is negative", *o.Floor), Try: "--floor 0"}
	}
	return nil
}

// replay judges the file. A file that cannot be read as a history is a verdict, one
// that cannot be opened an error.
func (a *app) replay(path, dir string, o check.Options) error {
	f, err := os.Open(path)
	if err != nil {
		return &store.Error{Code: store.Invalid, Msg: "the history cannot be opened", Cause: err, Try: "kvctl check replay history.jsonl"}
	}
	defer f.Close()
	h, err := history.Read(f)
	var rep check.Report
	if err != nil {
		rep = check.Reject(err)
	} else {
		rep = check.Run(h, o)
		if h.Torn {
			a.progress("the last line is cut off; its operation is unknown")
		}
	}
	if dir != "" {
		if rep.Path, err = report.Write(dir, h, rep, report.Run{}); err != nil {
			return err
		}
	}
	return a.judged(rep)
}

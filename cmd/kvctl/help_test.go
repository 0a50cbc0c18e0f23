package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// walk visits a command and all below it but hidden ones, and those that cobra makes,
// which explain themselves at length.
func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	if cmd.Hidden || cmd.Name() == "help" || cmd.Name() == "completion" {
		return
	}
	visit(cmd)
	for _, below := range cmd.Commands() {
		walk(below, visit)
	}
}

func TestEveryCommandShowsAnExampleOfItself(t *testing.T) {
	a, _, _ := quiet(nil)
	commands := 0
	walk(a.root(), func(cmd *cobra.Command) {
		commands++
		a, stdout, stderr := quiet(nil)
		words := append(strings.Fields(cmd.CommandPath())[1:], "--help")
		if status := a.execute(t.Context(), words); status != 0 {
			t.Fatalf("kvctl %s: status %d\n%s", strings.Join(words, " "), status, stderr)
		}
		_, examples, _ := strings.Cut(stdout.String(), "Examples:\n")
		examples, _, _ = strings.Cut(examples, "\n\n")
		if !strings.Contains(examples, "  "+cmd.CommandPath()) {
			t.Errorf("%s --help has no example of it:\n%s", cmd.CommandPath(), stdout)
		}
		for line := range strings.Lines(examples) {
			if err := parses(strings.TrimSpace(line)); err != nil {
				t.Errorf("the example %q: %v", line, err)
			}
		}
		if cmd.Short == "" {
			t.Errorf("%s does not say what it does", cmd.CommandPath())
		}
	})
	if commands < 60 {
		t.Errorf("only %d commands were found", commands)
	}
}

// parses is an error if kvctl would not understand the line.
func parses(line string) error {
	words, err := splitWords(line)
	if err != nil || words[0] != "kvctl" || strings.Contains(line, "$(") {
		return err // what a shell would make of it is not looked at
	}
	a, _, _ := quiet(nil)
	cmd, rest, err := a.root().Find(words[1:])
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	if err == nil {
		err = cmd.ValidateArgs(cmd.Flags().Args())
	}
	return err
}

func TestEveryFlagIsDescribed(t *testing.T) {
	a, _, _ := quiet(nil)
	walk(a.root(), func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s has no description", cmd.CommandPath(), f.Name)
			}
		})
	})
}

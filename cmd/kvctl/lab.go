package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/jepsen-lite/lab"
	"github.com/dialkv/dialkv/store"
)

func (a *app) labCommand() *cobra.Command {
	return group("lab", "experiments that tell, ask, and assert: lessons, or files of your own",
		a.labListCommand(), a.labShowCommand(), a.labRunCommand("run", "play an experiment and say what held", false),
		a.labRunCommand("step", "play an experiment, a key for each step", true),
		a.labNewCommand(), a.labVerifyCommand(), a.labSchemaCommand())
}

// experiment reads a file or, where there is none of that name, a lesson.
func experiment(name string) (*lab.Experiment, []byte, error) {
	file, data := name, []byte(nil)
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(name, "./\\"):
		if file, data, err = lab.Lesson(name); err != nil {
			return nil, nil, err
		}
	case err == nil && info.Size() > lab.MaxFile:
		err = fmt.Errorf("it has %d bytes, at most %d are allowed", info.Size(), lab.MaxFile)
	case err == nil:
		data, err = readBounded(name)
	}
	if err != nil {
		return nil, nil, &store.Error{Code: store.Invalid, Op: "lab", Msg: name + " cannot be read", Cause: err, Try: "kvctl lab list, or the name of a file"}
	}
	e, err := lab.Parse(file, data)
	return e, data, err
}

// readBounded reads a file, of which a device or a pipe does not tell the size.
func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, lab.MaxFile+1))
	if err == nil && len(data) > lab.MaxFile {
		err = fmt.Errorf("it has more than %d bytes, which are allowed", lab.MaxFile)
	}
	return data, err
}

// lessonJSON is a lesson or a file in -o json.
type lessonJSON struct {
	Name        string   `json:"name"`
	Title       string   `json:"title"`
	Description string   `json:"description"`
	Tags        []string `json:"tags"`
	Steps       int      `json:"steps"`
	Asserts     int      `json:"asserts"`     // activities with a tolerance
	Predictions int      `json:"predictions"` // questions
	Nodes       int      `json:"nodes"`       // of the cluster it needs; 0 if none
}

func lessonOf(name string, e *lab.Experiment) lessonJSON {
	l := lessonJSON{Name: name, Title: e.Title, Description: e.Description, Tags: append([]string{}, e.Tags...), Steps: len(e.Method)}
	for _, s := range e.Method {
		if s.Activity != nil && s.Activity.Tolerance != nil {
			l.Asserts++
		}
		if s.Predict != nil {
			l.Predictions++
		}
	}
	if e.Hypothesis != nil {
		l.Asserts += len(e.Hypothesis.Probes)
	}
	if e.Needs != nil {
		l.Nodes = e.Needs.Nodes
	}
	return l
}

func (a *app) labListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "the lessons, in the order in which they are best taken", Args: takes(0, 0),
		Example: `  kvctl lab list
  kvctl lab list -o json`,
		RunE: func(*cobra.Command, []string) error {
			var lessons []lessonJSON
			rows := [][]string{{"NAME", "STEPS", "TITLE", "TAGS"}}
			for _, name := range lab.Lessons() {
				e, _, err := experiment(name)
				if err != nil {
					return err
				}
				l := lessonOf(name, e)
				lessons = append(lessons, l)
				rows = append(rows, []string{l.Name, fmt.Sprint(l.Steps), l.Title, strings.Join(l.Tags, ", ")})
			}
			return a.show(map[string]any{"lessons": lessons}, func() { a.table(rows) })
		},
	}
}

func (a *app) labShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show NAME|FILE", Short: "the file of an experiment", Args: takes(1, 1),
		Example: `  kvctl lab show cap
  kvctl lab show cap -o json`,
		RunE: func(_ *cobra.Command, args []string) error {
			e, data, err := experiment(args[0])
			if err != nil {
				return err
			}
			return a.show(lessonOf(args[0], e), func() { fmt.Fprint(a.out, string(data)) })
		},
	}
	cmd.ValidArgsFunction = lessonFirst
	return cmd
}

// lessonFirst offers the lessons, beside the files of the directory.
func lessonFirst(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return lab.Lessons(), cobra.ShellCompDirectiveDefault
}

func (a *app) labNewCommand() *cobra.Command {
	return &cobra.Command{
		Use: "new [FILE]", Short: "write an experiment to begin with, every word explained", Args: takes(0, 1),
		Example: `  kvctl lab new mine.yaml
  kvctl lab new`,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				fmt.Fprint(a.out, string(lab.Template()))
				return nil
			}
			f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if errors.Is(err, fs.ErrExist) {
				return &store.Error{Code: store.AlreadyExists, Op: "lab", Msg: "there is a file " + args[0], Try: "another name"}
			}
			if err == nil {
				_, err = f.Write(lab.Template())
				err = errors.Join(err, f.Close())
			}
			if err != nil {
				return &store.Error{Code: store.Invalid, Op: "lab", Msg: args[0] + " cannot be written", Cause: err}
			}
			return a.show(map[string]any{"file": args[0]}, func() {
				fmt.Fprintf(a.out, "%s %s; next: kvctl lab verify %[2]s, kvctl lab run %[2]s\n", a.green("✓"), args[0])
			})
		},
	}
}

func (a *app) labVerifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify NAME|FILE…", Short: "look at files without playing them", Args: takes(1, -1),
		Long: "Read experiments and say what is wrong, each with its line. What is not known is an error.",
		Example: `  kvctl lab verify mine.yaml
  kvctl lab verify cap -o json`,
		RunE: func(_ *cobra.Command, args []string) error {
			var all []lessonJSON
			var wrong error
			for _, name := range args {
				e, _, err := experiment(name)
				if err != nil {
					wrong = errors.Join(wrong, err)
					continue
				}
				all = append(all, lessonOf(name, e))
			}
			if wrong != nil {
				return wrong
			}
			return a.show(map[string]any{"files": all}, func() {
				for _, l := range all {
					fmt.Fprintf(a.out, "%s %s: %s, %s, %s\n", a.green("✓"), l.Name, count(l.Steps, "step"), count(l.Asserts, "assertion"), count(l.Predictions, "prediction"))
				}
			})
		},
	}
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return lab.Lessons(), cobra.ShellCompDirectiveDefault
	}
	return cmd
}

func (a *app) labSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "the JSON schema of the format, for editors", Args: takes(0, 0),
		Example: "  kvctl lab schema",
		RunE: func(*cobra.Command, []string) error {
			if a.output == "json" {
				a.json(lab.Schema())
				return nil
			}
			text, err := json.MarshalIndent(lab.Schema(), "", "  ")
			if err == nil {
				_, err = fmt.Fprintln(a.out, string(text))
			}
			return err
		},
	}
}

package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/internal/mutant"
)

// versionJSON is what version prints with -o json.
type versionJSON struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
	Mutants bool   `json:"mutants"` // built with planted bugs
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "which build this is", Args: takes(0, 0),
		Example: `  kvctl version
  kvctl version -o json`,
		RunE: func(*cobra.Command, []string) error {
			v := versionJSON{Version: "devel", Go: runtime.Version(), Mutants: mutant.Enabled}
			if info, ok := debug.ReadBuildInfo(); ok {
				if info.Main.Version != "" && info.Main.Version != "(devel)" {
					v.Version = info.Main.Version
				}
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						v.Commit = s.Value
					}
				}
			}
			return a.show(v, func() {
				fmt.Fprintf(a.out, "kvctl %s %s %s\n", v.Version, v.Commit, v.Go)
				if v.Mutants {
					fmt.Fprintln(a.out, "built with planted bugs: for tests only")
				}
			})
		},
	}
}

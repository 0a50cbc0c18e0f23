package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/store"
)

// levelText is what explain says of a level.
type levelText struct {
	Level       string `json:"level"`
	Promise     string `json:"promise"`
	CP          string `json:"cp"`
	CPPartition string `json:"cp_partition"`
	CPClass     string `json:"cp_pacelc"`
	AP          string `json:"ap"`
	APPartition string `json:"ap_partition"`
	APClass     string `json:"ap_pacelc"`
	Cost        string `json:"cost"`
	Show        string `json:"show"` // a command that shows it
}

const (
	anyApplied  = "any replica that has applied what the session's token names"
	anyCovering = "any replica whose vector covers the token; else it waits, another replica is asked, then SessionUnreachable; WritesLost once every member was heard and none has it"
	bothSides   = "each side serves the sessions it can cover"
)

var levelTexts = map[store.Level]levelText{
	store.Strong: {
		Promise:     "linearizable: every operation on a group takes effect at one instant between call and answer",
		CP:          "any replica: a majority of voters is asked after the read began, then the replica waits for its own state machine",
		CPPartition: "the majority serves; the minority answers Unavailable at the deadline, and never something stale",
		AP:          "refused at once: LevelUnsupported", APPartition: "the same",
		Cost: "a round to a majority, which all reads share that wait when it begins; at a follower one more message to the leader",
		Show: "kvctl get orders/k --level strong --explain",
	},
	store.Quorum: {
		Promise:     "the freshest that a majority has; not linearizable by itself, and never called strong",
		CP:          "served as strong, and the answer says so in level_served",
		CPPartition: "the majority serves; the minority answers Unavailable at the deadline",
		AP:          "what a majority of the members shows of the key, merged: every w=majority write acknowledged before the read began; a scan is refused",
		APPartition: "the side with a majority; the others answer Unavailable at the deadline",
		Cost:        "on cp what strong costs; on ap a round to the nearest members that make a majority",
		Show:        "kvctl get orders/k --level quorum --explain",
	},
	store.Causal: {
		Promise: "every write the session made or read is visible, over all groups and keyspaces it touches, and so is what those depended on within their group",
		CP:      anyApplied, CPPartition: "any replica that has applied the token serves; writes need the majority",
		AP: anyCovering, APPartition: bothSides,
		Cost: "nothing, if the replica has what the session has seen; else the wait for it",
		Show: "kvctl put orders/k v --session s, then kvctl get orders/k --session s --level causal --explain",
	},
	store.ReadYourWrites: {
		Promise: "the session's own acknowledged writes are visible",
		CP:      anyApplied, CPPartition: "any replica that has applied the token serves",
		AP: anyCovering, APPartition: bothSides,
		Cost: "nothing, if the replica has what the session wrote; else the wait for it",
		Show: "kvctl put orders/k v --session s, then kvctl get orders/k --session s --level read-your-writes --explain",
	},
	store.Monotonic: {
		Promise: "never older than what the session has read",
		CP:      anyApplied, CPPartition: "any replica that has applied the token serves",
		AP: anyCovering, APPartition: bothSides,
		Cost: "nothing, if the replica has what the session read; else the wait for it",
		Show: "kvctl get orders/k --session s --level monotonic --explain",
	},
	store.Bounded: {
		Promise:     "bounded:d shows every write that was acknowledged more than d before the read began",
		CP:          "a replica that has applied a read index asked for at most d ago; the age is counted on its own clock, from before the question left",
		CPPartition: "the majority serves; the others go on until d after their last proof, then TooStale",
		AP:          "every member was heard within d, and the replica has what each held when it was asked; the age is counted on its own clock, from before the question left",
		APPartition: "until d after the last answer of a member that is down or cut off; then TooStale at every replica, naming that member",
		Cost:        "nothing while the last proof is young enough, else a round (on cp as for strong, on ap to all members); the longer d, the rarer",
		Show:        "kvctl get orders/k --level bounded:2s --explain, and kvctl bench orders --mix r100 --level strong,bounded:2s",
	},
	store.Eventual: {
		Promise: "some past state, causally closed within each group",
		CP:      "any caught-up replica, at once", CPPartition: "wherever a caught-up replica can be reached",
		AP: "any caught-up replica, at once", APPartition: "wherever a caught-up replica can be reached",
		Cost: "nothing: no message, and no promise how old it is; the answer says how old at most, where that is known",
		Show: "kvctl get orders/k --level eventual --explain",
	},
}

// refusedByAP are the levels that an ap keyspace does not serve.
var refusedByAP = []store.Level{store.Strong}

func (a *app) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use: "explain LEVEL", Short: "what a level promises, and what it costs", Args: takes(1, 1), ValidArgs: store.LevelNames,
		Example: `  kvctl explain strong
  kvctl explain bounded`,
		RunE: func(_ *cobra.Command, args []string) error {
			name, _, _ := strings.Cut(args[0], ":") // bounded:2s is bounded
			level, err := store.ParseLevel(name)
			if err != nil {
				return err
			}
			text, ok := levelTexts[level]
			if !ok {
				return &store.Error{Code: store.Invalid, Msg: fmt.Sprintf("level %q cannot be asked for by name", args[0]), Try: "kvctl explain strong"}
			}
			text.Level, text.CPClass, text.APClass = level.String(), level.PACELC(store.CP), level.PACELC(store.AP)
			if slices.Contains(refusedByAP, level) {
				text.APClass = "refused"
			}
			return a.show(text, func() {
				fmt.Fprintf(a.out, "%s: %s\n\n", text.Level, text.Promise)
				a.table([][]string{
					{"on a cp keyspace", text.CP}, {"  in a partition", text.CPPartition}, {"  PACELC", text.CPClass},
					{"on an ap keyspace", text.AP}, {"  in a partition", text.APPartition}, {"  PACELC", text.APClass},
					{"costs", text.Cost}, {"see", text.Show},
				})
			})
		},
	}
}

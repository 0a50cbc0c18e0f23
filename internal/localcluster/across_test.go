package localcluster_test

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/link"
	"github.com/dialkv/dialkv/internal/link/linktest"
	"github.com/dialkv/dialkv/internal/localcluster"
	"github.com/dialkv/dialkv/internal/token"
	"github.com/dialkv/dialkv/store"
)

// desk is a client at a node, with a session.
type desk struct {
	t       *testing.T
	node    string
	c       *client.Client
	session *client.Session
}

func deskAt(t *testing.T, c localcluster.Cluster, node string) *desk {
	t.Helper()
	cl, err := c.Client(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cl.Close() })
	d := &desk{t: t, node: node, c: cl}
	d.resume("")
	return d
}

func (d *desk) resume(tok string) {
	d.t.Helper()
	var err error
	if d.session, err = d.c.ResumeSession(tok); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) put(keyspace, value string) {
	d.t.Helper()
	if _, err := d.c.Keyspace(keyspace).Put(within(d.t, 10*time.Second), "k", []byte(value), client.In(d.session)); err != nil {
		d.t.Fatalf("put %s: %v", keyspace, err)
	}
}

func (d *desk) delete(keyspace string) {
	d.t.Helper()
	if _, err := d.c.Keyspace(keyspace).Delete(within(d.t, 10*time.Second), "k", client.In(d.session)); err != nil {
		d.t.Fatalf("delete %s: %v", keyspace, err)
	}
}

// get is the value, "" if there is none, and what it is said to depend on.
func (d *desk) get(keyspace string, level store.Level) (string, store.Deps) {
	d.t.Helper()
	page, err := d.c.Keyspace(keyspace).Read(within(d.t, 10*time.Second), store.Query{Key: "k", Level: level}, client.In(d.session))
	switch {
	case err != nil:
		d.t.Fatalf("get %s: %v", keyspace, err)
	case len(page.Items) == 0:
		return "", page.Deps
	}
	return string(page.Items[0].Values[0]), page.Deps
}

func threeKeyspaces(t *testing.T) *localcluster.Memory {
	t.Helper()
	c := memory(t, 3)
	create(t, c, &kvpb.CreateKeyspaceRequest{Name: "posts", Mode: "ap"})
	create(t, c, &kvpb.CreateKeyspaceRequest{Name: "tasks", Mode: "cp"})
	create(t, c, &kvpb.CreateKeyspaceRequest{Name: "notes", Mode: "ap"})
	author := deskAt(t, c, "n1")
	author.put("posts", "old")
	author.put("tasks", "open")
	time.Sleep(15 * time.Second) // until nothing depends on anything
	return c
}

// lagging is a cluster in which late hears of ap writes a second late, and of all else at
// once. It does not lead.
func lagging(t *testing.T) (c *localcluster.Memory, author, between, late *desk) {
	t.Helper()
	c = threeKeyspaces(t)
	_, leaders := replicas(t, c, "tasks")
	var at []*desk // the leader's is the first
	for _, name := range c.Nodes() {
		d := deskAt(t, c, name)
		for _, keyspace := range []string{"posts", "tasks", "notes"} {
			d.get(keyspace, store.Causal) // it knows its way from now on
		}
		d.resume("")
		at = append(at, d)
		if slices.Contains(slices.Collect(maps.Values(leaders)), name) {
			at[0], at[len(at)-1] = at[len(at)-1], at[0]
		}
	}
	last := at[2].node
	var rules []link.Rule
	for _, other := range c.Nodes() {
		if other != last {
			rules = append(rules, link.Rule{From: other, To: last, Kind: link.RPC, Delay: time.Second}, link.Rule{From: last, To: other, Kind: link.RPC, Delay: time.Second})
		}
	}
	if err := c.SetFaults(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
	return c, at[0], at[1], at[2]
}

// Who reads what somebody did elsewhere in consequence must not miss the cause, though
// they never met: the groups pass it on.
func TestCauseIsSeenWithItsEffectInAnotherKeyspace(t *testing.T) {
	for name, act := range map[string]func(author *desk){
		"a put":    func(author *desk) { author.put("tasks", "done") },
		"a delete": func(author *desk) { author.delete("tasks") },
	} {
		t.Run(name, func(t *testing.T) {
			linktest.Bubble(t, func(t *testing.T) {
				_, author, _, reader := lagging(t)
				author.put("posts", "new")
				act(author)
				time.Sleep(100 * time.Millisecond)
				if got, _ := reader.get("tasks", store.Causal); got == "open" {
					t.Fatal("the effect is not there")
				}
				if got, _ := reader.get("posts", store.Eventual); got != "old" {
					t.Fatalf("it does not lag: %q", got)
				}
				if got, _ := reader.get("posts", store.Causal); got != "new" {
					t.Errorf("who saw the effect reads %q, which the cause had replaced", got)
				}
			})
		})
	}
}

// The reader of the effect writes a third group, and it is who reads that one.
func TestCauseIsPassedOnOverThreeKeyspaces(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		_, author, between, reader := lagging(t)
		author.put("posts", "new")
		author.put("tasks", "done")
		if got, _ := between.get("tasks", store.Strong); got != "done" {
			t.Fatalf("tasks is %q", got)
		}
		between.put("notes", "seen")
		for range 500 {
			if got, _ := reader.get("notes", store.Causal); got == "seen" {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if got, _ := reader.get("tasks", store.Causal); got != "done" {
			t.Errorf("tasks is %q", got)
		}
		if got, _ := reader.get("posts", store.Causal); got != "new" {
			t.Errorf("posts is %q", got)
		}
	})
}

func TestWhatAllMembersHoldIsDependedOnNoMore(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c, author, reader, _ := lagging(t)
		author.put("posts", "new")
		author.put("notes", "done")
		author.put("tasks", "done")
		author.put("notes", "told")
		if _, deps := reader.get("tasks", store.Strong); deps == nil {
			t.Error("tasks depends on nothing")
		}
		if err := c.SetFaults(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		for _, keyspace := range []string{"tasks", "notes"} {
			if _, deps := reader.get(keyspace, store.Causal); deps != nil {
				t.Errorf("%s still depends on %x", keyspace, deps)
			}
		}
		author.put("tasks", "once more")
		if _, deps := reader.get("tasks", store.Strong); deps != nil {
			t.Errorf("what was settled is depended on again: %x", deps)
		}
	})
}

// A token that somebody made up costs its holder a wait, and nobody else anything.
func TestMadeUpTokenHurtsNobodyElse(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := threeKeyspaces(t)
		forger, reader := deskAt(t, c, "n1"), deskAt(t, c, "n2")
		page, err := forger.c.Keyspace("posts").Read(within(t, time.Second), store.Query{Key: "k"}, client.In(forger.session))
		if err != nil {
			t.Fatal(err)
		}
		real, err := token.Parse(forger.session.Token())
		if err != nil {
			t.Fatal(err)
		}
		made := token.Token{Cluster: real.Cluster, Epoch: real.Epoch}
		if err := made.Read(page.Proof.Group, token.EncodeEntry([]token.Component{{ID: 1 << 60, N: 1 << 40}})); err != nil {
			t.Fatal(err)
		}
		// The catalog is no group of anybody's session.
		if err := made.Read(store.CatalogGroup, token.EncodeEntry([]token.Component{{N: 1}})); err != nil {
			t.Fatal(err)
		}
		forger.resume(made.String())
		_, err = forger.c.Keyspace("tasks").Put(within(t, 2*time.Second), "k", []byte("v"), client.In(forger.session))
		if !errors.Is(err, store.SessionUnreachable) || store.AsError(err).MaybeApplied() {
			t.Errorf("a write with a made-up token: %v", err)
		}
		if got, deps := reader.get("tasks", store.Strong); got != "open" || deps != nil {
			t.Errorf("tasks is %q and depends on %x", got, deps)
		}
		began := time.Now()
		reader.put("tasks", "v")
		reader.get("posts", store.Causal)
		if waited := time.Since(began); waited > time.Second {
			t.Errorf("somebody else waited for %v", waited)
		}
	})
}

func TestDeletedKeyspaceIsDependedOnByNobody(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := threeKeyspaces(t)
		author, reader := deskAt(t, c, "n1"), deskAt(t, c, "n2")
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "scratch", Mode: "cp"})
		author.put("scratch", "v")
		author.put("tasks", "v")
		admin, err := c.Admin("n1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := admin.DeleteKeyspace(within(t, 5*time.Second), &kvpb.DeleteKeyspaceRequest{Name: "scratch"}); err != nil {
			t.Fatal(err)
		}
		author.put("notes", "v")
		time.Sleep(20 * time.Second)
		author.put("notes", "w")
		for _, keyspace := range []string{"tasks", "notes"} {
			if _, deps := reader.get(keyspace, store.Causal); deps != nil {
				t.Errorf("%s depends on %x", keyspace, deps)
			}
		}
	})
}

func partition(t *testing.T, c localcluster.Cluster, how string) {
	t.Helper()
	rules, err := link.ParsePartition(how, c.Nodes())
	if err == nil {
		err = c.SetFaults(t.Context(), rules)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func heal(t *testing.T, c localcluster.Cluster) {
	t.Helper()
	if err := c.SetFaults(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// A member that was taken out while it was cut off serves whoever reaches it, so nothing
// settles before it has heard.
func TestNothingSettlesWithoutAMemberThatDoesNotKnowItIsNone(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 4)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "posts", Mode: "cp", Replicas: 4})
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "tasks", Mode: "ap", Replicas: 4})
		deskAt(t, c, "n1").put("posts", "old")
		time.Sleep(10 * time.Second)
		there := deskAt(t, c, "n4")
		there.get("posts", store.Causal)
		partition(t, c, "n4|n1,n2,n3")
		time.Sleep(10 * time.Second)
		admin, err := c.Admin("n1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := admin.AlterKeyspace(within(t, 30*time.Second), &kvpb.AlterKeyspaceRequest{Name: "posts", Replicas: 3}); err != nil {
			t.Fatal(kvpb.FromStatus(err))
		}
		time.Sleep(30 * time.Second)
		author, reader := deskAt(t, c, "n1"), deskAt(t, c, "n2")
		author.put("posts", "new")
		author.put("tasks", "done")
		time.Sleep(time.Minute)
		if got, _ := reader.get("tasks", store.Causal); got != "done" {
			t.Fatalf("tasks is %q", got)
		}
		page, err := there.c.Keyspace("posts").Read(within(t, 5*time.Second), store.Query{Key: "k", Level: store.Causal}, client.In(reader.session))
		if err == nil && string(page.Items[0].Values[0]) != "new" {
			t.Errorf("%s shows %q to who has seen what came after", page.Proof.Node, page.Items[0].Values[0])
		}
	})
}

// What only one node had, and took with it, is waited for by nobody.
func TestWhatWasLostIsDependedOnNoMore(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := memory(t, 4)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "notes", Mode: "ap", Replicas: 4})
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "posts", Mode: "ap", Replicas: 3})
		held, _ := replicas(t, c, "posts")
		var members []string
		for _, nodes := range held {
			members = nodes
		}
		victim, between := members[0], ""
		for _, name := range c.Nodes() {
			if !slices.Contains(members, name) {
				between = name
			}
		}
		var rules []link.Rule
		for _, other := range members[1:] {
			rules = append(rules, link.Rule{From: other, To: victim, Action: link.Hole}, link.Rule{From: victim, To: other, Action: link.Hole})
		}
		if err := c.SetFaults(t.Context(), rules); err != nil {
			t.Fatal(err)
		}
		author := deskAt(t, c, victim)
		author.put("posts", "lost")
		after := deskAt(t, c, between)
		after.resume(author.session.Token())
		after.put("notes", "kept")
		time.Sleep(time.Second)
		if err := c.Kill(t.Context(), victim); err != nil {
			t.Fatal(err)
		}
		heal(t, c)
		mustRemove(t, c, victim, true)
		time.Sleep(time.Minute)
		fresh := deskAt(t, c, members[1])
		if got, deps := fresh.get("notes", store.Causal); got != "kept" || deps != nil {
			t.Errorf("notes is %q and depends on %x", got, deps)
		}
		fresh.get("posts", store.Causal)
		fresh.put("notes", "again")
	})
}

// What a group has noted need not be proved again by those who read it there.
func TestSideServesWhoHasSeenNothingElse(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := threeKeyspaces(t)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "alone", Mode: "ap", Replicas: 1})
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "scratch", Mode: "ap"})
		held, _ := replicas(t, c, "alone")
		holder := ""
		for _, nodes := range held {
			holder = nodes[0]
		}
		author := deskAt(t, c, holder)
		author.put("scratch", "v")
		author.put("alone", "v")
		author.put("notes", "v")
		admin, err := c.Admin("n1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := admin.DeleteKeyspace(within(t, 5*time.Second), &kvpb.DeleteKeyspaceRequest{Name: "scratch"}); err != nil {
			t.Fatal(kvpb.FromStatus(err))
		}
		time.Sleep(time.Second)
		var others []string
		for _, name := range c.Nodes() {
			if name != holder {
				others = append(others, name)
			}
		}
		partition(t, c, holder+"|"+others[0]+","+others[1])
		for range 2 {
			author.put("notes", "w") // who has used a keyspace that is gone, on the side without the catalog
			for _, at := range others {
				reader := deskAt(t, c, at)
				reader.get("notes", store.Causal)
				reader.put("notes", "x")
			}
			time.Sleep(20 * time.Second)
		}
	})
}

// A restore ends what was seen of its group before, and makes nobody an old session who
// comes after.
func TestRestoreIsNotHeldAgainstWhoReadsOthers(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := threeKeyspaces(t)
		if err := c.Kill(t.Context(), "n3"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		author := deskAt(t, c, "n1")
		author.put("tasks", "before")
		author.put("notes", "after")
		var saved bytes.Buffer
		operator := deskAt(t, c, "") // a snapshot goes the straight way
		if err := operator.c.Keyspace("tasks").Save(within(t, 20*time.Second), &saved); err != nil {
			t.Fatal(err)
		}
		if _, err := operator.c.Keyspace("tasks").Restore(within(t, 20*time.Second), bytes.NewReader(saved.Bytes())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		fresh := deskAt(t, c, "n2")
		fresh.get("notes", store.Causal)
		if got, _ := fresh.get("tasks", store.Causal); got != "before" {
			t.Errorf("tasks is %q", got)
		}
	})
}

// To prove a token takes no view from those who scan.
func TestProofsLeaveScansAlone(t *testing.T) {
	linktest.Bubble(t, func(t *testing.T) {
		c := threeKeyspaces(t)
		create(t, c, &kvpb.CreateKeyspaceRequest{Name: "alone", Mode: "ap", Replicas: 1})
		held, _ := replicas(t, c, "alone")
		at := "n1"
		for _, nodes := range held {
			if nodes[0] == at {
				at = "n2"
			}
		}
		writer := deskAt(t, c, at)
		writer.put("alone", "v")
		if _, err := writer.c.Keyspace("alone").Put(within(t, time.Second), "l", nil); err != nil {
			t.Fatal(err)
		}
		page, err := writer.c.Keyspace("alone").Read(within(t, time.Second), store.Query{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			writer.put("alone", "v")
			writer.put("notes", "v")
		}
		if _, err := writer.c.Keyspace("alone").Read(within(t, time.Second), store.Query{Limit: 1, Page: page.Next}); err != nil {
			t.Errorf("the second page: %v", err)
		}
	})
}

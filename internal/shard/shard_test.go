package shard

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dialkv/dialkv/store"
)

// The figures are XXH64 of the text in quotes, modulo 16. They must never change:
// stored keys are where this function says they are.
func TestShardOfAKeyNeverChanges(t *testing.T) {
	k := Keyspace{Groups: 16}
	for key, want := range map[string]uint32{
		"a":           11,
		"u42":         1,
		"cart/u42":    7,
		"ключ":        12,
		"{}cart":      13,
		"{open":       1,
		"x{u42}/cart": 1,
		"{u42}{b}":    1,
		"{{u42}}":     2,
	} {
		if got := k.Shard(key); got != want {
			t.Errorf("%q is in shard %d, want %d", key, got, want)
		}
	}
}

func TestKeysSpreadEvenly(t *testing.T) {
	k := Keyspace{Groups: 8}
	var count [8]int
	for i := range 8000 {
		count[k.Shard(fmt.Sprintf("key-%d", i))]++
	}
	for s, n := range count {
		if n < 850 || n > 1150 {
			t.Errorf("shard %d holds %d of 8000 keys", s, n)
		}
	}
}

func TestPlaceSpreadsGroupsEvenly(t *testing.T) {
	nodes := strings.Fields("n1 n2 n3 n4 n5")
	for replicas := 1; replicas <= 5; replicas++ {
		for groups := 1; groups <= 16; groups++ {
			placement, err := Place(nodes, replicas, groups)
			if err != nil {
				t.Fatal(err)
			}
			checkSpread(t, nodes, replicas, placement)
		}
	}
}

func checkSpread(t *testing.T, nodes []string, replicas int, placement [][]string) {
	t.Helper()
	held := make(map[string]int)
	for g, members := range placement {
		distinct := make(map[string]bool)
		for _, m := range members {
			distinct[m] = true
			held[m]++
		}
		if len(distinct) != replicas {
			t.Errorf("group %d is on %v, want %d nodes", g, members, replicas)
		}
	}
	share := len(placement) * replicas / len(nodes)
	for _, n := range nodes {
		if held[n] < share-1 || held[n] > share+replicas {
			t.Errorf("%s holds %d of %d groups × %d replicas", n, held[n], len(placement), replicas)
		}
	}
}

func TestPlaceRefusesWhatTheClusterCannotHold(t *testing.T) {
	_, err := Place([]string{"n1", "n2"}, 3, 1)
	if !errors.Is(err, store.Invalid) || !strings.Contains(err.Error(), "3 replicas were asked for, the cluster has 2 nodes") {
		t.Errorf("error is %v", err)
	}
	for _, bad := range [][2]int{{0, 1}, {1, 0}, {-1, 1}} {
		if _, err := Place([]string{"n1"}, bad[0], bad[1]); !errors.Is(err, store.Invalid) {
			t.Errorf("%v: error is %v", bad, err)
		}
	}
}

func TestMembersOfAStrangeShardAreNone(t *testing.T) {
	k := Keyspace{Groups: 1, Placement: [][]string{{"n1"}}}
	if k.Members(0)[0] != "n1" || k.Members(1) != nil || k.Members(1<<32-1) != nil {
		t.Errorf("members are %v, %v", k.Members(0), k.Members(1))
	}
}

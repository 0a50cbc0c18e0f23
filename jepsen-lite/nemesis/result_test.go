package nemesis_test

import (
	"testing"

	"github.com/dialkv/dialkv/jepsen-lite/nemesis"
)

func TestResultNamesAFewFaultsAndCountsMany(t *testing.T) {
	cut := nemesis.Done{Fault: nemesis.Partition, Detail: "n1|n2,n3", Effect: "9 packets were held"}
	kill := nemesis.Done{Fault: nemesis.Kill, Detail: "n2", Effect: "n2 did not answer"}
	many := nemesis.Result{}
	for range 100 {
		many.Done = append(many.Done, cut, kill, kill)
	}
	for _, c := range []struct {
		result nemesis.Result
		want   string
	}{
		{nemesis.Result{}, "no faults"},
		{nemesis.Result{Done: []nemesis.Done{cut, kill}}, "2 faults: partition n1|n2,n3: 9 packets were held; kill n2: n2 did not answer"},
		{many, "300 faults: 200 × kill; 100 × partition"},
	} {
		if got := c.result.String(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

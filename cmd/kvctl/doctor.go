package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"

	"github.com/dialkv/dialkv/internal/kvpb"
	"github.com/dialkv/dialkv/internal/localcluster"
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "what is wrong with a cluster, and what to try", Args: takes(0, 0),
		Long: `doctor asks every node how it is, and says in sentences what is wrong and what to try.

A fault keeps the cluster from serving all it should, or has cost it a copy; the status
is then 7. A warning is worth a look, and the status is 0. Of a node that shows its
metrics (--admin) the disk and what it refused are looked at too.`,
		Example: `  kvctl doctor
  kvctl doctor -o json
  kvctl doctor --seeds 10.0.0.1:7400`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(func(c localcluster.Cluster) error {
				found, err := examine(cmd.Context(), c)
				if err != nil {
					return err
				}
				d := diagnose(found)
				if err := a.show(d, func() { a.diagnosisTable(d) }); err != nil {
					return err
				}
				if !d.Healthy {
					return errFailed
				}
				return nil
			})
		},
	}
}

// examined is what is known of a cluster.
type examined struct {
	clusterJSON
	statuses []*kvpb.StatusResponse // by node; nil: it does not answer
	faults   []*kvpb.FaultsResponse // the same
	metrics  []metrics              // by node; nil: they could not be read
	ours     bool                   // its processes are kvctl's own
	memory   bool                   // it is in this process, and shows no metrics
}

// examine asks all nodes at once.
func examine(ctx context.Context, c localcluster.Cluster) (examined, error) {
	statuses := answers(ctx, c)
	surveyed, err := surveyOf(c, statuses)
	if err != nil {
		return examined{}, err
	}
	e := examined{
		clusterJSON: surveyed, statuses: statuses,
		faults: make([]*kvpb.FaultsResponse, len(statuses)), metrics: make([]metrics, len(statuses)),
	}
	_, e.ours = c.(*localcluster.Procs)
	_, e.memory = c.(*localcluster.Memory)
	var asking sync.WaitGroup
	for i, name := range c.Nodes() {
		if statuses[i] == nil {
			continue
		}
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, glance)
			defer cancel()
			if admin, err := c.Admin(name); err == nil {
				e.faults[i], _ = admin.Faults(ctx, &kvpb.FaultsRequest{}) // it answered a moment ago; without an answer nothing is said
			}
			if at := statuses[i].GetSelf().GetAdmin(); at != "" {
				e.metrics[i], _ = readMetrics(ctx, at) // that they could not be read is said of the node
			}
		})
	}
	asking.Wait()
	return e, nil
}

// metrics are those of a node.
type metrics map[string]*dto.MetricFamily

// metricBytes bounds what is read of a node's metrics.
const metricBytes = 16 << 20

func readMetrics(ctx context.Context, addr string) (metrics, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/plain")
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", addr, resp.Status)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	return parser.TextToMetricFamilies(io.LimitReader(resp.Body, metricBytes))
}

// sum adds up what there is of a name.
func (m metrics) sum(name string) float64 { return m.where(name, anyMetric) }

func anyMetric(*dto.Metric) bool { return true }

// where adds up what there is of a name among those that keep wants.
func (m metrics) where(name string, keep func(*dto.Metric) bool) (sum float64) {
	for _, x := range m[name].GetMetric() {
		if keep(x) {
			sum += value(x)
		}
	}
	return sum
}

// value is what a metric has of the kinds that have one.
func value(x *dto.Metric) float64 {
	return x.GetCounter().GetValue() + x.GetGauge().GetValue() + x.GetUntyped().GetValue()
}

// syncs is how long syncs of the log took on the average.
func (m metrics) syncs() time.Duration {
	for _, x := range m["kv_node_fsync_seconds"].GetMetric() {
		if n := x.GetHistogram().GetSampleCount(); n > 0 {
			return time.Duration(x.GetHistogram().GetSampleSum() / float64(n) * float64(time.Second))
		}
	}
	return 0
}

func label(x *dto.Metric, name string) string {
	for _, l := range x.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

func (a *app) diagnosisTable(d diagnosis) {
	for _, f := range d.Findings {
		mark := a.red("✗")
		if f.Severity == warning {
			mark = "!"
		}
		fmt.Fprintf(a.out, "%s %s\n  try: %s\n", mark, f.What, f.Try)
	}
	if len(d.Unseen) > 0 {
		fmt.Fprintf(a.out, "the metrics of %s could not be looked at\n", list(d.Unseen))
	}
	looked := fmt.Sprintf("cluster %s: %s, %s", d.Name, count(d.Nodes, "node"), count(d.Groups, "group"))
	switch faults, warnings := d.count(fault), d.count(warning); {
	case faults == 0 && warnings == 0:
		fmt.Fprintf(a.out, "%s %s, nothing is wrong\n", a.green("✓"), looked)
	default:
		fmt.Fprintf(a.out, "%s; %s, %s\n", looked, count(faults, "fault"), count(warnings, "warning"))
	}
}

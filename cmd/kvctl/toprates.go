package main

import (
	"math"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/dialkv/dialkv/store"
)

// work is what a node did between two looks. Rates are per second.
type work struct {
	ReadsPerS  float64 `json:"reads_per_s"`
	WritesPerS float64 `json:"writes_per_s"`
	// The 99th percentiles are of what the node took, within the bounds of the histogram's
	// buckets; absent if there was nothing.
	ReadP99MS    float64 `json:"read_p99_ms,omitempty"`
	WriteP99MS   float64 `json:"write_p99_ms,omitempty"`
	ShedPerS     float64 `json:"shed_per_s"`   // refused as Overloaded
	FailedPerS   float64 `json:"failed_per_s"` // ended in an error, those with them
	InFlight     int     `json:"in_flight"`
	CPUPercent   float64 `json:"cpu_percent"` // of one processor
	LogBytesPerS float64 `json:"log_bytes_per_s"`
}

// sum is what a node served; 0 of one that was not measured.
func (w *work) sum() float64 {
	if w == nil {
		return 0
	}
	return w.ReadsPerS + w.WritesPerS
}

// readOps are the ops that change nothing, and notData those that are no reads or writes of
// anybody's data. All others are writes.
var (
	readOps = []string{"get", "scan"}
	notData = []string{"open-session", "close-session", "other"}
)

func isRead(x *dto.Metric) bool  { return slices.Contains(readOps, label(x, "op")) }
func isWrite(x *dto.Metric) bool { return !isRead(x) && !slices.Contains(notData, label(x, "op")) }

// isAsked leaves out what nodes ask of the catalog for themselves.
func isAsked(x *dto.Metric) bool { return label(x, "keyspace") != store.CatalogName }

func hasFailed(x *dto.Metric) bool {
	return label(x, "outcome") != string(store.OK) && isAsked(x)
}

// since is what was done since was.
func (m metrics) since(was metrics, took time.Duration) *work {
	rate := func(name string, keep func(*dto.Metric) bool) float64 {
		return perSecond(m.where(name, keep)-was.where(name, keep), took)
	}
	const requests, latency = "kv_node_requests_total", "kv_node_request_seconds"
	return &work{
		ReadsPerS:    rate(requests, func(x *dto.Metric) bool { return isRead(x) && isAsked(x) }),
		WritesPerS:   rate(requests, func(x *dto.Metric) bool { return isWrite(x) && isAsked(x) }),
		ReadP99MS:    reached(0.99, m.buckets(latency, isRead), was.buckets(latency, isRead)),
		WriteP99MS:   reached(0.99, m.buckets(latency, isWrite), was.buckets(latency, isWrite)),
		ShedPerS:     rate("kv_node_shed_total", isAsked),
		FailedPerS:   rate(requests, hasFailed),
		InFlight:     int(m.sum("kv_node_requests_in_flight")),
		CPUPercent:   perSecond(100*(m.sum("process_cpu_seconds_total")-was.sum("process_cpu_seconds_total")), took),
		LogBytesPerS: rate("kv_node_log_written_bytes_total", anyMetric),
	}
}

// perSecond has one digit after the point. A counter that went back was that of a keyspace
// which is gone: nothing is known then.
func perSecond(n float64, took time.Duration) float64 {
	return max(0, math.Round(10*n/took.Seconds())/10)
}

// group is what a metric says of a group, and hasGroup whether it does.
func (m metrics) group(name, id string) float64 {
	return m.where(name, func(x *dto.Metric) bool { return label(x, "group") == id })
}

func (m metrics) hasGroup(name, id string) bool {
	return slices.ContainsFunc(m[name].GetMetric(), func(x *dto.Metric) bool { return label(x, "group") == id })
}

// upTo is how many took this long at most, in seconds.
type upTo struct{ bound, count float64 }

// buckets adds up histograms, which all have the same bounds.
func (m metrics) buckets(name string, keep func(*dto.Metric) bool) (sum []upTo) {
	for _, x := range m[name].GetMetric() {
		if !keep(x) {
			continue
		}
		for i, b := range x.GetHistogram().GetBucket() {
			if i == len(sum) {
				sum = append(sum, upTo{bound: b.GetUpperBound()})
			}
			sum[i].count += float64(b.GetCumulativeCount())
		}
	}
	return sum
}

// reached is the quantile of what came between was and now, in milliseconds: on a straight
// line within its bucket, as Prometheus' histogram_quantile has it. 0 if nothing came.
func reached(q float64, now, was []upTo) float64 {
	since := slices.Clone(now)
	for i := range since {
		if i < len(was) {
			since[i].count -= was[i].count
		}
	}
	if len(since) == 0 || since[len(since)-1].count <= 0 {
		return 0
	}
	rank, low := q*since[len(since)-1].count, upTo{}
	for _, b := range since {
		if b.count >= rank {
			if math.IsInf(b.bound, 1) {
				return milliseconds(seconds(low.bound)) // longer than the longest bound
			}
			share := (rank - low.count) / (b.count - low.count)
			return milliseconds(seconds(low.bound + share*(b.bound-low.bound)))
		}
		low = b
	}
	return 0
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

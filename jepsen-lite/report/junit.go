package report

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"

	"github.com/dialkv/dialkv/jepsen-lite/check"
	"github.com/dialkv/dialkv/jepsen-lite/history"
)

// The shape of JUnit's XML, as far as build servers agree on it.
type (
	suites struct {
		XMLName xml.Name `xml:"testsuites"`
		Suite   suite    `xml:"testsuite"`
	}
	suite struct {
		Name       string     `xml:"name,attr"`
		Tests      int        `xml:"tests,attr"`
		Failures   int        `xml:"failures,attr"`
		Errors     int        `xml:"errors,attr"`
		Time       string     `xml:"time,attr"`
		Began      string     `xml:"timestamp,attr,omitempty"`
		Properties []property `xml:"properties>property"`
		Cases      []testcase `xml:"testcase"`
	}
	property struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	testcase struct {
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		Failure *mishap  `xml:"failure"`
		Error   *mishap  `xml:"error"`
		Out     *outText `xml:"system-out"`
	}
	mishap struct {
		Type    string `xml:"type,attr"`
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	outText struct {
		Text string `xml:",chardata"`
	}
)

// junit makes a test case of each checker: fail is a failure, unknown and invalid are
// errors, so that no build server takes them for a pass.
func junit(h *history.History, rep check.Report, run Run) ([]byte, error) {
	s := suite{
		Name: "jepsen-lite", Tests: len(rep.Checkers), Time: fmt.Sprintf("%.3f", h.Length().Seconds()),
		Properties: []property{{"seed", strconv.FormatInt(rep.Seed, 10)}, {"verdict", string(rep.Verdict)}},
	}
	if !run.Began.IsZero() {
		s.Began = run.Began.UTC().Format("2006-01-02T15:04:05")
	}
	for _, c := range rep.Checkers {
		t := testcase{Class: "jepsen-lite." + cmp.Or(run.Title, "history"), Name: c.Name}
		switch c.Verdict {
		case check.Pass:
			t.Out = &outText{c.Claim + ": " + c.Sentence}
		case check.Fail:
			s.Failures++
			t.Failure = &mishap{string(c.Verdict), c.Sentence, evidence(h, c)}
		default:
			s.Errors++
			t.Error = &mishap{string(c.Verdict), c.Sentence, evidence(h, c)}
		}
		s.Cases = append(s.Cases, t)
	}
	data, err := xml.MarshalIndent(suites{Suite: s}, "", "  ")
	return append([]byte(xml.Header), append(data, '\n')...), err
}

// evidence is the claim and, a line each, the operations that show how it was broken.
func evidence(h *history.History, c check.Result) string {
	var out strings.Builder
	fmt.Fprintf(&out, "claim: %s\n", c.Claim)
	for _, op := range found(h, c.Witness) {
		fmt.Fprintln(&out, title(op))
	}
	return out.String()
}

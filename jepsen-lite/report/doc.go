// Package report makes a judged history readable: one HTML file that needs nothing
// else, and the same as data beside it, for programs (results.json), build servers
// (junit.xml) and what reads the Chaos Toolkit's journals (journal.json).
//
// The page is drawings and tables. A drawing is data in units of its own, made by
// newTimeline, newDiagram, plots and staleness; one template makes SVG of any.
//
// A report is written for every verdict and for the emptiest history, because the run
// that went wrong is the one that somebody will want to look at. Whatever clients
// wrote is escaped everywhere; the page loads nothing and runs no script but
// porcupine's, which its content security policy names by hash.
package report

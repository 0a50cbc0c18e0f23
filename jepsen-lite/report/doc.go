// Package report makes a judged history readable: one HTML file that needs nothing
// else, and the same as data beside it.
//
// A report is written for every verdict and for the emptiest history, because the run
// that went wrong is the one that somebody will want to look at. Whatever clients
// wrote is escaped everywhere; the page loads nothing and runs no script but
// porcupine's, which its content security policy names by hash.
package report

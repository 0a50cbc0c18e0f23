// Package lab plays experiments on a cluster, and tells meanwhile what they show.
//
// An experiment is a file, YAML or JSON, in the words of the Chaos Toolkit's open
// format: a hypothesis about the steady state, a method of actions and probes, and
// rollbacks. The hypothesis is looked at before the method and after it; what is rolled
// back is rolled back however the method ends. To those words come three: cluster, which
// says what the experiment needs; say, which narrates; and predict, which asks what will
// happen before it does.
//
// [Parse] is strict: what it does not know is an error with its line. [Experiment.Run]
// plays on anything that is a [Cluster], also in a synctest bubble, and keeps a history
// of every operation on data, for the checkers to judge. An experiment that uses only
// the providers http and process needs no cluster at all.
//
// [Lessons] are the experiments that come with the program.
package lab

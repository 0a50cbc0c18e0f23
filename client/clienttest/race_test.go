//go:build race

package clienttest_test

const raceDetector = true

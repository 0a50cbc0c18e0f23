//go:build race

package main

// race says that everything is ten times slower.
const race = true

// Package standin stands in for Foreman in tests: it answers as Foreman 3.13
// does (the facts are in its comments), can be told to be away, slow or broken
// in the ways that were seen, and records every request byte for byte.
package standin

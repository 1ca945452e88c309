package harness

import "go.uber.org/goleak"

// Lingering excuses, in a check for leaked goroutines, the connections that
// net/http's server has cut already: it holds each for 500 ms more, so that the
// client reads the answer before the connection ends, and nothing can shorten
// that. goleak gives up after 430 ms. Such a goroutine ends by itself; every
// other one of a server is still a leak.
func Lingering() goleak.Option {
	return goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait")
}

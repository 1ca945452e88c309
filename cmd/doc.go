// Package cmd is the program: its configuration, what it starts and stops in
// which order, and its command line. The operators' commands are clients of the
// admin socket; none of them opens the state directory.
package cmd

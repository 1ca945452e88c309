// Command foreman-relay stores what hosts report and delivers it to Foreman
// when Foreman can take it.
package main

import (
	"context"
	"os"

	"github.com/theforeman/foreman-relay/cmd"
)

func main() {
	os.Exit(cmd.Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr, os.Environ()))
}

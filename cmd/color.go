package cmd

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/relay"
)

// color is a terminal's escape sequence.
type color string

const (
	red       color = "\x1b[31m"
	green     color = "\x1b[32m"
	yellow    color = "\x1b[33m"
	uncolored       = "\x1b[0m"
)

// colored is a cell in a colour, where colours are wanted.
type colored struct {
	value any
	color color
}

var colorChoices = [...]string{"auto", "always", "never"}

// colors says whether tables are coloured: on a terminal, unless NO_COLOR is set
// to anything (no-color.org), or as --color says.
func (p *program) colors(c *cobra.Command) (bool, error) {
	choice, _ := c.Flags().GetString("color") // registered by operatorFlags
	switch choice {
	case "always":
		return true, nil
	case "never":
		return false, nil
	case "auto":
		return variable(p.env)("NO_COLOR") == "" && isTerminal(p.stdout), nil
	}
	return false, usage(fmt.Errorf("--color is %q; choose one of %s", choice, strings.Join(colorChoices[:], ", ")))
}

// stateCell colours what needs somebody's eye.
func stateCell(s relay.State) any {
	switch s {
	case relay.Dead:
		return colored{s, red}
	case relay.Waiting:
		return colored{s, yellow}
	case relay.Delivered:
		return colored{s, green}
	}
	return s
}

func breakerCell(state string) any {
	switch state {
	case "closed":
		return colored{state, green}
	case "open":
		return colored{state, red}
	}
	return colored{state, yellow}
}

// countCell colours a count that should be nothing.
func countCell(n uint64) any {
	if n > 0 {
		return colored{n, red}
	}
	return n
}

func pausedCell(paused bool) any {
	if paused {
		return colored{"yes", yellow}
	}
	return "no"
}

// known is the completion of a flag with fixed choices.
func known(choices []string) cobra.CompletionFunc {
	return cobra.FixedCompletions(slices.Clone(choices), cobra.ShellCompDirectiveNoFileComp)
}

package cmd

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

func completionCommand(p *program) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	c := &cobra.Command{Use: "completion bash|zsh|fish|powershell", Short: "Print what makes a shell complete the words of these commands",
		Args: cobra.MatchAll(takes(1, "a shell: bash, zsh, fish or powershell"), oneOf(shells)), ValidArgs: shells,
		Long: "Print what makes a shell complete the words of these commands. Queues and ids are asked of the running relay; without one, nothing is offered.",
		Example: "  source <(foreman-relay completion bash)   # in ~/.bashrc\n" +
			"  foreman-relay completion zsh > \"${fpath[1]}/_foreman-relay\"\n" +
			"  foreman-relay completion fish > ~/.config/fish/completions/foreman-relay.fish"}
	c.RunE = func(c *cobra.Command, args []string) error {
		switch root := c.Root(); args[0] {
		case "bash":
			return root.GenBashCompletionV2(p.stdout, true)
		case "zsh":
			return root.GenZshCompletion(p.stdout)
		case "fish":
			return root.GenFishCompletion(p.stdout, true)
		default:
			return root.GenPowerShellCompletionWithDesc(p.stdout)
		}
	}
	return c
}

func oneOf(words []string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		for _, word := range words {
			if args[0] == word {
				return nil
			}
		}
		return noArgs(c, args)
	}
}

// complete gives a flag its completion.
func complete(c *cobra.Command, flag string, f cobra.CompletionFunc) {
	_ = c.RegisterFlagCompletionFunc(flag, f) // fails only for a flag that is not there, or twice
}

// onlyFirst completes the first argument and no other.
func onlyFirst(f cobra.CompletionFunc) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(c, args, word)
	}
}

const (
	// completionTimeout: a person waits with a finger on the key.
	completionTimeout = time.Second
	completionLimit   = 100
)

// fromRelay asks the running relay for words. A relay that does not answer
// offers none, and nobody is told: the line that is being typed is not ours.
func (p *program) fromRelay(c *cobra.Command, ask func(context.Context, *handlers.Client) ([]cobra.Completion, error)) ([]cobra.Completion, cobra.ShellCompDirective) {
	socket, err := p.socket(c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(c.Context(), completionTimeout)
	defer cancel()
	client := handlers.Dial(socket)
	defer client.Close()
	words, err := ask(ctx, client)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

func (p *program) completeQueues(c *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return p.fromRelay(c, func(ctx context.Context, o *handlers.Client) (words []cobra.Completion, err error) {
		all, err := o.Queues(ctx)
		for _, s := range all {
			words = append(words, queueName(s))
		}
		return words, err
	})
}

func (p *program) completeOrganizations(c *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return p.fromRelay(c, func(ctx context.Context, o *handlers.Client) (words []cobra.Completion, err error) {
		all, err := o.Organizations(ctx)
		for _, organization := range all {
			words = append(words, organization.Name)
		}
		return words, err
	})
}

func (p *program) completeLetters(c *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return p.fromRelay(c, func(ctx context.Context, o *handlers.Client) (words []cobra.Completion, err error) {
		letters, err := o.DeadLetters(ctx, relay.DeadLetterFilter{Limit: completionLimit})
		for _, l := range letters {
			words = append(words, cobra.CompletionWithDesc(l.ID, l.Reason+" "+l.Lane))
		}
		return words, err
	})
}

func (p *program) completeMessages(c *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return p.fromRelay(c, func(ctx context.Context, o *handlers.Client) (words []cobra.Completion, err error) {
		found, err := o.Messages(ctx, relay.MessageFilter{Limit: completionLimit})
		for _, m := range found.Messages {
			words = append(words, cobra.CompletionWithDesc(m.ID, string(m.State)+" "+m.Lane))
		}
		return words, err
	})
}

package seal

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/relay"
)

// Destination opens what is sealed of a message for one attempt, and keeps back
// what the answer may repeat of it: the edge stores the answer (relay.Destination).
type Destination struct {
	relay.Destination
	Keys    *Keyring
	Longest time.Duration // of an attempt, what it takes to open the message included; 0: no bound
	Log     zerolog.Logger
}

// Deliver makes one attempt.
func (d *Destination) Deliver(ctx context.Context, m *relay.Message) relay.Result {
	if !m.IsSealed() {
		return d.Destination.Deliver(ctx, m)
	}
	if d.Longest > 0 { // an edge that is away is asked for a large body until the attempt ends
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Longest)
		defer cancel()
	}
	opened, err := d.Keys.Open(ctx, m)
	if err != nil {
		return relay.UnreadBody(err)
	}
	defer opened.Credentials.Forget()
	r := d.Destination.Deliver(ctx, opened)
	if m.Encryption != "" && mayQuote(r) {
		d.Log.Debug().Str("id", m.ID).Int("status", r.Status).Str("detail", withoutSecrets(opened.Credentials, r.Detail)).Msg("what the destination says of a sealed body")
		r.Detail = withheld(r, "the body is sealed")
	}
	r.Detail = withoutSecrets(opened.Credentials, r.Detail)
	return r
}

// mayQuote says whether the detail may repeat some of the body: an answer does,
// and so does a conversion that failed.
func mayQuote(r relay.Result) bool {
	if r.Detail == "" || r.Reason == relay.ReasonDamaged || r.Reason == relay.ReasonUndecryptable {
		return false
	}
	return r.Status != 0 || r.Class == relay.ClassRejected
}

func withheld(r relay.Result, why string) string {
	if r.Status == 0 {
		return "what is wrong with it is kept back: " + why + "; the log of whoever delivers says it at level debug"
	}
	return fmt.Sprintf("the text of the answer (%d) is kept back: %s; the log of whoever delivers says it at level debug", r.Status, why)
}

// withoutSecrets keeps a text back that repeats some of the credentials, if there
// are any.
func withoutSecrets(c *relay.Credentials, text string) string {
	if c == nil {
		return text
	}
	return c.Withhold(text)
}

var _ relay.Destination = (*Destination)(nil)

package seal

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/relay"
)

// Destination opens what is sealed of a message for one attempt, and keeps back
// what the answer may repeat of it: the edge stores the answer (relay.Destination).
type Destination struct {
	relay.Destination
	Keys *Keyring
	Log  zerolog.Logger
}

// Deliver makes one attempt.
func (d *Destination) Deliver(ctx context.Context, m *relay.Message) relay.Result {
	if !m.IsSealed() {
		return d.Destination.Deliver(ctx, m)
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

// tell is how much of a secret must not appear: a text that is cut off may end in
// the middle of one.
const tell = 6

// withoutSecrets keeps a text back that repeats some of the credentials.
func withoutSecrets(c *relay.Credentials, text string) string {
	if c == nil || text == "" {
		return text
	}
	for _, secret := range secretsOf(c) {
		if strings.Contains(text, secret[:min(len(secret), tell)]) {
			return "the text is kept back: it repeats some of the credentials that were passed"
		}
	}
	return text
}

// secretsOf are the secret words of the authorization. A key is never sent.
func secretsOf(c *relay.Credentials) []string {
	_, value, _ := strings.Cut(c.Authorization, " ")
	if value == "" {
		return nil
	}
	secrets := []string{value}
	if plain, err := base64.StdEncoding.DecodeString(value); err == nil {
		if _, password, found := strings.Cut(string(plain), ":"); found && password != "" {
			secrets = append(secrets, password)
		}
	}
	return secrets
}

var _ relay.Destination = (*Destination)(nil)

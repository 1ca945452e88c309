package handlers

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/theforeman/foreman-relay/relay"
)

// Handshake is the document that counts, as it is shown: revision and document.
func (c *Client) Handshake(ctx context.Context) (v json.RawMessage, err error) {
	err = c.call(ctx, http.MethodGet, "/handshake", &v)
	return v, err
}

// TakeHandshake replaces the document by one in JSON; match is as in If-Match, empty:
// none.
func (c *Client) TakeHandshake(ctx context.Context, document []byte, match string, dryRun bool) (r relay.HandshakeReply, err error) {
	h := http.Header{"Content-Type": {"application/json"}}
	if match != "" {
		h.Set("If-Match", match)
	}
	path := adminPrefix + "/handshake"
	if dryRun {
		path += "?dry_run=true"
	}
	err = c.exchange(ctx, http.MethodPost, path, h, document, &r)
	return r, err
}

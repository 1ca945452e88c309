package foreman

import (
	"context"
	"strings"

	"github.com/theforeman/foreman-relay/relay"
)

// Assigned reads which organizations the smart proxy of this name is assigned to
// (contract, 2.2). Errors are *relay.Error: CodeNotFound when Foreman has no such
// proxy, or this user does not see it; CodeDenied; CodeUnavailable. With an error
// nothing is known of the assignments.
func (a *API) Assigned(ctx context.Context, name string) ([]relay.Assignment, error) {
	p, err := a.lookUp(ctx, "name", name)
	switch {
	case err != nil:
		return nil, a.explainSwitch(err)
	case p == nil:
		return nil, relay.Refuse(relay.CodeNotFound, "Foreman has no smart proxy %q that %s sees: `foreman-relay register` makes it; until then nothing is switched", name, a.credentials)
	case p.Organizations == nil: // an answer without the list must not turn everything off
		return nil, relay.Refuse(relay.CodeInternal, "Foreman does not say which organizations the smart proxy %q is assigned to: its answer has no organizations", name)
	}
	all := make([]relay.Assignment, 0, len(p.Organizations))
	for _, o := range p.Organizations {
		all = append(all, relay.Assignment{ID: int64(o.ID), Title: o.Title})
	}
	return all, nil
}

func (a *API) explainSwitch(err error) error {
	e, ok := asAPIError(err)
	switch {
	case !ok && relay.CodeOf(err) == relay.CodeDenied && strings.Contains(err.Error(), "(403)"):
		return relay.Refuse(relay.CodeDenied, "%s; reading the switch needs view_smart_proxies", err.Error())
	case !ok:
		return err
	case e.status == 404:
		return relay.Refuse(relay.CodeNotFound, "Foreman does not show the smart proxy any more: %s", e.Error())
	default:
		return relay.Refuse(relay.CodeUnavailable, "%s", e.Error())
	}
}

package handlers

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/theforeman/foreman-relay/relay"
)

// maxOrganization bounds the description of one, in bytes.
const maxOrganization = 1 << 20

// revised is an organization as operators read and write it.
type revised struct {
	relay.Organization
	Revision uint64 `json:"revision"`
}

func (a *admin) addOrganizations(g *echo.Group) {
	g.GET("/organizations", func(c echo.Context) error {
		all, err := a.Organizations.Organizations(c.Request().Context())
		return answer(c, all, err)
	})
	g.GET("/organizations/:organization", a.organization)
	g.PUT("/organizations/:organization", a.putOrganization)
}

func (a *admin) organization(c echo.Context) error {
	name, err := pathParam(c, "organization")
	if err != nil {
		return err
	}
	o, revision, err := a.Organizations.Organization(c.Request().Context(), name)
	return answer(c, revised{o, revision}, err)
}

func (a *admin) putOrganization(c echo.Context) error {
	name, err := pathParam(c, "organization")
	if err != nil {
		return err
	}
	var to revised
	decoder := json.NewDecoder(http.MaxBytesReader(c.Response(), c.Request().Body, maxOrganization))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&to); err != nil {
		return relay.Refuse(relay.CodeMalformed, "the organization cannot be read: %s", err.Error())
	}
	if to.Name != name {
		return relay.Refuse(relay.CodeInvalid, "the organization is named %q in the path and %q in the body: it cannot be renamed", name, to.Name)
	}
	to.Changed = time.Now().UTC() // by the clock of the relay, not of the operator
	to.Revision, err = a.Organizations.PutOrganization(c.Request().Context(), to.Organization, to.Revision)
	return answer(c, to, err)
}

// Organizations implements relay.Organizations.
func (c *Client) Organizations(ctx context.Context) (all []relay.Organization, err error) {
	err = c.call(ctx, http.MethodGet, "/organizations", &all)
	return all, err
}

// Organization implements relay.Organizations.
func (c *Client) Organization(ctx context.Context, name string) (relay.Organization, uint64, error) {
	var found revised
	err := c.call(ctx, http.MethodGet, "/organizations/"+url.PathEscape(name), &found)
	return found.Organization, found.Revision, err
}

// PutOrganization implements relay.Organizations.
func (c *Client) PutOrganization(ctx context.Context, o relay.Organization, revision uint64) (uint64, error) {
	text, err := json.Marshal(revised{o, revision})
	if err != nil {
		return 0, &relay.Error{Code: relay.CodeMalformed, Detail: "revision " + strconv.FormatUint(revision, 10) + " of the organization cannot be written", Err: err}
	}
	var stored revised
	err = c.exchange(ctx, http.MethodPut, adminPrefix+"/organizations/"+url.PathEscape(o.Name), http.Header{"Content-Type": {"application/json"}}, text, &stored)
	return stored.Revision, err
}

package foreman

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/theforeman/foreman-relay/relay"
)

// Registration is what a relay is to be in Foreman: one of its smart proxies.
type Registration struct {
	Name string
	URL  string // where Foreman reaches the edge; a slash at its end is taken off, as Foreman does
	// Organizations it is to belong to besides those it has: titles, or ids. That it
	// belongs to one may be what lets this one's hosts in, so that none is ever
	// taken away.
	Organizations []string
}

// Registered is the smart proxy as Foreman has it, and what was done.
type Registered struct {
	ID            int      `json:"id"`
	Name          string   `json:"name"`
	URL           string   `json:"url"`
	Done          string   `json:"done"`     // created, updated or refreshed
	Features      []string `json:"features"` // that Foreman has recognised
	Organizations []string `json:"organizations"`
}

// What registering does.
const (
	Created   = "created"
	Updated   = "updated"
	Refreshed = "refreshed"
)

const proxiesPath = "/api/v2/smart_proxies"

// proxy is a smart proxy in an answer of the API (views/api/v2/smart_proxies).
type proxy struct {
	ID       int    `json:"id"`
	Name     string `json:"name"`
	URL      string `json:"url"`
	Features []struct {
		Name string `json:"name"`
	} `json:"features"`
	Organizations []organization `json:"organizations"`
}

type organization struct {
	ID    int    `json:"id"`
	Name  string `json:"name"`
	Title string `json:"title"`
}

// Register makes the smart proxy, or changes the one of this name, and has
// Foreman read its features anew, for which Foreman asks the relay while this
// waits. Doing it again changes nothing. Errors are *relay.Error and say what to
// do: CodeDenied, CodeNotFound (an organization), CodeConflict (URL or name taken),
// CodeInvalid (features), CodeUnavailable (Foreman, or the relay as seen from there).
func (a *API) Register(ctx context.Context, r Registration) (Registered, error) {
	r.URL = strings.TrimSuffix(r.URL, "/")
	wanted, err := a.organizations(ctx, r.Organizations)
	if err != nil {
		return Registered{}, err
	}
	found, err := a.find(ctx, "name", r.Name)
	if err != nil {
		return Registered{}, err
	}
	if found == nil {
		done, err := a.create(ctx, r, wanted)
		if e, ok := asAPIError(err); !ok || !e.has("name", "taken") {
			return done, a.explain(ctx, r, err)
		}
		// Another call was faster, or this user does not see it.
		if found, err = a.find(ctx, "name", r.Name); err != nil || found == nil {
			return Registered{}, orElse(err, relay.Refuse(relay.CodeConflict,
				"the name %q belongs to a smart proxy that %s does not see in Foreman: choose another name, or give that user its organization and location", r.Name, a.credentials))
		}
	}
	done, err := a.renew(ctx, r, found, wanted)
	return done, a.explain(ctx, r, err)
}

func orElse(err error, other *relay.Error) error {
	if err != nil {
		return err
	}
	return other
}

// find is lookUp for who registers.
func (a *API) find(ctx context.Context, field, value string) (*proxy, error) {
	p, err := a.lookUp(ctx, field, value)
	return p, a.explain(ctx, Registration{}, err)
}

// lookUp is the smart proxy that has this value; nil: none that the user sees.
func (a *API) lookUp(ctx context.Context, field, value string) (*proxy, error) {
	var page struct {
		Results []proxy `json:"results"`
	}
	query := url.Values{"search": {field + "=" + quoteSearch(value)}, "per_page": {"all"}}
	if err := a.call(ctx, http.MethodGet, proxiesPath+"?"+query.Encode(), nil, &page); err != nil {
		return nil, err
	}
	for i := range page.Results {
		if p := &page.Results[i]; field == "name" && p.Name == value || field == "url" && p.URL == value {
			// A listing does not say which organizations it belongs to.
			err := a.call(ctx, http.MethodGet, proxiesPath+"/"+strconv.Itoa(p.ID), nil, p)
			return p, err
		}
	}
	return nil, nil //nolint:nilnil // none is no error
}

// organizations finds the ids of what was named.
func (a *API) organizations(ctx context.Context, names []string) ([]int, error) {
	var ids []int
	for _, name := range names {
		id, err := a.organization(ctx, name)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// organization finds one by its title, which is unique, or by its id.
func (a *API) organization(ctx context.Context, name string) (int, error) {
	search := "title=" + quoteSearch(name)
	id, err := strconv.Atoi(name)
	byID := err == nil
	if byID {
		search = "id=" + name
	}
	var page struct {
		Results []organization `json:"results"`
	}
	query := url.Values{"search": {search}, "per_page": {"all"}}
	if err := a.call(ctx, http.MethodGet, "/api/v2/organizations?"+query.Encode(), nil, &page); err != nil {
		return 0, a.explain(ctx, Registration{}, err)
	}
	for _, o := range page.Results {
		if byID && o.ID == id || !byID && o.Title == name {
			return o.ID, nil
		}
	}
	return 0, relay.Refuse(relay.CodeNotFound, "Foreman has no organization %q that %s sees: write its title as Foreman shows it, a parent with a slash (Parent/Child), or its id", name, a.credentials)
}

// change is the body of a request that makes or changes a smart proxy.
type change struct {
	Name          string `json:"name,omitempty"`
	URL           string `json:"url,omitempty"`
	Organizations []int  `json:"organization_ids,omitempty"` // all of them: Foreman replaces those it has
}

func (a *API) create(ctx context.Context, r Registration, organizations []int) (Registered, error) {
	var made proxy
	err := a.call(ctx, http.MethodPost, proxiesPath, map[string]change{"smart_proxy": {r.Name, r.URL, organizations}}, &made)
	if err != nil {
		return Registered{}, err
	}
	return made.registered(Created), nil
}

// renew changes what is to be changed, or has the features read anew, which a
// change does too.
func (a *API) renew(ctx context.Context, r Registration, p *proxy, wanted []int) (Registered, error) {
	path, what, c := proxiesPath+"/"+strconv.Itoa(p.ID), Updated, change{}
	if p.URL != r.URL {
		c.URL = r.URL
	}
	if all := p.with(wanted); len(all) > len(p.Organizations) {
		c.Organizations = all
	}
	var body any = map[string]change{"smart_proxy": c}
	if c.URL == "" && c.Organizations == nil {
		path, what, body = path+"/refresh", Refreshed, struct{}{}
	}
	if err := a.call(ctx, http.MethodPut, path, body, nil); err != nil {
		return Registered{}, err
	}
	var now proxy
	if err := a.call(ctx, http.MethodGet, proxiesPath+"/"+strconv.Itoa(p.ID), nil, &now); err != nil {
		return Registered{}, err
	}
	return now.registered(what), nil
}

// with are the ids of its organizations and of these.
func (p *proxy) with(wanted []int) []int {
	var all []int
	for _, o := range p.Organizations {
		all = append(all, o.ID)
	}
	for _, id := range wanted {
		if !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	return all
}

func (p *proxy) registered(done string) Registered {
	r := Registered{ID: p.ID, Name: p.Name, URL: p.URL, Done: done, Features: []string{}, Organizations: []string{}}
	for _, f := range p.Features {
		r.Features = append(r.Features, f.Name)
	}
	for _, o := range p.Organizations {
		r.Organizations = append(r.Organizations, o.Title)
	}
	return r
}

// explain turns what Foreman says of a registration into what to do; the texts
// are those of app/models/smart_proxy.rb.
func (a *API) explain(ctx context.Context, r Registration, err error) error {
	e, ok := asAPIError(err)
	if !ok {
		return a.explainDenied(err)
	}
	base := strings.Join(e.fields["base"], "; ")
	switch {
	case e.has("url", "Only one declaration"):
		return a.urlTaken(ctx, r)
	case e.has("base", "Unable to communicate"):
		return unreachable(r.URL, base)
	case e.has("base", "not recognized"):
		return relay.Refuse(relay.CodeInvalid, "Foreman knows none of the relay's features: %s. One at least must be known, logs is to every Foreman: add it to smart_proxy.features and start the relay anew", base)
	case e.has("base", "No features found"):
		return relay.Refuse(relay.CodeInvalid, "the relay at %s announces no features, and Foreman takes no smart proxy without: add logs to smart_proxy.features and start the relay anew", r.URL)
	case e.has("base", "invalid response"):
		return relay.Refuse(relay.CodeUnavailable, "what answers Foreman at %s is no smart proxy: correct smart_proxy.url, or what stands before the relay", r.URL)
	case len(e.fields["organization_ids"]) > 0:
		return relay.Refuse(relay.CodeDenied, "Foreman does not allow %s to assign these organizations: %s", a.credentials, e.text)
	case e.status == http.StatusNotFound:
		return relay.Refuse(relay.CodeConflict, "the smart proxy was removed from Foreman meanwhile: %s; register again", e.text)
	default:
		return relay.Refuse(relay.CodeInvalid, "%s", e.Error())
	}
}

// explainDenied adds to a 403 what a user must be allowed.
func (a *API) explainDenied(err error) error {
	if err == nil || relay.CodeOf(err) != relay.CodeDenied || !strings.Contains(err.Error(), "(403)") {
		return err
	}
	return relay.Refuse(relay.CodeDenied, "%s; registering needs view_, create_ and edit_smart_proxies, and for organizations view_ and assign_organizations", err.Error())
}

func unreachable(url, why string) error {
	advice := "from Foreman's machine try `curl -v " + url + "/features`: name, port, firewall, and that the relay's certificate is of a CA that Foreman trusts (Setting ssl_ca_file)"
	if strings.Contains(why, "403 Forbidden") { // the number alone may be part of a port
		advice = "the relay refuses it: its TLS listener needs Foreman's client certificate (--tls-client-ca with Foreman's CA), with a name that smart_proxy.trusted_hosts has"
	}
	return relay.Refuse(relay.CodeUnavailable, "Foreman was reached, but does not reach the relay at %s: %s. %s", url, why, advice)
}

// urlTaken names who has the URL, where the user sees it.
func (a *API) urlTaken(ctx context.Context, r Registration) error {
	who := "another smart proxy"
	if p, err := a.find(ctx, "url", r.URL); err == nil && p != nil {
		who = fmt.Sprintf("the smart proxy %q", p.Name)
	}
	return relay.Refuse(relay.CodeConflict, "the URL %s belongs to %s in Foreman: register under that name, or give this relay a URL of its own (smart_proxy.url)", r.URL, who)
}

package foreman

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// api is a Foreman that answers as told, and the API as a user of it.
func api(t *testing.T, h http.HandlerFunc) *API {
	t.Helper()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Foreman_api_version", "2")
		h(w, r)
	})
	who, err := NewCredentials("admin", "sesame")
	require.NoError(t, err)
	a, err := client(t, s.URL).API(who)
	require.NoError(t, err)
	return a
}

const nameTaken = `{"error":{"id":null,"errors":{"name":["has already been taken"]},"full_messages":["Name has already been taken"]}}`

// Two calls at once: the slower one finds what the other has made.
func TestRegisterMeetsAnother(t *testing.T) {
	made := false
	a := api(t, func(w http.ResponseWriter, r *http.Request) {
		edge := `{"id":7,"name":"edge1","url":"https://edge1:8443","features":[{"name":"Logs"}],"organizations":[]}`
		switch {
		case r.Method == http.MethodPost:
			made = true
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(w, nameTaken)
		case strings.HasSuffix(r.URL.Path, "/7"), r.Method == http.MethodPut:
			_, _ = io.WriteString(w, edge)
		case made:
			_, _ = io.WriteString(w, `{"results":[`+edge+`]}`)
		default:
			_, _ = io.WriteString(w, `{"results":[]}`)
		}
	})
	r, err := a.Register(t.Context(), Registration{Name: "edge1", URL: "https://edge1:8443/"})
	require.NoError(t, err)
	require.Equal(t, Registered{ID: 7, Name: "edge1", URL: "https://edge1:8443", Done: Refreshed, Features: []string{"Logs"}, Organizations: []string{}}, r)
}

// A search that is not exact, and a name that this user does not see.
func TestRegisterUnderANameThatIsHidden(t *testing.T) {
	a := api(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(w, nameTaken)
			return
		}
		require.Equal(t, `name="edge1"`, r.URL.Query().Get("search"))
		_, _ = io.WriteString(w, `{"results":[{"id":8,"name":"EDGE1"}]}`)
	})
	_, err := a.Register(t.Context(), Registration{Name: "edge1", URL: "https://edge1:8443"})
	require.Equal(t, relay.CodeConflict, relay.CodeOf(err))
	require.ErrorContains(t, err, `the name "edge1" belongs to a smart proxy that user admin does not see`)
}

// What else Foreman may say.
func TestRegisterIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		code   relay.Code
		says   string
	}{
		"organizations of others": {422, `{"error":{"errors":{"organization_ids":["Invalid organizations selection"]},"full_messages":["Organization ids Invalid organizations selection"]}}`,
			relay.CodeDenied, "does not allow user admin to assign these organizations: Organization ids Invalid"},
		"gone meanwhile":  {404, `{"error":{"message":"Resource smart_proxy not found by id '7'"}}`, relay.CodeConflict, "register again"},
		"something else":  {422, `{"error":{"errors":{"url":["is too long"]},"full_messages":["Url is too long"]}}`, relay.CodeInvalid, "Foreman answers 422: Url is too long"},
		"an old form":     {400, `{"status":400,"error":"There was a problem"}`, relay.CodeInvalid, "Foreman answers 400"},
		"no JSON":         {200, `<html>`, relay.CodeInternal, "cannot be read"},
		"more than bears": {200, `{"name":"` + strings.Repeat("x", maxAPIAnswer) + `"}`, relay.CodeInternal, "has more than 4194304 bytes"},
		"a redirect":      {302, ``, relay.CodeUnavailable, "redirects are not followed"},
	} {
		t.Run(name, func(t *testing.T) {
			a := api(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					_, _ = io.WriteString(w, `{"results":[]}`)
					return
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			_, err := a.Register(t.Context(), Registration{Name: "edge1", URL: "https://edge1:8443"})
			require.Equal(t, c.code, relay.CodeOf(err), err)
			require.ErrorContains(t, err, c.says)
			require.NotContains(t, err.Error(), "sesame")
		})
	}
}

// The secret goes into one header and nowhere else.
func TestCredentialsPrintTheUserAlone(t *testing.T) {
	a := api(t, func(w http.ResponseWriter, r *http.Request) {
		user, secret, _ := r.BasicAuth()
		require.Equal(t, []string{"admin", "sesame"}, []string{user, secret})
		require.NotContains(t, r.URL.String(), "sesame")
		_, _ = io.WriteString(w, `{"results":[]}`)
	})
	_, err := a.find(t.Context(), "name", "x")
	require.NoError(t, err)
	text, err := json.Marshal(a.credentials)
	require.NoError(t, err)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", a.credentials, a.credentials, a.credentials, text), "sesame")
}

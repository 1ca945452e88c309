package standin_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	standin "github.com/theforeman/foreman-relay/test/foreman"
)

const proxies = "/api/v2/smart_proxies"

// user is one that Foreman lets in.
func user(t *testing.T, name, password string) http.Header {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, "/", nil)
	require.NoError(t, err)
	r.SetBasicAuth(name, password)
	r.Header.Set("Content-Type", "application/json")
	return r.Header
}

// speaks is a smart proxy with these features, by the new way and by the old.
func speaks(t *testing.T, v2, old string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := map[string]string{"/v2/features": v2, "/features": old}[r.URL.Path]
		if text == "" {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// The registration of the contract, 2.2.
func TestSmartProxies(t *testing.T) {
	s := start(t)
	s.SetOrganizations("ACME")
	ask := func(method, path string, who http.Header, body string) reply {
		got, err := try(t.Context(), client(t), method, s.URL()+path, who, []byte(body))
		require.NoError(t, err)
		return got
	}
	admin := user(t, standin.AdminUser, standin.AdminPassword)
	require.Equal(t, 401, ask(http.MethodGet, proxies, nil, "").status)
	require.Equal(t, 401, ask(http.MethodGet, proxies, user(t, "admin", "x"), "").status)
	require.Equal(t, 404, ask(http.MethodGet, proxies+"/7", admin, "").status)
	require.Equal(t, 415, ask(http.MethodPost, proxies, http.Header{"Authorization": admin["Authorization"]}, "{}").status)

	url := speaks(t, `{"logs":{"state":"running"},"puppet":{"state":"failed"},"edge_queue":{"state":"running"}}`, "")
	made := ask(http.MethodPost, proxies, admin, `{"smart_proxy":{"name":"edge1","url":"`+url+`/"}}`)
	require.Equal(t, 201, made.status, made.body)
	var p struct {
		ID            int
		URL           string
		Features      []struct{ Name string }
		Organizations []struct{ Title string }
	}
	require.NoError(t, json.Unmarshal([]byte(made.body), &p))
	require.Equal(t, url, p.URL, "the slash is taken off")
	require.Equal(t, "ACME", p.Organizations[0].Title, "there is one organization only")
	require.Equal(t, []struct{ Name string }{{"Logs"}}, p.Features, "what runs, and is known")

	old := speaks(t, "", `["logs","tftp"]`)
	require.Equal(t, 201, ask(http.MethodPost, proxies, admin, `{"smart_proxy":{"name":"edge2","url":"`+old+`"}}`).status)
	require.Equal(t, []string{"Logs", "TFTP"}, s.SmartProxies()[1].Features)
	s.SetFeatures("Puppet")
	got := ask(http.MethodPut, proxies+"/edge2/refresh", admin, "{}")
	require.Equal(t, 422, got.status)
	require.Contains(t, got.body, `Features \"logs, tftp\" in this proxy are not recognized`)
	got = ask(http.MethodPut, proxies+"/edge2", admin, `{"smart_proxy":{"organization_ids":[9]}}`)
	require.Equal(t, 422, got.status)
	require.Contains(t, got.body, "Couldn't find Organization")
	require.Contains(t, ask(http.MethodPost, proxies, admin, `{"smart_proxy":{"name":"edge3","url":"`+url+`"}}`).body, "Only one declaration of a proxy is allowed")
	require.Contains(t, ask(http.MethodPost, proxies, admin, `{"smart_proxy":{"name":"edge1","url":"x"}}`).body, "has already been taken")
	require.Contains(t, ask(http.MethodPost, proxies, admin, `{"smart_proxy":{"url":"x"}}`).body, "can't be blank")
}

package standin_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	standin "github.com/theforeman/foreman-relay/test/foreman"
)

// Another process sees what the methods show.
func TestControlShowsWhatHappened(t *testing.T) {
	s := start(t)
	post(t, s, reports, report("a", noon))
	post(t, s, reports, report("a", noon))

	all := decode[[]standin.Request](t, get(t, s, "/_standin/requests").body)
	require.Len(t, all, 2)
	assert.Equal(t, report("a", noon), string(all[0].Body))
	assert.Equal(t, []int{201, 422}, []int{all[0].Status, all[1].Status})
	assert.Equal(t, "application/json", all[0].Header.Get("Content-Type"))

	counted := decode[[]standin.Request](t, get(t, s, "/_standin/counted").body)
	require.Len(t, counted, 1)
	assert.Equal(t, 1, counted[0].Number)
	assert.Equal(t, map[string][]string{"a": {noon}}, decode[map[string][]string](t, get(t, s, "/_standin/reports").body))
	assert.Equal(t, s.Stats(), decode[standin.Stats](t, get(t, s, "/_standin/stats").body))

	assert.Equal(t, 200, call(t, s, http.MethodDelete, "/_standin/requests", "").status)
	assert.Empty(t, s.Requests())
	assert.Equal(t, 404, get(t, s, "/_standin/nothing").status)
	assert.Empty(t, s.Requests(), "control is not on record")
}

func TestControlSetsRulesAndIsNotTouchedByThem(t *testing.T) {
	s := start(t)
	set := func(rules string) int { return call(t, s, http.MethodPut, "/_standin/rules", rules).status }
	require.Equal(t, 200, set(`[{"mode":"html503","path":"/api/hosts","times":1},{"mode":"drop","host":"a"}]`))
	assert.Equal(t, 503, post(t, s, facts, upload("b", `{}`)).status)
	assert.Equal(t, 201, post(t, s, facts, upload("b", `{}`)).status)
	_ = lose(t, s, reports, report("a", noon)) // that it is lost is all

	require.Equal(t, 200, set(`[{"mode":"hang"}]`))
	require.Equal(t, 400, set(`{"mode":"up"}`), "not a list")
	require.Equal(t, 200, set(`[]`))
	assert.Equal(t, 201, post(t, s, reports, report("a", noon)).status)
}

func TestUnknownRulesAreRefused(t *testing.T) {
	s := start(t)
	for _, bad := range []string{`[{"mode":"sideways"}]`, `[{"mode":"slow","speed":1}]`, `{}`, ``} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.URL()+"/_standin/rules", strings.NewReader(bad))
		require.NoError(t, err)
		resp, err := client(t).Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusBadRequest, resp.StatusCode, bad)
	}
}

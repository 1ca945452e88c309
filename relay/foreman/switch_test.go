package foreman

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// Whatever is no whole answer of Foreman's is an error, never an empty list: that
// would turn everything off.
func TestAssignedIsReadOrNothingIsKnown(t *testing.T) {
	const listing = `{"results":[{"id":7,"name":"edge1"}]}`
	for name, c := range map[string]struct {
		list, show string
		status     int // of show
		code       relay.Code
		want       []relay.Assignment
	}{
		"two":                    {listing, `{"id":7,"name":"edge1","organizations":[{"id":3,"name":"R & D","title":"ACME/R & D"},{"id":1,"name":"B","title":"B"}]}`, 200, "", []relay.Assignment{{ID: 3, Title: "ACME/R & D"}, {ID: 1, Title: "B"}}},
		"none":                   {listing, `{"id":7,"organizations":[]}`, 200, "", []relay.Assignment{}},
		"no list in the answer":  {listing, `{"id":7,"name":"edge1"}`, 200, relay.CodeInternal, nil},
		"an answer that breaks":  {listing, `{"id":7,"organi`, 200, relay.CodeInternal, nil},
		"no such proxy":          {`{"results":[{"id":8,"name":"edge11"}]}`, ``, 200, relay.CodeNotFound, nil},
		"gone in between":        {listing, `{"error":{"message":"not found by id '7'"}}`, 404, relay.CodeNotFound, nil},
		"not let in":             {listing, `{"error":{"message":"Unable to authenticate user relay"}}`, 401, relay.CodeDenied, nil},
		"not allowed":            {listing, `{"error":{"message":"Access denied"}}`, 403, relay.CodeDenied, nil},
		"failed":                 {listing, `{"error":{"message":"oops"}}`, 500, relay.CodeUnavailable, nil},
		"something that is else": {listing, `{"error":{"message":"teapot"}}`, 418, relay.CodeUnavailable, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := api(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == proxiesPath {
					_, _ = io.WriteString(w, c.list)
					return
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.show)
			})
			got, err := a.Assigned(t.Context(), "edge1")
			if c.code == "" {
				require.NoError(t, err)
				require.Equal(t, c.want, got)
				return
			}
			require.Equal(t, c.code, relay.CodeOf(err), "%v", err)
			require.Nil(t, got)
			require.NotContains(t, err.Error(), "sesame")
		})
	}
}

package relay

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestDeadLetterFilter(t *testing.T) {
	died := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	l := DeadLetter{ID: "an-id", Organization: "A/B", Destination: "foreman", Route: "facts", Lane: "web.example.com", Key: "k,1", Reason: ReasonRejected,
		Attempts: 12, Status: 422, Detail: "Invalid Hostname, must be a String", Path: "/api/hosts/facts", ContentType: "application/json", DiedAt: died}
	own, other := Queue{"A/B", "foreman"}, Queue{"A", "foreman"}
	for name, c := range map[string]struct {
		filter DeadLetterFilter
		where  string
		want   bool
	}{
		"everything":                 {want: true},
		"its queue":                  {filter: DeadLetterFilter{Queue: &own}, want: true},
		"another queue":              {filter: DeadLetterFilter{Queue: &other}},
		"since then":                 {filter: DeadLetterFilter{Since: died}, want: true},
		"since later":                {filter: DeadLetterFilter{Since: died.Add(1)}},
		"reason":                     {where: "reason=rejected", want: true},
		"not that reason":            {where: "reason!=rejected"},
		"another reason":             {where: "reason=max_age"},
		"not another reason":         {where: "reason!=max_age", want: true},
		"status and route":           {where: "status=422,route=facts", want: true},
		"status, but another route":  {where: "status=422,route=report"},
		"part of the detail":         {where: "detail~Hostname", want: true},
		"not in the detail":          {where: "detail~hostname"},
		"a comma in a value":         {where: `detail~Hostname\, must,key=k\,1`, want: true},
		"a backslash in a value":     {where: `detail~\\`},
		"operators in a value":       {where: "detail!=a=b~c!=d", want: true},
		"a host is in lower case":    {where: "host=WEB.Example.com", want: true},
		"empty":                      {where: "replayed_from=", want: true},
		"not empty":                  {where: "replayed_from!="},
		"every field":                {where: "id~id,organization=A/B,destination!=x,attempts=12,path~/hosts/,content_type=application/json", want: true},
		"spaces around a field":      {where: " reason=rejected, status=422", want: true},
		"the value keeps its spaces": {where: "reason= rejected"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.where != "" {
				var err error
				c.filter.Where, err = ParseWhere(c.where)
				require.NoError(t, err)
			}
			require.Equal(t, c.want, c.filter.Matches(l))
		})
	}
}

func TestWhereIsRefused(t *testing.T) {
	for expression, says := range map[string]string{
		"":                                 "is no condition",
		"reason":                           "write FIELD=VALUE, FIELD!=VALUE or FIELD~SUBSTRING; the fields are attempts, content_type, destination, detail, host, id,",
		"reason!rejected":                  "is no condition",
		"body~x":                           `"body" is not a field of a dead letter; the fields are attempts,`,
		"=x":                               `"" is not a field`,
		"reason=a,":                        "is no condition",
		strings.Repeat("id=,", 32) + "id=": "33 conditions are more than the 32",
	} {
		_, err := ParseWhere(expression)
		require.ErrorContains(t, err, says, expression)
		require.Equal(t, CodeMalformed, CodeOf(err), expression)
	}
}

// A condition that crosses the socket is the same one.
func TestConditionRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Condition{Field: rapid.SampledFrom([]string{"reason", "detail", "key"}).Draw(t, "field"),
			Operator: rapid.SampledFrom([]string{"=", "!=", "~"}).Draw(t, "operator"), Value: rapid.String().Draw(t, "value")}
		got, err := ParseCondition(c.String())
		require.NoError(t, err)
		require.Equal(t, c, got)
	})
}

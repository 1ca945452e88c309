package foreman

import (
	"net/http"

	"github.com/theforeman/foreman-relay/relay"
)

// arfPath is where Foreman takes ARF reports; date is in Unix seconds, and
// Foreman keeps one report by host and date, whatever the policy.
const arfPath = "/api/v2/compliance/arf_reports/:cname/:policy/:date"

// arfRoutes take the SCAP clients' reports, bzip2 as they come, whose host is
// the client's certificate, and what other smart proxies have made of theirs.
// The clients look for digits in "id"; the id is the relay's, not Foreman's.
func arfRoutes() []relay.Route {
	reply := relay.Reply{Status: http.StatusOK, Body: relay.ReplyReportID}
	lane := relay.LaneRule{From: []relay.Source{relay.Param("cname")}}
	arf := relay.Route{Name: "arf", Method: http.MethodPost, Paths: []string{"/compliance/arf/:policy"},
		Target: arfPath, ClientParam: "cname", DateParam: "date", Magic: bzip2Magic, Lane: lane, Hosts: lane.From, Reply: reply,
		Key: relay.KeyRule{Type: "arf", From: []relay.Source{relay.Param("cname"), relay.Param("policy"), relay.BodyDigest()}}}

	proxied := jsonRoute("arfreport", "arf_report", arfPath)
	proxied.Lane, proxied.Hosts, proxied.Reply = lane, lane.From, reply
	proxied.Key = relay.KeyRule{Type: "arfreport", From: []relay.Source{relay.Param("cname"), relay.Param("policy"), relay.Param("date"), relay.BodyDigest()}}
	return []relay.Route{arf, proxied}
}

// bzip2Magic begins every bzip2 stream.
const bzip2Magic = "BZh"

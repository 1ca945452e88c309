package foreman

import (
	"github.com/theforeman/foreman-relay/relay"
)

const hostReportsPath = "/api/v2/host_reports"

// hostReportRoutes take host reports as Foreman has them, and the reports that
// smart_proxy_reports makes some of: Puppet's YAML and Ansible's JSON, stored as
// they come and converted when they are delivered. Foreman knows no duplicate
// of a host report.
func hostReportRoutes() []relay.Route {
	hostReport := jsonRoute("hostreport", "host_report", hostReportsPath)
	hostReport.Lane.From = []relay.Source{relay.Pointer("/host_report/host")}

	ansible := jsonRoute("ansible", "ansible_report", "/reports/ansible", "/host_reports/ansible")
	ansible.Lane.From = []relay.Source{relay.Pointer("/host")}

	puppet := jsonRoute("puppet", "", "/reports/puppet", "/host_reports/puppet")
	puppet.ContentTypes = []string{"application/x-yaml"}
	puppet.Lane = relay.LaneRule{From: []relay.Source{yamlHost},
		Missing: "the report has no line \"host: NAME\": Puppet's reports have one, and Foreman would refuse this for ever"}

	routes := []relay.Route{hostReport, ansible, puppet}
	for i := range routes {
		routes[i].Key = relay.KeyRule{Type: routes[i].Name, From: []relay.Source{relay.BodyDigest}}
	}
	return routes
}

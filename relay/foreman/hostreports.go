package foreman

import (
	"github.com/theforeman/foreman-relay/relay"
)

// maxPuppet bounds a report of Puppet in YAML, in bytes: reading one takes up to
// 40 times its size. One of 72 resources has 47 kB.
const maxPuppet = 4 << 20

// maxAnsible bounds a report of Ansible, in bytes: decoded it takes up to 60 times
// its size. Installing an editor makes one of 174 kB.
const maxAnsible = 4 << 20

// MostBody is the largest body that a route may be made to take, in bytes; 0 is no
// bound of its own. What converting it takes is a multiple of it.
func MostBody(route string) int64 {
	switch route {
	case "puppet":
		return maxPuppet
	case "ansible":
		return maxAnsible
	default:
		return 0
	}
}

const hostReportsPath = "/api/v2/host_reports"

// hostReportRoutes take host reports as Foreman has them, and the reports that
// smart_proxy_reports makes some of: Puppet's YAML and Ansible's JSON, stored as
// they come and converted when they are delivered. Foreman knows no duplicate
// of a host report and keeps it twice.
func hostReportRoutes(p relay.Policy) []relay.Route {
	hostReport := jsonRoute("hostreport", "host_report", hostReportsPath)
	hostReport.Lane.From = []relay.Source{relay.Pointer("/host_report/host")}
	hostReport.Hosts = []relay.Source{relay.HostAt("/host_report/host")}

	ansible := jsonRoute("ansible", "ansible_report", "/reports/ansible", "/host_reports/ansible")
	ansible.MaxBody = maxAnsible
	ansible.Lane.From = []relay.Source{relay.Pointer("/host")}
	ansible.Hosts = []relay.Source{relay.HostAt("/host")}

	puppet := jsonRoute("puppet", "", "/reports/puppet", "/host_reports/puppet")
	puppet.MaxBody = maxPuppet
	puppet.ContentTypes = []string{"application/x-yaml"}
	puppet.Lane = relay.LaneRule{From: []relay.Source{{Find: yamlHost}},
		Missing: "the report has no line \"host: NAME\": Puppet's reports have one, and Foreman would refuse this for ever"}
	puppet.Hosts = []relay.Source{{Find: yamlHost, Each: yamlHosts}}

	routes := []relay.Route{hostReport, ansible, puppet}
	for i := range routes {
		routes[i].Key = relay.KeyRule{Type: routes[i].Name, From: []relay.Source{relay.BodyDigest()}}
		routes[i].Policy = p.Once()
	}
	return routes
}

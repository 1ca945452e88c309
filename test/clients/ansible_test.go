package clients

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	standin "github.com/theforeman/foreman-relay/test/foreman"
)

// ansible is a playbook with the callback of Foreman's collection, which sends
// the facts and then the report of each host, over one connection.
var ansible = client{
	needs:    ansibleNeeds,
	tls:      true,
	prepare:  prepareAnsible,
	run:      func(box *sandbox, url, mark string) (string, int) { return runAnsible(box, url, "foreman", mark) },
	lost:     ansibleLost,
	delivers: []delivery{{"/api/v2/hosts/facts", checkAnsibleFacts, true}, {"/api/v2/config_reports", checkAnsibleReport, false}},
}

// ansibleProxy is the same for a smart proxy, which gets a report of another
// form and finds the facts in it. Over plain HTTP, as the other is not.
var ansibleProxy = client{
	needs:    ansibleNeeds,
	prepare:  prepareAnsible,
	run:      func(box *sandbox, url, mark string) (string, int) { return runAnsible(box, url, "proxy", mark) },
	lost:     ansibleLost,
	delivers: []delivery{{"/api/v2/host_reports", checkAnsibleHostReport, false}},
}

var (
	ansibleNeeds = []file{
		{"/usr/bin/ansible-playbook", "ansible"},
		{"/usr/lib/python3/dist-packages/ansible_collections/theforeman/foreman/plugins/callback/foreman.py", "ansible"},
		{"/usr/lib/python3/dist-packages/requests/__init__.py", "python3-requests"}, // without it the callback disables itself
	}
	ansibleLost = lost{away: "[WARNING]: Sending data to Foreman at", refused: "[WARNING]: Sending data to Foreman at"}
)

const ansibleConfig = `[defaults]
callbacks_enabled = theforeman.foreman.foreman
inventory = inventory
local_tmp = tmp
no_target_syslog = true
`

// The only facts are those that the test lays down, none of this machine.
const playbook = `- hosts: all
  gather_facts: false
  tasks:
    - name: facts
      ansible.builtin.setup: {gather_subset: ["!all", "!min", local], fact_path: "{{ playbook_dir }}/facts.d"}
    - name: task of {{ mark }}
      ansible.builtin.copy: {content: "{{ mark }}", dest: "{{ playbook_dir }}/managed"}
`

func prepareAnsible(box *sandbox) {
	box.write("ansible.cfg", ansibleConfig)
	box.write("inventory", host+" ansible_connection=local ansible_python_interpreter=/usr/bin/python3 ansible_remote_tmp="+box.path("tmp")+"\n")
	box.write("playbook.yml", playbook)
}

func runAnsible(box *sandbox, url, report, mark string) (printed string, code int) {
	box.t.Helper()
	box.write("facts.d/run.fact", `{"mark": "`+mark+`"}`)
	env := []string{"ANSIBLE_CONFIG=" + box.path("ansible.cfg"), "FOREMAN_URL=" + url, "FOREMAN_PROXY_URL=" + url, "FOREMAN_REPORT_TYPE=" + report}
	if box.pki != "" {
		env = append(env, "FOREMAN_SSL_CERT="+box.cert("host.crt"), "FOREMAN_SSL_KEY="+box.cert("host.key"), "FOREMAN_SSL_VERIFY="+box.cert("ca.crt"))
	}
	printed, code = box.run(env, "/usr/bin/ansible-playbook", "--extra-vars", "mark="+mark, "playbook.yml")
	// The report's time has whole seconds and is Foreman's key for it: two runs
	// in one second would be one report to Foreman, and a conflict to the relay.
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
	return printed, code
}

func checkAnsibleFacts(t *testing.T, r standin.Request) {
	var body struct {
		Name  string
		Facts struct {
			Type  string         `json:"_type"`
			Facts map[string]any `json:"ansible_facts"`
		}
	}
	require.NoError(t, json.Unmarshal(r.Body, &body))
	require.Equal(t, host, body.Name)
	require.Equal(t, "ansible", body.Facts.Type)
	require.Contains(t, body.Facts.Facts, "ansible_local")
}

func checkAnsibleReport(t *testing.T, r standin.Request) {
	var body struct {
		Report struct {
			Host, Reporter string
			Status         map[string]int
			Logs           []any
		} `json:"config_report"`
	}
	require.NoError(t, json.Unmarshal(r.Body, &body))
	require.Equal(t, []string{host, "ansible"}, []string{body.Report.Host, body.Report.Reporter})
	require.Equal(t, map[string]int{"applied": 1, "failed": 0, "skipped": 0}, body.Report.Status)
	require.Len(t, body.Report.Logs, 2)
}

func checkAnsibleHostReport(t *testing.T, r standin.Request) {
	report := readHostReport(t, r)
	require.Equal(t, "ansible", report.Format)
	require.Equal(t, []string{"AnsibleChanged"}, report.Keywords)
	require.Equal(t, []int{1, 0}, []int{report.Change, report.Failure})
}

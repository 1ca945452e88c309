package standin

import (
	"fmt"
	"net/http"
	"strings"
)

// createHostReport is that of foreman_host_reports: whatever goes wrong is a 422,
// and nothing is a duplicate.
func createHostReport(st *store, _ *http.Request, doc map[string]any, rule Rule) answer {
	report, _ := doc["host_report"].(map[string]any)
	host, _ := report["host"].(string)
	text, isText := report["body"].(string)
	switch {
	case rule.Mode == NoDatabase:
		return problem(http.StatusUnprocessableEntity, "PG::ConnectionBad: could not connect to server")
	case host == "" || rule.Mode == UnknownHost:
		return refusedRecord("host", "must exist")
	case !isText || text == "":
		return refusedRecord("body", "can't be blank")
	}
	st.nextID++
	return answer{status: http.StatusCreated, counted: true, body: map[string]any{"id": st.nextID}}
}

func refusedRecord(field, why string) answer {
	return answer{status: http.StatusUnprocessableEntity, body: map[string]any{"error": map[string]any{"id": nil,
		"errors":        map[string][]string{field: {why}},
		"full_messages": []string{strings.ToUpper(field[:1]) + field[1:] + " " + why}}}}
}

// createARF is that of foreman_openscap: one report of a host a second, whatever
// the policy.
func createARF(st *store, r *http.Request, doc map[string]any, rule Rule) answer {
	part := strings.Split(r.URL.Path, "/")
	host, policy, date := strings.ToLower(part[5]), part[6], part[7]
	_, logs := doc["logs"].([]any)
	_, metrics := doc["metrics"].(map[string]any)
	switch {
	case rule.Mode == UnknownPolicy:
		return refusedARF(fmt.Sprintf("Policy with id %s not found.", policy))
	case rule.Mode == UnknownHost:
		return refusedARF("Could not find host identified by: " + host)
	case !logs || !metrics:
		return crash()
	case st.arfs[host+"\x00"+date]:
		return refusedARF("Reported at has already been taken")
	}
	st.arfs[host+"\x00"+date] = true
	st.nextID++
	return answer{status: http.StatusOK, counted: true, body: map[string]string{"result": "ok", "id": fmt.Sprint(st.nextID)}}
}

func refusedARF(why string) answer {
	return answer{status: http.StatusUnprocessableEntity, body: map[string]string{"result": "fail", "errors": why}}
}

// uploadJob is that of foreman_salt: it makes a task of each job, and knows no
// other function.
func uploadJob(st *store, _ *http.Request, doc map[string]any, _ Rule) answer {
	job, ok := doc["job"].(map[string]any)
	if !ok {
		return crash()
	}
	if job["function"] != "state.highstate" {
		return problem(http.StatusUnprocessableEntity, "Unsupported function")
	}
	st.nextID++
	return answer{status: http.StatusOK, counted: true, body: map[string]string{"task_id": fmt.Sprintf("00000000-0000-4000-8000-%012d", st.nextID)}}
}

// callback is that of foreman-tasks.
func callback(_ *store, _ *http.Request, doc map[string]any, _ Rule) answer {
	one, isOne := doc["callback"].(map[string]any)
	_, isList := doc["callbacks"].([]any)
	if !isList && (!isOne || one["task_id"] == nil) {
		return crash()
	}
	return answer{status: http.StatusOK, counted: true, body: map[string]string{"message": "processing"}}
}

// unattended are built and failed of the provisioning: no API, so no headers of
// it, and no body.
func unattended(_ *Server, _ *http.Request, _ map[string]any, rule Rule) answer {
	a := answer{status: http.StatusCreated, counted: true}
	switch rule.Mode {
	case NotBuilding:
		a = answer{status: http.StatusMethodNotAllowed}
	case Conflict:
		a = answer{status: http.StatusConflict}
	case UnknownHost:
		a = answer{status: http.StatusNotFound}
	}
	return a.beforeHeaders()
}

package foreman

import (
	"net/http"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// callbackAge is how long the result of a remote job is of use: Foreman asks the
// proxy itself when it resumes a task.
const callbackAge = 24 * time.Hour

// saltRoutes take the jobs of Salt's cron and runner, which both want 200 and
// nothing else; anything but that the cron sends again for ever.
func saltRoutes(p relay.Policy) []relay.Route {
	salt := jsonRoute("salt", "salt_job", "/salt/api/v2/jobs/upload")
	salt.Lane.From = []relay.Source{relay.SoleName("/job/result")} // a job of many minions has no order with any of them
	salt.Hosts = []relay.Source{relay.NamesAt("/job/result")}
	// Foreman stamps a job with the time of its import and knows no duplicate.
	salt.Key = relay.KeyRule{Type: "salt", From: []relay.Source{relay.BodyDigest()}}
	salt.Reply = relay.Reply{Status: http.StatusOK, Body: relay.ReplyTaskID}
	salt.Policy = p.Once()
	return []relay.Route{salt}
}

// callbackRoutes take what a proxy tells of a job's end; it wants 200 and has
// nothing left to send again.
func callbackRoutes(p relay.Policy) []relay.Route {
	callback := jsonRoute("callback", "callback", "/foreman_tasks/api/tasks/callback")
	callback.Lane.From = []relay.Source{relay.Pointer("/callback/task_id")}                  // a list of callbacks has a lane of its own
	callback.Key = relay.KeyRule{Type: "callback", From: []relay.Source{relay.BodyDigest()}} // task and step are in the body
	callback.Reply = relay.Reply{Status: http.StatusOK, Body: relay.ReplyProcessing}
	callback.Policy = p.Expiring(callbackAge)
	return []relay.Route{callback}
}

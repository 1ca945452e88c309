// Package foreman is what is true of Foreman alone: the routes of the clients
// that post to it, what they ask of it, how its answers are judged, and how it is
// asked whether it is there. The facts are those of Foreman 3.13 and its clients.
package foreman

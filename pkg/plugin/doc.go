// Package plugin speaks Argo's executor-plugin protocol and keeps the runs behind it: Argo asks about a step again
// and again, each call is answered in a second or two, and the work itself runs in a goroutine that outlives the calls.
//
// It knows what Argo does to a plugin (repeated and identical calls, lost answers, cancellation that nobody announces,
// the pod taken away) and nothing of machines, SSH or clusters: those are the business of the steps it is given. It
// never keeps anything that must survive the process; a step whose work has to survive must be able to find it again.
package plugin

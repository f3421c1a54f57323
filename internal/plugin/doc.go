// Package plugin implements Argo's executor-plugin protocol: Argo calls again and again about a step, each call is
// answered within a second or two, and the work itself is done by a run, a goroutine that outlives the calls.
//
// The package handles everything that is Argo's: repeated and identical calls, lost answers, cancellation, of which
// Argo tells plugins nothing, and the end of the pod. It knows nothing of machines, SSH or clusters: those belong to
// the steps. It never keeps anything that must survive the process; a step whose work has to survive must be able to
// find it again.
package plugin

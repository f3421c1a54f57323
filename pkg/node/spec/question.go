package spec

// Question is the input of `argosy-node inspect`. With it, one exec answers a whole plan: the machine picks the
// operation of its own architecture, evaluates its checks and puts the answer into Facts.Plan.
type Question struct {
	// Operations by architecture in Go's names; empty asks for bare facts.
	Operations map[string]Operation `json:"operations,omitempty"`
	// Reach is a URL that the machine tries with one HEAD request of at most two seconds, when the bundle is not there
	// yet; the answer is in Facts.Reached. Empty asks for nothing.
	Reach string `json:"reach,omitempty"`
	// ReachCA is a PEM certificate authority for Reach, beside the system's.
	ReachCA string `json:"reachCA,omitempty"`
}

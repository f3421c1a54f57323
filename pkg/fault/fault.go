// Package fault says of an error whether trying again can help. Every error that crosses a machine or an API has a class;
// the one place that retries asks for it, and nothing else in Argosy decides by the text of an error.
package fault

import "errors"

// Class is what an error means for the next attempt.
type Class string

const (
	// Transient: the same call may succeed later (a lost connection, a busy server). It is retried, within a budget.
	Transient Class = "transient"
	// Permanent: the same call will fail again until somebody changes the machine or the cluster. It is not retried.
	Permanent Class = "permanent"
	// Configuration: what the user wrote is wrong or missing. It is not retried, and nothing was touched.
	Configuration Class = "configuration"
	// Cancelled: somebody asked us to stop. It is not retried.
	Cancelled Class = "cancelled"
)

type classified struct {
	class Class
	err   error
}

func (c *classified) Error() string { return c.err.Error() }
func (c *classified) Unwrap() error { return c.err }

// As gives err a class; nil stays nil. The outermost class wins, so a caller that knows better may reclassify.
func As(class Class, err error) error {
	if err == nil {
		return nil
	}
	return &classified{class: class, err: err}
}

// ClassOf returns the outermost class in err's chain; an error without one is Permanent, since retrying what nobody
// understood costs the user time and hides the cause.
func ClassOf(err error) Class {
	var c *classified
	if errors.As(err, &c) {
		return c.class
	}
	return Permanent
}

// IsTransient says whether another attempt may succeed.
func IsTransient(err error) bool { return err != nil && ClassOf(err) == Transient }

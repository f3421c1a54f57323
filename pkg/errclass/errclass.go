// Package errclass gives an error a class, which tells whether another attempt can help. Every error that crosses a
// machine or an API has one. The one place that retries reads it, and nothing decides by the text of an error.
package errclass

import (
	"errors"
	"fmt"
)

// Class decides whether another attempt is made.
type Class string

const (
	// Transient errors may be gone at the next call, like a lost connection. They are retried, within a budget.
	Transient Class = "transient"
	// Permanent errors come again until the machine or the cluster changes. They are not retried.
	Permanent Class = "permanent"
	// Configuration errors come from a wrong or missing value of the user. They are not retried; nothing was touched.
	Configuration Class = "configuration"
	// Cancelled errors come from work that was asked to stop. They are not retried.
	Cancelled Class = "cancelled"
)

type classified struct {
	class Class
	err   error
}

func (c *classified) Error() string { return c.err.Error() }
func (c *classified) Unwrap() error { return c.err }

// With returns err with a class; nil stays nil. The outermost class of a chain counts, so that a caller can reclassify.
func With(class Class, err error) error {
	if err == nil {
		return nil
	}
	return &classified{class: class, err: err}
}

// Errorf returns the error of fmt.Errorf with a class.
func Errorf(class Class, format string, args ...any) error {
	return With(class, fmt.Errorf(format, args...))
}

// ClassOf returns the outermost class in err's chain. An error without one is Permanent: retrying an unknown error
// costs the user time and hides its cause.
func ClassOf(err error) Class {
	var c *classified
	if errors.As(err, &c) {
		return c.class
	}
	return Permanent
}

// IsTransient reports whether another attempt may succeed.
func IsTransient(err error) bool { return err != nil && ClassOf(err) == Transient }

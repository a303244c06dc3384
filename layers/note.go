package layers

import "fmt"

// A Note tells people what was left out on the way into or out of a tree, and
// why. It is no error: the rest is complete.
type Note struct {
	Path   string `json:"path"` // may be empty: the note is on the whole
	Reason string `json:"reason"`
}

// String returns the note in one line.
func (n Note) String() string {
	if n.Path == "" {
		return n.Reason
	}
	return fmt.Sprintf("%q: %s", n.Path, n.Reason)
}

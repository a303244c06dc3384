package decompose

import (
	"context"
	"fmt"
	"strings"

	"satchel/layers"
)

// Explain decides about a change of one path as if a session had made it: an
// edit of the file that the lower has there, or a new file. The input's upper
// is ignored.
func Explain(ctx context.Context, in Input, path string) (Decision, error) {
	if err := layers.CheckPath(path); err != nil {
		return Decision{}, fmt.Errorf("explain: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return Decision{}, fmt.Errorf("explain: %w", err)
	}
	in.Upper = nil
	c := change{path: path, old: in.Lower.Find(path), entry: &layers.Entry{Path: path, Type: layers.Regular}}
	if c.old != nil && c.old.Type == layers.Dir {
		c.entry = c.old
	}
	verdicts, err := in.judge([]change{c})
	if err != nil {
		return Decision{}, fmt.Errorf("explain: %w", err)
	}
	if v := &verdicts[0]; v.kind != Discard {
		in.stack().apply(&c, v)
	}
	return in.decision(&c, &verdicts[0]), nil
}

// String states the decision in a paragraph.
func (d Decision) String() string {
	where := "goes to the " + string(d.Kind) + " layer"
	if d.Kind == Discard {
		where = "is discarded"
	}
	return fmt.Sprintf("/%s was %s, and that %s: %s. Rule: %s.",
		strings.ToValidUTF8(d.Path, "?"), d.Action, where, d.Reason, d.Rule)
}

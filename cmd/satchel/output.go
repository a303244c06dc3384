package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"satchel/syncer"
)

// print writes facts: as JSON when asked for, else as text makes them.
func (a *app) print(facts any, text func(w io.Writer)) error {
	if a.json {
		enc := json.NewEncoder(a.stdout)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(facts)
	}
	out := bufio.NewWriter(a.stdout)
	text(out)
	return out.Flush()
}

// note tells a person what is going on, beside the facts.
func (a *app) note(format string, args ...any) { fmt.Fprintf(a.stderr, format+"\n", args...) }

// table writes tab-separated rows as columns.
func table(w io.Writer, rows func(w io.Writer)) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	rows(tw)
	tw.Flush()
}

// size prints a number of bytes for people.
func size(n int64) string { return syncer.Bytes(n).String() }

// when prints a time for people, in their own zone.
func when(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// seconds is a duration as JSON carries it.
func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

// parseSize reads a number of bytes with an optional K, M, G or T, powers of 1024.
func parseSize(s string) (int64, error) {
	digits, shift := s, 0
	if i := strings.IndexAny(s, "kKmMgGtT"); i >= 0 && i == len(s)-1 {
		digits, shift = s[:i], 10*(1+strings.IndexByte("KMGT", strings.ToUpper(s)[i]))
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 || n > 1<<62>>shift {
		return 0, fmt.Errorf("%q is no size: want a number with K, M, G or T", s)
	}
	return n << shift, nil
}

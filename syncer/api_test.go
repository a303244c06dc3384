package syncer

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, test := range []struct {
		name string
		good bool
	}{
		{"ana", true},
		{"Ana-2.laptop_3", true},
		{"7", true},
		{"a.b", true},
		{"ends.", true},
		{strings.Repeat("a", MaxName), true},
		{strings.Repeat("a", MaxName+1), false},
		{"", false},
		{".", false},
		{"..", false},
		{".hidden", false},
		{"-flag", false},
		{"_x", false},
		{"a..b", false},
		{"a/b", false},
		{"a b", false},
		{"a:b", false},
		{"a\x00", false},
		{"a\n", false},
		{"änne", false},
		{"\xff", false},
	} {
		err := CheckName(test.name)
		if (err == nil) != test.good || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v, want good: %t", test.name, err, test.good)
		}
	}
}

func TestCheckPrincipal(t *testing.T) {
	for _, test := range []struct {
		principal Principal
		good      bool
	}{
		{"all", true},
		{"user:ana", true},
		{"group:4b", true},
		{"device:ana-laptop", true},
		{"", false},
		{"ana", false},
		{"all:", false},
		{"all:ana", false},
		{"user:", false},
		{"user", false},
		{"user:../x", false},
		{"user:ana:more", false},
		{"User:ana", false},
		{"layer:ana", false},
		{" all", false},
	} {
		err := test.principal.Check()
		if (err == nil) != test.good || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v, want good: %t", test.principal, err, test.good)
		}
	}
}

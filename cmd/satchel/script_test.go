package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"satchel": main})
}

// TestScripts runs the command as a person would type it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("SATCHEL_HOME", e.WorkDir+"/home")
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			e.Setenv("ADDR", l.Addr().String()) // for a server
			return l.Close()
		},
		Cmds:      map[string]func(*testscript.TestScript, bool, []string){"await": await, "fact": fact},
		Condition: func(name string) (bool, error) { return name == "root" && os.Getuid() == 0, nil },
	})
}

// await waits until something listens: await ADDRESS.
func await(ts *testscript.TestScript, _ bool, args []string) {
	for range 300 {
		if c, err := net.Dial("tcp", args[0]); err == nil {
			c.Close()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	ts.Fatalf("nothing listens on %s", args[0])
}

// fact puts a field of a JSON object in a file into a variable: fact FILE FIELD VARIABLE.
func fact(ts *testscript.TestScript, _ bool, args []string) {
	var object map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &object))
	ts.Setenv(args[2], fmt.Sprint(object[args[1]]))
}
